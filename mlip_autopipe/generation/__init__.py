"""Start structures: prototypes, files, primitive cells."""
