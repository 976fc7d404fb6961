"""Molecular dynamics under watch: integrators, exact checkpoints, uncertainty trigger, guards, HDF5 trajectory."""
