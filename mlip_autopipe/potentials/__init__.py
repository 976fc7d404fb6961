"""Potentials: trainers and calculators behind one contract, their uncertainty and its calibration."""
