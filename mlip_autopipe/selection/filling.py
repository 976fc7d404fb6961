"""Fill the rest of a small periodic cell around a neighbourhood, and relax the filling."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.selection.neighbourhood import Neighbourhood, Surroundings, surroundings

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.potentials.base import ForceField

MARGIN_CRYSTAL_A, MARGIN_GENERAL_A = 1.0, 3.0
"""How far outside the cell atoms are taken from to fill it.

In a crystal thermal motion carries a few atoms across the faces; elsewhere the seam leaves voids.
"""

RELAXED_FORCE_EV_PER_A = 0.2
_ROUNDS, _STEPS_PER_ROUND = 6, 10


@dataclass(frozen=True, eq=False)
class Filled:
    """Content of a small cell.

    Attributes
    ----------
    content
        Core, buffer (both less atoms that are images of others in this cell), then the filling.
    n_core, n_exact
        How many atoms are core, and how many are core or buffer.
    """

    content: Surroundings
    n_core: int
    n_exact: int


def filled(
    atoms: Atoms, centre: int, neighbourhood: Neighbourhood, cell: NDArray[np.float64], *, crystal: bool
) -> Filled | None:
    """Complete a neighbourhood to a periodic cell with atoms that lie around it.

    Atoms are taken in the order of their depth in the cell's Wigner-Seitz cell, so that of two images of one site the
    better one comes first; one that is too near to an atom or image taken before, or within the buffer of a core
    atom, is left out. Without crystal there are at most as many as the cell had room for in the large structure.

    Parameters
    ----------
    atoms, centre
        Large structure and the atom in the middle.
    neighbourhood
        It is kept as it is.
    cell
        Minkowski-reduced vectors in rows.
    crystal
        Whether the cell repeats with the crystal.

    Returns
    -------
    Filled or None
        None when a site of the crystal must stay empty since each of its images lies within the buffer of some core
        atom: a vacancy that is not there in the large structure, and in ionic crystals a charge.
    """
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
    # no point is farther from the lattice than half the diagonal of a box with these edges
    margin = MARGIN_CRYSTAL_A if crystal else MARGIN_GENERAL_A
    around = surroundings(atoms, centre, 0.5 * float(np.sqrt((cell**2).sum())) + margin)
    faces = images[np.any(images != 0, axis=1)]
    lengths = np.linalg.norm(faces, axis=1)
    depth = (around.vectors @ (faces / lengths[:, None]).T - 0.5 * lengths).max(axis=1)
    room = len(around) if crystal else int((depth <= 0).sum())
    order = np.argsort(depth, kind="stable")
    kept = _without_images(neighbourhood.near, cell, images)
    own = neighbourhood.near[kept]
    n_core = sum(k < neighbourhood.n_core for k in kept)
    core = own.vectors[:n_core]
    vectors, indices, numbers = list(own.vectors), list(own.indices), list(own.numbers)

    def free(k: int) -> bool:
        limits = np.array([neighbourhood.contacts[int(around.numbers[k]), int(z)] for z in numbers])
        return bool((_apart(np.array(vectors) - around.vectors[k], cell, images) >= limits).all())

    refused = []
    for k in order[depth[order] <= margin]:
        if len(vectors) >= room:
            break
        if not free(k):
            continue
        if _apart(core - around.vectors[k], cell, images).min() <= neighbourhood.buffer_A:
            refused.append(k)
            continue
        vectors.append(around.vectors[k])
        indices.append(around.indices[k])
        numbers.append(around.numbers[k])
    if crystal and any(free(k) for k in refused):
        return None
    return Filled(Surroundings(np.array(vectors), np.array(indices), np.array(numbers)), n_core, len(own))


def relax_filling(
    atoms: Atoms, fixed: NDArray[np.bool_], n_core: int, buffer_A: float, potential: ForceField
) -> Atoms | None:
    """Relax the atoms of the filling only, as far as they stay outside the buffer.

    Parameters
    ----------
    atoms
        The small cell, core atoms first.
    fixed
        Atoms that must not move: core and buffer.
    n_core, buffer_A
        Number of core atoms, and the distance that the filling keeps from them.
    potential
        The current potential.

    Returns
    -------
    Atoms or None
        The cell with smaller forces on the filling; None when the potential can say nothing of it or does not help.
    """
    from ase.optimize import FIRE

    from mlip_autopipe.potentials.errors import PredictionError

    if fixed.all():
        return None
    moving = atoms.copy()
    moving.calc = potential.calculator()
    moving.set_constraint(_OutsideBuffer(fixed, n_core, buffer_A))
    best: Atoms | None = None
    try:
        least = _largest_force(moving)
        optimizer = FIRE(moving, logfile=None, maxstep=0.1)
        for _ in range(_ROUNDS):
            done = optimizer.run(fmax=RELAXED_FORCE_EV_PER_A, steps=_STEPS_PER_ROUND)
            if (now := _largest_force(moving)) < least:
                least, best = now, moving.copy()
            if done:
                break
    except PredictionError:
        # a seam can be beyond an immature potential; what was found before is still better than nothing
        pass
    if best is not None:
        best.set_constraint()
    return best


class _OutsideBuffer:
    """ASE constraint: core and buffer stand still, and the filling may not come nearer to a core atom than this."""

    def __init__(self, fixed: NDArray[np.bool_], n_core: int, buffer_A: float) -> None:
        self._fixed, self._n_core, self._buffer_A = fixed, n_core, buffer_A

    def adjust_positions(self, atoms: Atoms, new: NDArray[np.float64]) -> None:
        new[self._fixed] = atoms.positions[self._fixed]
        cell = atoms.cell.array
        images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
        for core in atoms.positions[: self._n_core]:
            inside = _apart(new - core, cell, images) <= self._buffer_A
            new[inside] = atoms.positions[inside]

    def adjust_forces(self, atoms: Atoms, forces: NDArray[np.float64]) -> None:
        forces[self._fixed] = 0.0

    def get_removed_dof(self, atoms: Atoms) -> int:
        return 3 * int(self._fixed.sum())


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _without_images(near: Surroundings, cell: NDArray[np.float64], images: NDArray[np.float64]) -> list[int]:
    """Leave out atoms that are images of earlier ones: the cell may share a vector with the large one."""
    kept: list[int] = []
    for k in range(len(near)):
        same = [j for j in kept if near.indices[j] == near.indices[k]]
        if not same or _apart(near.vectors[same] - near.vectors[k], cell, images).min() > 1e-3:
            kept.append(k)
    return kept


def _apart(vectors: NDArray[np.float64], cell: NDArray[np.float64], images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shortest lengths under periodic repetition; exact for a reduced cell."""
    scaled = vectors @ np.linalg.inv(cell)
    nearest = (scaled - np.round(scaled)) @ cell
    return np.asarray(np.linalg.norm(nearest[:, None] + images, axis=2).min(axis=1))
