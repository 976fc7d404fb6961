"""The trajectories of the production runs of goal `diffusion`: read blob by blob, and written as files.

A blob holds the unwrapped positions (float32, A) of one stretch of a run. Only one of them is in memory at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlip_autopipe.analysis.frames import BLOCK_FRAMES, FrameBlock
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore
    from numpy.typing import NDArray

    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.schemas.diffusion import DiffusionRun

SUFFIX = ".h5"


class ExportedTrajectory(NamedTuple):
    """What a file holds."""

    n_frames: int
    n_atoms: int
    length_ps: float


def production_of_run(store: JobStore, run_id: str) -> DiffusionProduction:
    """Return the production runs of a run of goal `diffusion`.

    Raises
    ------
    InvalidInputError
        The run has another goal, or is still learning.
    """
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.jobs.records import RecordError, RunRecords

    records = RunRecords(store, run_id)
    try:
        system = records.plan()
        require_diffusion(run_id, system.goal)
        records.learned()
    except RecordError:
        raise InvalidInputError(
            f"run {run_id} has no trajectories yet: production begins when its potential is learned; "
            f"`mlip-auto status {run_id}` shows where it stands"
        ) from None
    return DiffusionProduction(store, run_id)


def require_diffusion(run_id: str, goal: str) -> None:
    """Refuse runs that keep no trajectories; raises `InvalidInputError`."""
    if goal != "diffusion":
        raise InvalidInputError(f"run {run_id} has goal {goal!r}; only runs of goal 'diffusion' keep trajectories")


def has_frames(run: DiffusionRun) -> bool:
    """Tell whether a run has stored frames of its production; those of the stages before are not kept."""
    return run.stage == "production" and bool(run.frames_sha256)


def file_name(run: DiffusionRun) -> str:
    """Return a name like ``900K-run-1.h5``, or ``900K-sample-1.h5`` with a posterior sample of the potential."""
    return f"{run.temperature_K:g}K-{'run' if run.role == 'mean' else 'sample'}-{run.number + 1}{SUFFIX}"


def production_frames(production: DiffusionProduction, run: DiffusionRun) -> Iterator[FrameBlock]:
    """Yield the frames of a run's production, with times, blob by blob.

    Parameters
    ----------
    production
        To which the run belongs.
    run
        One of them; what has no frames yields nothing.

    Raises
    ------
    BlobError
        A blob is missing or damaged.
    """
    if not has_frames(run):
        return
    cell, first = production.cell(run), 0
    time_step_fs = production.settings.frame_interval * production.settings.time_step_fs
    for sha256 in run.frames_sha256:
        # the blob lives no longer than the generator that cuts it
        for block in _blocks(_positions_A(production, sha256), cell, first, time_step_fs):
            yield block
            first += len(block.positions_A)


def export_trajectory(production: DiffusionProduction, run: DiffusionRun, path: Path) -> ExportedTrajectory:
    """Write a run's production as an HDF5 trajectory, blob by blob.

    The file gets its name when it is complete. Of a run with a posterior sample it names the potential from which the
    sample was drawn.

    Parameters
    ----------
    production
        To which the run belongs.
    run
        One of them.
    path
        The file; an existing one is replaced.

    Raises
    ------
    BlobError
        A blob is missing or damaged.
    """
    from mlip_autopipe.dynamics.trajectory import TrajectoryWriter, appearing_whole

    cell, interval = production.cell(run), production.settings.frame_interval
    count, last_fs = 0, 0.0
    with (
        appearing_whole(path) as unfinished,
        TrajectoryWriter(unfinished, cell.numbers, cell.pbc, potential_sha256=run.potential_sha256) as writer,
    ):
        for block in production_frames(production, run):
            assert block.times_fs is not None
            for positions_A, cell_A, time_fs in zip(block.positions_A, block.cells_A, block.times_fs, strict=True):
                writer.append_arrays(positions_A, cell_A, count * interval, float(time_fs))
                count, last_fs = count + 1, float(time_fs)
    return ExportedTrajectory(count, len(cell), last_fs / 1000)


def _positions_A(production: DiffusionProduction, sha256: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(io.BytesIO(production.blobs.get(sha256)), allow_pickle=False)
    return found


def _blocks(positions_A: NDArray[np.float32], cell: Atoms, first: int, time_step_fs: float) -> Iterator[FrameBlock]:
    """Cut one blob, whose first frame has this number, into blocks."""
    species, pbc = tuple(cell.get_chemical_symbols()), np.asarray(cell.pbc, dtype=bool)
    for start in range(0, len(positions_A), BLOCK_FRAMES):
        part = np.asarray(positions_A[start : start + BLOCK_FRAMES], dtype=float)
        times_fs = time_step_fs * np.arange(first + start, first + start + len(part), dtype=float)
        cells_A = np.broadcast_to(cell.cell.array, (len(part), 3, 3))
        yield FrameBlock(species, part, cells_A, pbc, times_fs, unwrapped=True)
