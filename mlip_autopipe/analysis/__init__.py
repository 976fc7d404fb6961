"""Pure functions from arrays to properties with error bars; they know nothing of workflows."""
