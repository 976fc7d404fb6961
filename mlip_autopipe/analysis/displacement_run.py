"""Read a trajectory once: displacements into a store, everything else into a few numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from mlip_autopipe.analysis.atom_store import AtomStore
from mlip_autopipe.analysis.frames import BadFrameError, FrameBlock
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.analysis.unwrap import Unwrapper
from mlip_autopipe.errors import InvalidInputError

_UNEVEN: Final = 0.01


@dataclass(frozen=True, eq=False)
class DisplacementRun:
    """What is known when all frames were read.

    Attributes
    ----------
    time_step_fs
        Time between frames, where the file knows it.
    cell_A
        (3, 3) mean lattice vectors.
    drift_A
        (3,) how far the reference went.
    stopped_by
        The frame that ended the reading, if any.
    """

    time_step_fs: float | None
    cell_A: FloatArray
    drift_A: FloatArray
    stopped_by: BadFrameError | None


def frame_range(blocks: Iterator[FrameBlock], start: int, stop: int | None) -> Iterator[FrameBlock]:
    """Yield the frames from start to stop; what lies after them is not read."""
    count = 0
    for block in blocks:
        length = len(block.positions_A)
        low, high = max(start - count, 0), length if stop is None else min(stop - count, length)
        count += length
        if high - low == length:
            yield block
        elif low < high:
            times = None if block.times_fs is None else block.times_fs[low:high]
            yield replace(
                block, positions_A=block.positions_A[low:high], cells_A=block.cells_A[low:high], times_fs=times
            )
        if stop is not None and count >= stop:
            return


def read_displacements(
    source: str,
    first: FrameBlock,
    rest: Iterator[FrameBlock],
    start: int,
    weights: FloatArray | None,
    store: AtomStore,
    keep_sound: bool,
) -> DisplacementRun:
    """Bring the displacements of all frames from the first one, without the motion of the reference, into the store.

    Parameters
    ----------
    source
        The trajectory, for error messages.
    first, rest
        Its first block and the others.
    start
        Number of the first frame in the file.
    weights
        (n,) weights of the atoms in the motion of the reference; none: nothing is taken out.
    store
        Where displacements go.
    keep_sound
        A frame that cannot be used ends the reading instead of raising.

    Raises
    ------
    BadFrameError
        A frame cannot be used.
    InvalidInputError
        Frames are not evenly spaced in time.
    """
    unwrapper = Unwrapper(source, start)
    cells, times = np.zeros((3, 3)), []
    drift: FloatArray = np.zeros(3)
    stopped: BadFrameError | None = None
    block: FrameBlock | None = first
    while block is not None and stopped is None:
        moved, stopped = unwrapper.follow_sound(block)
        length = len(moved)
        if length:
            if weights is not None:
                uniform = np.einsum("n,knx->kx", weights, moved)
                moved -= uniform[:, None]
                drift = uniform[-1]
            store.append(moved)
            cells += np.asarray(block.cells_A, dtype=float)[:length].sum(axis=0)
            if block.times_fs is not None:
                times.append(block.times_fs[:length])
        if stopped is None:
            try:
                block = next(rest, None)
            except BadFrameError as error:
                stopped = error
    if stopped and not keep_sound:
        raise stopped
    spacing = _time_step(source, np.concatenate(times), start) if times else None
    return DisplacementRun(spacing, cells / max(store.n_frames, 1), drift, stopped)


def _time_step(source: str, times_fs: FloatArray, start: int) -> float | None:
    if len(times_fs) < 2 or not np.isfinite(times_fs).all():
        return None
    steps = np.diff(times_fs)
    step = float(np.median(steps))
    if not step > 0:
        raise InvalidInputError(f"The times of {source} do not increase from frame to frame.")
    uneven = np.abs(steps - step) > _UNEVEN * step
    if uneven.any():
        k = int(np.argmax(uneven))
        raise InvalidInputError(
            f"{source} is not evenly spaced in time: {step:g} fs between most frames, {steps[k]:g} fs between frames "
            f"{start + k} and {start + k + 1}; choose a part that is, by start and stop."
        )
    return float((times_fs[-1] - times_fs[0]) / (len(times_fs) - 1))
