"""Displacements of atoms from the first frame, followed across periodic boundaries."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.frames import BadFrameError, FrameBlock, bad_frame
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

MAX_STEP: Final = 0.4
"""Largest step between frames, in cells, whose image is taken as certain."""
_FLAT: Final = 1e-9


class Unwrapper:
    """Follow atoms from block to block.

    A step is the change of the fractional coordinates, rounded to the nearest image unless the positions are unwrapped
    already, times the mean cell of the two frames. So atoms that ride with a fluctuating cell do not move, and steps
    add up without the spurious spreading of positions that were unwrapped by image counts (von Bülow, Bullerjahn and
    Hummer, 10.1063/5.0008316).

    Parameters
    ----------
    source
        What the frames come from, for error messages.
    first_frame
        Number of the first frame in it.
    """

    def __init__(self, source: str, first_frame: int = 0) -> None:
        self._source = source
        self._count = first_frame
        self._fractional: FloatArray | None = None
        self._cell: FloatArray | None = None
        self._travelled: FloatArray | None = None

    def follow(self, block: FrameBlock) -> FloatArray:
        """Return the (k, n, 3) displacements in A of a block of frames from the very first frame.

        Raises
        ------
        BadFrameError
            An atom moves by nearly half a cell between two frames, or the cell has no volume.
        """
        moved, problem = self.follow_sound(block)
        if problem:
            raise problem
        return moved

    def follow_sound(self, block: FrameBlock) -> tuple[FloatArray, BadFrameError | None]:
        """Return the displacements of the frames up to one that cannot be followed, and what is wrong with that one."""
        cells, problem = self._cells(block)
        if not len(cells):
            return np.zeros((0, *block.positions_A.shape[1:])), problem
        fractional, constant = self._fractional_positions(block, cells)
        if self._fractional is None or self._cell is None or self._travelled is None:
            self._fractional, self._cell = fractional[0].copy(), cells[0].copy()
            self._travelled = np.zeros_like(fractional[0])
        steps = fractional - np.concatenate([self._fractional[None], fractional[:-1]])
        if not block.unwrapped and block.pbc.any():
            steps[..., block.pbc] -= np.round(steps[..., block.pbc])
            sound, jump = self._small(steps, block.pbc)
            if jump:
                fractional, cells, steps, problem = fractional[:sound], cells[:sound], steps[:sound], jump
        if not len(steps):
            return steps, problem
        if constant:
            moved = steps @ cells[0]
        else:
            before = np.concatenate([self._cell[None], cells[:-1]])
            moved = steps @ (0.5 * (before + cells))
        np.cumsum(moved, axis=0, out=moved)
        moved += self._travelled
        self._fractional, self._cell, self._travelled = fractional[-1].copy(), cells[-1].copy(), moved[-1].copy()
        self._count += len(moved)
        return moved, problem

    def _fractional_positions(self, block: FrameBlock, cells: FloatArray) -> tuple[FloatArray, bool]:
        """Fractional positions, and whether the cell is and was always the same."""
        constant = bool((cells == cells[0]).all()) and (self._cell is None or bool((self._cell == cells[0]).all()))
        positions = block.positions_A[: len(cells)]
        return positions @ np.linalg.inv(cells[0] if constant else cells), constant

    def _cells(self, block: FrameBlock) -> tuple[FloatArray, BadFrameError | None]:
        """Cells of the frames; directions without a lattice vector get one of unit length, which changes nothing."""
        cells = np.asarray(block.cells_A, dtype=float)
        missing = ~cells.any(axis=2)
        if missing.any():
            from ase.geometry import complete_cell

            if (missing & block.pbc).any():
                raise InvalidInputError(f"{self._source} is periodic in a direction without a lattice vector.")
            cells = np.stack([np.asarray(complete_cell(cell), dtype=float) for cell in cells])
        flat = np.abs(np.linalg.det(cells)) < _FLAT
        if not flat.any():
            return cells, None
        sound = int(np.argmax(flat))
        frame = self._count + sound
        return cells[:sound], bad_frame(self._source, frame, "has a cell without volume")

    def _small(self, steps: FloatArray, pbc: NDArray[np.bool_]) -> tuple[int, BadFrameError | None]:
        """Count the frames before a jump, and describe it."""
        if np.abs(steps[..., pbc]).max(initial=0.0) <= MAX_STEP:
            return len(steps), None
        far: NDArray[np.bool_] = np.abs(steps[..., pbc]).max(axis=2) > MAX_STEP
        sound = int(np.argmax(far.any(axis=1)))
        atom = int(np.argmax(far[sound]))
        frame = self._count + sound
        share = float(np.abs(steps[sound, atom, pbc]).max())
        what = (
            f"has atom {atom} {share:.2f} of a cell away from where it was in the frame before, so that its path "
            f"across the boundary is not certain (at most {MAX_STEP:g}): write frames more often, or image counts"
        )
        return sound, bad_frame(self._source, frame, what)
