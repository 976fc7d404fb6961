"""HDF5 trajectories: small, fast, and readable after whatever killed the run.

Layout: ``positions`` float32 (frames, atoms, 3), wrapped, in chunks of (256, 64, 3), with ``images`` int16 (cells that
the atom has left behind, so unwrapped = wrapped + images @ cell), ``frames`` with ``step``, ``time_fs``, ``cell``,
``energy_eV``, ``temperature_K`` and ``potential`` (row of ``potential_sha256``), ``numbers`` and ``pbc`` once, and
``n_frames``, which counts what is complete. Written in HDF5's single-writer-multiple-reader mode: it orders its writes
so that the file stays readable at every instant, while it grows and after a kill.

What a damaged file has lost is found out when it is read (`trajectory_soundness`).
"""

from __future__ import annotations

from mlip_autopipe.dynamics.trajectory_file import CHUNK_ATOMS, CHUNK_FRAMES, FORMAT, VERSION, appearing_whole
from mlip_autopipe.dynamics.trajectory_reader import Trajectory, open_trajectory
from mlip_autopipe.dynamics.trajectory_writer import TrajectoryWriter

__all__ = [
    "CHUNK_ATOMS",
    "CHUNK_FRAMES",
    "FORMAT",
    "VERSION",
    "Trajectory",
    "TrajectoryWriter",
    "appearing_whole",
    "open_trajectory",
]
