"""Reference engines: what labels structures with energy, forces and stress."""
