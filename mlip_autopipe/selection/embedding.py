"""Periodic embedding: a small periodic cell around one atom of a large one, and a mask for the forces that count.

The core and everything within a buffer width of it are copied exactly; the rest of the cell is filled from the large
one and closed periodically, so that any reference code can compute it. In the spirit of Hodapp and Shapeev,
doi:10.1088/2632-2153/aba373; that only forces of inner atoms are trained on is the idea of doi:10.1063/5.0079314.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.selection.filling import Filled, filled, relax_filling
from mlip_autopipe.selection.lattices import compact_lattices, crystal_lattice
from mlip_autopipe.selection.neighbourhood import (
    CONTACT_CRYSTAL,
    CONTACT_GENERAL,
    Neighbourhood,
    Surroundings,
    contact_distances,
    neighbour_distance,
    surroundings,
)

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

    from mlip_autopipe.potentials.base import ForceField

SOUND_SEAM = 0.08
"""Energy and stress of a cell count while the seam changes at most this part of the neighbours."""

LEAST_BUFFER_A = 4.0
"""Default of the narrowest buffer: first and second neighbours in metals."""

_STEP_A = 0.25
_SAMPLE_A, _SAMPLE_NEIGHBOURS = 13.0, 5.0
_BOND = 1.3


@dataclass(frozen=True, eq=False)
class EmbeddedCell:
    """A small periodic cell that knows which of its forces are those of the large one.

    Attributes
    ----------
    atoms
        The cell: core atoms first (the uncertain one is number 0), then the buffer, then the filling. Where nothing
        was cut: the large structure in its own order.
    indices
        Number of each atom in the large structure, shape (n,). An atom can come twice, as itself and as an image.
    force_weights
        Shape (n,): 1 for core atoms, 0 (or `other_force_weight`) for all others; all 1 where nothing was cut.
    n_core
        Number of core atoms.
    exact
        Shape (n,): whether an atom stands where it stands in the large structure; true for core and buffer.
    core_radius_A, buffer_A
        Distance of the farthest core atom from the uncertain one, and width of the buffer; less than asked for when
        `max_atoms` demanded it.
    kind
        ``whole``: nothing was cut; ``crystal``: the cell repeats with translations of the crystal, so that the
        filling is crystal, too; ``general``: the filling meets its images at a seam.
    seam_damage
        Neighbours gained or lost by buffer and filling, as a part of all their neighbours: 0 where nothing was cut,
        up to 0.05 in thermal crystals, 0.13 to 0.20 in liquids.
    """

    atoms: Atoms
    indices: NDArray[np.int_]
    force_weights: NDArray[np.float64]
    n_core: int
    exact: NDArray[np.bool_]
    core_radius_A: float
    buffer_A: float
    kind: Literal["whole", "crystal", "general"]
    seam_damage: float

    @property
    def energy_weight(self) -> float:
        """Suggested weight of the energy per atom, see `embed`."""
        return float(self.seam_damage <= SOUND_SEAM)

    @property
    def stress_weight(self) -> float:
        """Suggested weight of the stress, see `embed`."""
        return self.energy_weight

    @property
    def purpose(self) -> str:
        """One sentence: what the label of this cell is good for."""
        if self.kind == "whole":
            return "The large structure itself: energy, forces and stress count."
        seam = "no seam" if self.seam_damage <= SOUND_SEAM else "a seam runs through its filling"
        core = f"{self.n_core} core atoms" if self.n_core > 1 else "the central atom"
        return (
            f"{len(self.atoms)} atoms ({seam}): the forces on {core} are those of the large structure if the "
            f"reference's forces reach no farther than {self.buffer_A:.2f} A, and nearly so if they do."
        )


def embed(
    atoms: Atoms,
    centre: int,
    *,
    core_radius_A: float,
    buffer_A: float,
    max_atoms: int | None = None,
    min_buffer_A: float | None = None,
    lattice: ArrayLike | None = None,
    potential: ForceField | None = None,
    other_force_weight: float = 0.0,
) -> EmbeddedCell:
    """Cut a small periodic cell around one atom out of a large one.

    The cell is the smallest found whose lattice repeats core and buffer without touching them: every atom within
    `buffer_A` of a core atom exists exactly once at its place, no other atom comes that near, and atoms that meet at
    the seam keep 0.8 typical distances (0.65 in crystals). So a reference whose forces reach no farther than `buffer_A`
    gives the core atoms the forces that they have in the large structure. Where the surroundings are a crystal, even a
    thermal or defective one, the lattice is made of the crystal's own translations; the seam is then no worse than
    thermal motion. The rest of the cell is filled with atoms from the large structure.

    If `max_atoms` demands it, first the core shrinks, down to the central atom, then the buffer.

    Weights: the mask lets the forces of the core only count. The others are true of the small cell, too, but at a seam
    they are larger than the simulation's, and a model with one noise for all forces takes the misfit for noise. A small
    `other_force_weight` (0.05 to 0.2 in the cases measured) learns from them at little of that price.

    Energy and stress are no wrong labels either: they are true of the small cell as it stands. But they sum over all
    its atoms. In a crystal these are a crystal's that is rattled a little more than the large one (some 50 meV per
    atom), and the suggestion is 1. Where the seam changes more than 8 % of the neighbours, the sum is ruled by
    surroundings that no simulation would produce (300 to 1000 meV per atom in melts), and the suggestion is 0.

    Parameters
    ----------
    atoms
        Large structure, periodic along three vectors; it may hold vacuum.
    centre
        Number of the uncertain atom.
    core_radius_A
        Atoms within this distance of it are core; 0 for that atom alone.
    buffer_A
        Width of the buffer around every core atom.
    max_atoms
        Largest cell that the reference can afford.
    min_buffer_A
        Narrowest buffer when there are too many atoms; 4 Angstrom or `buffer_A`, whichever is less, when None.
    lattice
        Primitive vectors of the crystal in rows, Angstrom, if they are known; detected when None.
    potential
        Relaxes the filling of a cell with a seam; core and buffer stay where they are.
    other_force_weight
        Weight of the forces on buffer and filling.

    Returns
    -------
    EmbeddedCell
        The large structure itself (``kind == "whole"``) where no smaller cell does.

    Raises
    ------
    InvalidInputError
        Not periodic, a number out of range, or `max_atoms` too small; the sentence says what would do.
    """
    _check(atoms, centre, core_radius_A, buffer_A, other_force_weight)
    least = buffer_A
    if max_atoms is not None:
        least = min(LEAST_BUFFER_A, buffer_A) if min_buffer_A is None else min_buffer_A
    allowed = np.inf if max_atoms is None else max_atoms
    cutter = _Cutter(atoms, centre, None if lattice is None else np.asarray(lattice, dtype=np.float64))
    needed = len(atoms)
    for core, buffer in _attempts(cutter.core_radii(core_radius_A), buffer_A, least):
        neighbourhood = cutter.neighbourhood(core, buffer)
        needed = min(len(neighbourhood.near), len(atoms))
        if needed > allowed:
            continue
        cell = cutter.cut(neighbourhood) or _whole(atoms, neighbourhood)
        if len(cell.atoms) <= allowed:
            if potential is not None and cell.seam_damage > SOUND_SEAM:
                cell = _relaxed(cell, potential)
            return replace(cell, force_weights=np.maximum(cell.force_weights, other_force_weight))
        needed = len(cell.atoms)
    raise InvalidInputError(
        f"no cell of up to {max_atoms} atoms keeps a buffer of {least:g} A around atom {centre}; allow at least "
        f"{needed} atoms or a narrower min_buffer_A"
    )


class _Cutter:
    """Cuts cells around one atom; what does not depend on the radii is found once."""

    def __init__(self, atoms: Atoms, centre: int, lattice: NDArray[np.float64] | None) -> None:
        self._atoms, self._centre = atoms, centre
        self._large = atoms.cell.array
        sample = surroundings(atoms, centre, _SAMPLE_A)
        neighbour = neighbour_distance(sample)
        if _SAMPLE_A < _SAMPLE_NEIGHBOURS * neighbour < np.inf:
            sample = surroundings(atoms, centre, _SAMPLE_NEIGHBOURS * neighbour)
        self._crystal = lattice
        if lattice is None and np.isfinite(neighbour):
            self._crystal = crystal_lattice(sample.vectors, sample.numbers, neighbour, self._large)
        self._bond_A = _BOND * neighbour if np.isfinite(neighbour) else 0.0
        part = CONTACT_GENERAL if self._crystal is None else CONTACT_CRYSTAL
        self._contacts = contact_distances(sample, atoms.numbers, part)

    def core_radii(self, radius_A: float) -> list[float]:
        """Radii worth trying, largest first; 0 is the central atom alone."""
        distances = np.linalg.norm(surroundings(self._atoms, self._centre, radius_A).vectors, axis=1)
        return sorted({radius_A} | {_STEP_A * float(np.floor(d / _STEP_A)) for d in distances}, reverse=True)

    def neighbourhood(self, core_radius_A: float, buffer_A: float) -> Neighbourhood:
        """Return core and buffer."""
        around = surroundings(self._atoms, self._centre, core_radius_A + buffer_A + 1e-6)
        return Neighbourhood.within(around, core_radius_A, buffer_A, self._contacts, self._large)

    def cut(self, neighbourhood: Neighbourhood) -> EmbeddedCell | None:
        """Return the smallest cell, or None when there is none that is smaller than the large one."""
        for cell in self._cells(neighbourhood):
            found = filled(self._atoms, self._centre, neighbourhood, cell, crystal=self._crystal is not None)
            if found is not None:
                return None if len(found.content) >= len(self._atoms) else self._assembled(neighbourhood, cell, found)
        return None

    def _assembled(self, neighbourhood: Neighbourhood, cell: NDArray[np.float64], found: Filled) -> EmbeddedCell:
        from ase import Atoms as AseAtoms

        content = found.content
        small = AseAtoms(content.numbers, content.vectors + 0.5 * cell.sum(axis=0), cell=cell, pbc=True)
        small.wrap()
        for name in ("initial_magmoms", "initial_charges"):
            if self._atoms.has(name):
                small.set_array(name, self._atoms.arrays[name][content.indices])
        numbers = np.arange(len(content))
        return EmbeddedCell(
            atoms=small,
            indices=content.indices,
            force_weights=(numbers < found.n_core).astype(np.float64),
            n_core=found.n_core,
            exact=numbers < found.n_exact,
            core_radius_A=neighbourhood.core_radius_A,
            buffer_A=neighbourhood.buffer_A,
            kind="general" if self._crystal is None else "crystal",
            seam_damage=self._seam_damage(small, content, found.n_core),
        )

    def _seam_damage(self, small: Atoms, content: Surroundings, n_core: int) -> float:
        reach = float(np.linalg.norm(content.vectors, axis=1).max()) + self._bond_A
        before = surroundings(self._atoms, self._centre, reach)
        after = surroundings(small, 0, reach)
        others = content.vectors[n_core:]
        counts = [_neighbours(others, around.vectors, self._bond_A) for around in (before, after)]
        return float(np.abs(counts[1] - counts[0]).sum() / max(counts[0].sum(), 1))

    def _cells(self, neighbourhood: Neighbourhood) -> Iterator[NDArray[np.float64]]:
        """Yield reduced cells that hold the neighbourhood, smallest first."""
        from ase.geometry import minkowski_reduce

        largest = self._atoms.get_volume()
        for cell in compact_lattices(neighbourhood.least_vector_A, self._large, self._crystal):
            if abs(np.linalg.det(cell)) > (1 - 1e-6) * largest:
                return
            if neighbourhood.fits(cell):
                reduced = np.asarray(minkowski_reduce(cell)[0])
                reduced *= np.sign(np.linalg.det(reduced))
                if neighbourhood.fits(reduced):
                    yield reduced


def _attempts(core_radii: list[float], buffer_A: float, least_A: float) -> Iterator[tuple[float, float]]:
    """Shrink the core first, since one true force is worth more than many wrong ones; then the buffer."""
    for core in core_radii:
        yield core, buffer_A
    for narrower in np.arange(buffer_A - _STEP_A, least_A - 1e-9, -_STEP_A):
        yield 0.0, float(narrower)


def _whole(atoms: Atoms, neighbourhood: Neighbourhood) -> EmbeddedCell:
    n = len(atoms)
    core, buffer = neighbourhood.core_radius_A, neighbourhood.buffer_A
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = None
    copy.arrays.pop("momenta", None)
    everything = np.ones(n, dtype=bool)
    return EmbeddedCell(copy, np.arange(n), np.ones(n), n, everything, core, buffer, "whole", 0.0)


def _relaxed(cell: EmbeddedCell, potential: ForceField) -> EmbeddedCell:
    atoms = relax_filling(cell.atoms, cell.exact, cell.n_core, cell.buffer_A, potential)
    return cell if atoms is None else replace(cell, atoms=atoms)  # the seam stays a seam


def _neighbours(points: NDArray[np.float64], others: NDArray[np.float64], radius_A: float) -> NDArray[np.int_]:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(others).query_ball_point(points, radius_A, return_length=True)) - 1


def _check(atoms: Atoms, centre: int, core_radius_A: float, buffer_A: float, other_force_weight: float) -> None:
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InvalidInputError("the large structure must be periodic along three independent cell vectors")
    if not 0 <= centre < len(atoms):
        raise InvalidInputError(f"there is no atom {centre}; the structure has numbers 0 to {len(atoms) - 1}")
    if core_radius_A < 0 or not buffer_A > 0:
        raise InvalidInputError(
            f"core_radius_A ({core_radius_A}) must not be negative and buffer_A ({buffer_A}) positive"
        )
    if not 0 <= other_force_weight <= 1:
        raise InvalidInputError(f"other_force_weight must lie between 0 and 1 but is {other_force_weight}")
