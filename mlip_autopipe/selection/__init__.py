"""Which structures are worth a label: farthest points on descriptors, D-optimal rows of a linear model."""
