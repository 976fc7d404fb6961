"""Ordered structures as decorations of a parent lattice, and the supercells in which they fit.

Sites of a parent are numbered by a cell vector (three integers, in vectors of its primitive cell) and a basis index.
Everything here is exact integer arithmetic; only `read_decoration` looks at positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis._sublattices import (
    IntArray,
    class_keys,
    intersection,
    representatives,
    shortest_vectors_A,
    wrapped,
)
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

MAX_SITES: Final = 400
# Of the nearest-neighbour distance: farther from its site an atom is somewhere else.
_ON_SITE: Final = 0.02
_TOLERANCE: Final = 1e-6
# A cell twice as large must be this much more compact, times ln 2, to be preferred.
_SIZE_WEIGHT: Final = 0.25
_CENTRINGS: Final = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    ((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
)


@dataclass(frozen=True, eq=False)
class ParentLattice:
    """A lattice of equivalent sites.

    Attributes
    ----------
    cell_A
        (3, 3) primitive vectors in rows, Angstrom.
    basis
        (b, 3) fractional coordinates of the sites of the primitive cell.
    """

    cell_A: FloatArray
    basis: FloatArray

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> ParentLattice:
        """Take a primitive cell; its elements do not matter.

        Raises
        ------
        InvalidInputError
            The cell is not periodic, holds no sites, or is not primitive.
        """
        if not atoms.pbc.all() or atoms.cell.rank < 3 or len(atoms) == 0:
            raise InvalidInputError(
                "the parent lattice must be periodic along three independent vectors and hold sites"
            )
        parent = cls(np.array(atoms.cell.array, dtype=float), np.array(atoms.get_scaled_positions(wrap=False)))
        if len(parent.operations()[0]) == 0 or parent.n_translations > 1:
            raise InvalidInputError("the parent lattice must be given as its primitive cell")
        return parent

    @property
    def n_basis(self) -> int:
        """Sites of the primitive cell."""
        return len(self.basis)

    @property
    def nearest_neighbour_A(self) -> float:
        """Shortest distance between sites."""
        shifts = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)))
        apart = (self.basis[:, None, None] - self.basis[None, :, None] + shifts) @ self.cell_A
        lengths = np.linalg.norm(apart, axis=-1)
        return float(lengths[lengths > _TOLERANCE].min())

    @property
    def n_translations(self) -> int:
        """Pure translations that map the sites onto themselves; 1 for a primitive cell."""
        rotations, _, _ = self.operations()
        return int(sum(np.array_equal(r, np.eye(3)) for r in rotations))

    def operations(self) -> tuple[IntArray, IntArray, IntArray]:
        """Return the space group, modulo lattice translations, as it acts on the numbered sites.

        Returns
        -------
        tuple
            Rotations (m, 3, 3), and of every operation and basis site the shift of the cell vector (m, b, 3) and the
            basis index (m, b) of the image: site (v, k) goes to (R v + shift[k], index[k]).
        """
        import spglib

        found = spglib.get_symmetry((self.cell_A, self.basis, [1] * self.n_basis), symprec=1e-4)
        if found is None:
            raise InvalidInputError("the parent lattice has no symmetry that spglib can find: give its exact cell")
        rotations = np.asarray(found["rotations"], dtype=np.int64)
        images = np.einsum("mij,kj->mki", rotations, self.basis) + np.asarray(found["translations"])[:, None]
        apart = images[:, :, None] - self.basis
        shifts = np.round(apart).astype(np.int64)
        index = np.argmin(np.abs(apart - shifts).max(axis=-1), axis=-1)
        return rotations, np.take_along_axis(shifts, index[..., None, None], axis=2)[:, :, 0], index

    def sites(self, matrix: IntArray) -> tuple[IntArray, IntArray]:
        """Return cell vectors (n, 3) and basis indices (n,) of the sites of a supercell (rows of `matrix`)."""
        vectors = representatives(matrix)
        return np.repeat(vectors, self.n_basis, axis=0), np.tile(np.arange(self.n_basis), len(vectors))

    def positions_A(self, vectors: IntArray, basis: IntArray) -> FloatArray:
        """Return Cartesian positions (n, 3) of sites."""
        return np.asarray((vectors + self.basis[basis]) @ self.cell_A)


@dataclass(frozen=True)
class LatticeDecoration:
    """An ordered structure on a parent lattice.

    Attributes
    ----------
    name
        For people.
    matrix
        Rows: its lattice vectors in primitive ones of the parent.
    vectors, basis, species
        Its sites and the number of the element on each, in the order of `ParentLattice.sites`.
    """

    name: str
    matrix: tuple[tuple[int, ...], ...]
    vectors: tuple[tuple[int, ...], ...]
    basis: tuple[int, ...]
    species: tuple[int, ...]

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LatticeDecoration:
        """Rebuild from what `dataclasses.asdict` or JSON gave."""
        matrix, vectors = (tuple(tuple(int(i) for i in row) for row in stored[key]) for key in ("matrix", "vectors"))
        basis, species = (tuple(int(i) for i in stored[key]) for key in ("basis", "species"))
        return cls(str(stored["name"]), matrix, vectors, basis, species)

    def fractions(self, n_elements: int) -> FloatArray:
        """Return atomic fractions, one per element."""
        return np.bincount(self.species, minlength=n_elements) / len(self.species)

    def fits(self, supercell: IntArray) -> bool:
        """Whether a supercell is a whole number of periods along each of its vectors."""
        turns = np.asarray(supercell) @ np.linalg.inv(np.array(self.matrix))
        return bool(np.allclose(turns, np.round(turns), atol=1e-6))

    def species_at(self, vectors: IntArray, basis: IntArray) -> NDArray[np.int8]:
        """Return the element numbers (n,) on any sites of the lattice."""
        matrix = np.array(self.matrix)
        stride = int(max(self.basis)) + 1
        own = class_keys(np.array(self.vectors), matrix) * stride + np.array(self.basis)
        order = np.argsort(own)
        wanted = class_keys(vectors, matrix) * stride + basis
        return np.array(self.species, dtype=np.int8)[order[np.searchsorted(own[order], wanted)]]


def pure(name: str, species: int, parent: ParentLattice) -> LatticeDecoration:
    """Return the parent with one element on all sites."""
    unit = tuple(tuple(int(i) for i in row) for row in np.eye(3, dtype=int))
    n = parent.n_basis
    return LatticeDecoration(name, unit, ((0, 0, 0),) * n, tuple(range(n)), (species,) * n)


def read_decoration(atoms: Atoms, parent: ParentLattice, elements: Sequence[str], name: str = "") -> LatticeDecoration:
    """Recognise a structure as a decoration of the parent.

    Its volume is scaled to that of the parent. When it does not lie on the sites as it is (it is rotated, or relaxed)
    icet maps it.

    Parameters
    ----------
    atoms
        Periodic structure of as many atoms as sites.
    elements
        Which number means which element.
    name
        Of the decoration; the formula when empty.

    Raises
    ------
    InvalidInputError
        An element is not in `elements`, or the structure does not lie on the parent lattice.
    """
    symbols = atoms.get_chemical_symbols()
    label = name or atoms.get_chemical_formula(mode="metal", empirical=True)
    if strange := sorted(set(symbols) - set(elements)):
        raise InvalidInputError(f"structure {label} holds {', '.join(strange)}; the expansion knows {list(elements)}")
    matrix, vectors, basis = _sites_of(atoms, parent, label)
    species = np.array([list(elements).index(symbol) for symbol in symbols])
    vectors = wrapped(vectors, matrix)
    key = class_keys(vectors, matrix) * parent.n_basis + basis
    order = np.argsort(key)
    if len(np.unique(key)) < len(key):
        raise InvalidInputError(f"two atoms of structure {label} share a site of the parent lattice")
    return LatticeDecoration(
        label,
        tuple(tuple(int(i) for i in row) for row in matrix),
        tuple(tuple(int(i) for i in row) for row in vectors[order]),
        tuple(int(i) for i in basis[order]),
        tuple(int(i) for i in species[order]),
    )


def variants(decoration: LatticeDecoration, parent: ParentLattice, supercell: IntArray) -> NDArray[np.int8]:
    """Return all distinct images (k, n) of a decoration under the parent's space group that fit into a supercell."""
    vectors, basis = parent.sites(supercell)
    rotations, shifts, index = parent.operations()
    origins = representatives(np.array(decoration.matrix))
    found: dict[bytes, NDArray[np.int8]] = {}
    for rotation, shift, image in zip(rotations, shifts, index, strict=True):
        turned = np.asarray(supercell) @ rotation.T
        if not decoration.fits(turned):
            continue
        places = vectors @ rotation.T + shift[basis]
        for origin in origins:
            species = decoration.species_at(places + origin, image[basis])
            found.setdefault(species.tobytes(), species)
    return np.array(list(found.values()), dtype=np.int8).reshape(len(found), len(basis))


def common_supercell(
    decorations: Sequence[LatticeDecoration],
    parent: ParentLattice,
    *,
    shortest_image_A: float,
    target_sites: int = 300,
    max_sites: int = MAX_SITES,
) -> IntArray:
    """Find a compact supercell in which all decorations fit, if possible with all their rotated images.

    Parameters
    ----------
    shortest_image_A
        Least distance of a site from its periodic image: beyond the longest cluster.
    target_sites, max_sites
        Size to come near to, and not to exceed.

    Returns
    -------
    numpy.ndarray
        (3, 3) integer matrix, rows: vectors of the supercell in primitive ones.

    Raises
    ------
    InvalidInputError
        No such cell has at most `max_sites` sites.
    """
    rotations = np.unique(parent.operations()[0], axis=0)
    lattices = [np.array(d.matrix) for d in decorations]
    with_images = [m @ r.T for m in lattices for r in rotations]
    for chosen in (with_images, lattices):
        shared = np.eye(3, dtype=np.int64)
        for matrix in chosen:
            shared = intersection(shared, matrix)
        matrices = _multiples(shared, parent, max_sites)
        n = parent.n_basis * np.abs(np.round(np.linalg.det(matrices)))
        shortest = shortest_vectors_A(matrices @ parent.cell_A)
        compact = shortest / (n * _volume_per_site(parent)) ** (1 / 3)
        score = np.round(compact - _SIZE_WEIGHT * np.abs(np.log(n / target_sites)), 9)
        score[shortest <= shortest_image_A + _TOLERANCE] = -np.inf
        if len(score) and score.max() > -np.inf:
            best = matrices[np.argmax(score)]
            return np.asarray(best if np.linalg.det(best) > 0 else -best)
    names = ", ".join(d.name for d in decorations)
    raise InvalidInputError(
        f"no supercell of up to {max_sites} sites holds all of {names} with images {shortest_image_A:.1f} A apart: "
        "leave out the structure with the largest cell, or shorten the cut-offs"
    )


def _sites_of(atoms: Atoms, parent: ParentLattice, label: str) -> tuple[IntArray, IntArray, IntArray]:
    """Return lattice vectors (3, 3), cell vectors (n, 3) and basis indices (n,) in numbers of the parent."""
    from ase import Atoms as AseAtoms

    if len(atoms) % parent.n_basis or not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InvalidInputError(
            f"structure {label} of {len(atoms)} atoms is no periodic decoration of the parent lattice"
        )
    scale = (len(atoms) * _volume_per_site(parent) / abs(atoms.cell.volume)) ** (1 / 3)
    found = _numbered(scale * atoms.cell.array, scale * atoms.get_positions(), parent)
    if found is not None:
        return found
    try:
        from icet.tools import map_structure_to_reference
    except ModuleNotFoundError:
        raise EnvironmentProblemError("cluster expansions need icet: pip install 'mlip-autopipe[alloys]'") from None
    reference = AseAtoms("H" * parent.n_basis, scaled_positions=parent.basis, cell=parent.cell_A, pbc=True)
    plain = AseAtoms("H" * len(atoms), atoms.get_positions(), cell=atoms.cell, pbc=True)
    try:
        ideal, _ = map_structure_to_reference(plain, reference, suppress_warnings=True)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(
            f"structure {label} does not lie on the parent lattice, leave it out (icet: {reason})"
        ) from None
    order = np.argsort(ideal.get_array("IndexMapping"))
    found = _numbered(ideal.cell.array, ideal.get_positions()[order], parent)
    if found is None or len(ideal) != len(atoms):
        raise InvalidInputError(f"structure {label} does not lie on the parent lattice")
    return found


def _numbered(
    cell: FloatArray, positions: FloatArray, parent: ParentLattice
) -> tuple[IntArray, IntArray, IntArray] | None:
    inverse = np.linalg.inv(parent.cell_A)
    matrix = np.round(cell @ inverse)
    near = _ON_SITE * parent.nearest_neighbour_A
    if np.abs(matrix @ parent.cell_A - cell).max() > near or round(np.linalg.det(matrix)) == 0:
        return None
    for origin in range(parent.n_basis):
        # the first atom sits on some site of the basis
        places = (positions - positions[0]) @ inverse + parent.basis[origin]
        apart = places[:, None] - parent.basis
        vectors = np.round(apart)
        off = np.linalg.norm((apart - vectors) @ parent.cell_A, axis=-1)
        basis = np.argmin(off, axis=1)
        if off[np.arange(len(off)), basis].max() < near:
            return matrix.astype(np.int64), vectors[np.arange(len(off)), basis].astype(np.int64), basis
    return None


def _volume_per_site(parent: ParentLattice) -> float:
    return float(abs(np.linalg.det(parent.cell_A)) / parent.n_basis)


def _multiples(shared: IntArray, parent: ParentLattice, max_sites: int) -> IntArray:
    """Return supercells (k, 3, 3) of a lattice: its reduced cell, body- and face-centred multiples, repeated."""
    from ase.geometry import minkowski_reduce

    _, turn = minkowski_reduce(shared @ parent.cell_A)
    reduced = np.asarray(turn, dtype=np.int64) @ shared
    found = []
    for centring in _CENTRINGS:
        unit = np.array(centring) @ reduced
        most = max_sites // (parent.n_basis * abs(round(np.linalg.det(unit))))
        # the least of three factors is at most the cube root, and none is more than three times as large
        sides = range(1, 3 * round(most ** (1 / 3)) + 4)
        for repeats in product(sides, repeat=3):
            if np.prod(repeats) <= most and max(repeats) <= 3 * min(repeats):
                found.append(np.diag(repeats) @ unit)
    return np.array(found, dtype=np.int64).reshape(-1, 3, 3)
