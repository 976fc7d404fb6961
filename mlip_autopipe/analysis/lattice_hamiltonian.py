"""The energy of every decoration of a supercell, as tables taken from a cluster expansion of icet.

A cluster of k sites of species a_1 ... a_k has the energy J[a_1, ..., a_k], one table per orbit and place of a site in
its clusters. To change one site costs one look-up per cluster around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis._sublattices import IntArray, class_keys
from mlip_autopipe.analysis.lattice_decoration import LatticeDecoration, ParentLattice
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError, InvalidInputError

_ZERO: Final = 1e-14


@dataclass(frozen=True, eq=False)
class LatticeHamiltonian:
    """Energies of a supercell in eV.

    Attributes
    ----------
    elements
        Alphabetical; a site's number k means ``elements[k]``.
    parent, supercell
        The lattice and (3, 3) vectors of the cell in primitive ones.
    vectors, basis
        Cell vectors (n, 3) and basis indices (n,) of the sites.
    constant_eV
        Of the whole cell.
    points_eV
        (b, m) energy of a species on a site.
    members
        (n, w) other sites of all clusters of a site, pairs first.
    orders
        Number of pairs, triplets ... of a site.
    starts
        (b, clusters) place of each cluster's table in `tables_eV`.
    tables_eV
        Cluster energies: species of the other sites, then that of the site itself, which runs fastest.
    """

    elements: tuple[str, ...]
    parent: ParentLattice
    supercell: IntArray
    vectors: IntArray
    basis: IntArray
    constant_eV: float
    points_eV: FloatArray
    members: NDArray[np.uint32]
    orders: IntArray
    starts: NDArray[np.uint32]
    tables_eV: FloatArray

    @property
    def n_sites(self) -> int:
        """Sites of the supercell."""
        return len(self.basis)

    @property
    def n_elements(self) -> int:
        """Species on each site."""
        return len(self.elements)

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """What the compiled loops take."""
        return self.points_eV, self.members, self.orders, self.starts, self.tables_eV, self.basis

    def energy_eV(self, occupations: ArrayLike) -> FloatArray:
        """Return energies per site of decorations (..., n), eV."""
        from mlip_autopipe.analysis._lattice_kernels import total_energy

        array = self.checked(occupations)
        flat = array.reshape(-1, self.n_sites)
        totals = [total_energy(row, self.n_elements, self.arrays) for row in flat]
        return (np.array(totals).reshape(array.shape[:-1]) + self.constant_eV) / self.n_sites

    def occupation(self, decoration: LatticeDecoration) -> NDArray[np.int8]:
        """Return the species (n,) of a decoration that fits.

        Raises
        ------
        InvalidInputError
            It does not fit into the supercell.
        """
        if not decoration.fits(self.supercell):
            raise InvalidInputError(f"{decoration.name} does not fit into the supercell: choose it by common_supercell")
        return decoration.species_at(self.vectors, self.basis)

    def checked(self, occupations: ArrayLike) -> NDArray[np.int8]:
        """Return decorations as the loops take them.

        Raises
        ------
        InvalidInputError
            Wrong number of sites, or a species that does not exist.
        """
        array = np.ascontiguousarray(occupations, dtype=np.int8)
        if array.ndim == 0 or array.shape[-1] != self.n_sites:
            raise InvalidInputError(f"decorations of shape {array.shape} do not end with the {self.n_sites} sites")
        if array.size and (array.min() < 0 or array.max() >= self.n_elements):
            raise InvalidInputError(f"species run from 0 to {self.n_elements - 1}, in the order {self.elements}")
        return array


def lattice_hamiltonian(
    space: Any, parameters: ArrayLike, parent: ParentLattice, elements: Sequence[str], supercell: ArrayLike
) -> LatticeHamiltonian:
    """Write a cluster expansion as tables for one supercell.

    Parameters
    ----------
    space
        `icet.ClusterSpace` of the parent.
    parameters
        One per element of its cluster vector, eV per site.
    parent
        The lattice of `space`, with the same primitive cell.
    elements
        Alphabetical.
    supercell
        (3, 3) integers, rows: vectors in primitive ones.

    Raises
    ------
    InvalidInputError
        The supercell is so small that a site is its own neighbour, or the primitive cells differ.
    AnalysisError
        The tables do not give the energies of icet (a version that normalises otherwise).
    """
    if len(elements) < 2 or list(elements) != sorted(set(elements)):
        raise InvalidInputError(f"elements must be two or more, alphabetical; {list(elements)} are not")
    matrix = np.asarray(supercell, dtype=np.int64)
    own = space.primitive_structure
    if len(own) != parent.n_basis or not np.allclose(own.cell.array, parent.cell_A, atol=1e-6):
        raise InvalidInputError("the cluster space must be made of the primitive cell of the parent lattice")
    values = np.asarray(parameters, dtype=float)
    vectors, basis = parent.sites(matrix)
    points, clusters = _cluster_tables(space, values, elements)
    members, orders, starts, tables = _around_sites(clusters, vectors, basis, matrix, len(elements))
    hamiltonian = LatticeHamiltonian(
        elements=tuple(elements),
        parent=parent,
        supercell=matrix,
        vectors=vectors,
        basis=basis,
        constant_eV=float(values[0] * len(basis)),
        points_eV=points,
        members=members,
        orders=orders,
        starts=starts,
        tables_eV=tables,
    )
    _compare_with_icet(hamiltonian, space, values)
    return hamiltonian


# A cluster: its sites (cell vector, basis index), and the energies of its decorations.
_Cluster = tuple[list[tuple[IntArray, int]], FloatArray]


def _cluster_tables(space: Any, parameters: FloatArray, elements: Sequence[str]) -> tuple[FloatArray, list[_Cluster]]:
    """Return point energies (b, m), and the clusters of one primitive cell."""
    from ase.data import atomic_numbers

    m, n_basis = len(elements), len(space.primitive_structure)
    # icet numbers species by atomic number
    by_number = sorted(elements, key=lambda symbol: atomic_numbers[symbol])
    functions = np.array(
        [[space.evaluate_cluster_function(m, k, by_number.index(s)) for s in elements] for k in range(m - 1)]
    )
    points = np.zeros((n_basis, m))
    clusters: list[_Cluster] = []
    index = 0
    for number in range(len(space.orbit_list)):
        orbit = space.orbit_list.get_orbit(number)
        equivalent = [
            [(np.asarray(site.unitcell_offset, dtype=np.int64), int(site.index)) for site in cluster.lattice_sites]
            for cluster in orbit.clusters
        ]
        table = np.zeros((m,) * orbit.order)
        for element in orbit.cluster_vector_elements:
            index += 1
            permutations = element["site_permutations"]
            share = parameters[index] * n_basis / (len(equivalent) * len(permutations))
            for permutation in permutations:
                kinds = [element["multicomponent_vector"][p] for p in permutation]
                for species in product(range(m), repeat=orbit.order):
                    table[species] += share * np.prod([functions[k, s] for k, s in zip(kinds, species, strict=True)])
        if np.abs(table).max() < _ZERO:
            continue
        if orbit.order == 1:
            for ((_, site),) in equivalent:
                points[site] += table
        else:
            clusters += [(sites, table) for sites in equivalent]
    return points, clusters


def _around_sites(
    clusters: list[_Cluster], vectors: IntArray, basis: IntArray, matrix: IntArray, m: int
) -> tuple[NDArray[np.uint32], IntArray, NDArray[np.uint32], FloatArray]:
    """Return members, orders, starts and tables of `LatticeHamiltonian`."""
    n_basis = int(basis.max()) + 1
    keys = class_keys(vectors, matrix) * n_basis + basis
    order = np.argsort(keys)
    # per basis site: order of the cluster, its other sites relative to the cell of the site, its table
    around: list[list[tuple[int, list[tuple[IntArray, int]], bytes]]] = [[] for _ in range(n_basis)]
    for sites, table in clusters:
        for place, (origin, home) in enumerate(sites):
            others = [(vector - origin, site) for k, (vector, site) in enumerate(sites) if k != place]
            turned = np.ascontiguousarray(np.moveaxis(table, place, -1))
            around[home].append((len(sites), others, turned.tobytes()))
    starts_of: dict[bytes, int] = {}
    flat: list[FloatArray] = []
    for row in around:
        row.sort(key=lambda item: item[0])
        for _, _, data in row:
            if data not in starts_of:
                starts_of[data] = sum(len(t) for t in flat)
                flat.append(np.frombuffer(data))
    sizes = [[item[0] for item in row] for row in around]
    if any(size != sizes[0] for size in sizes):
        raise InvalidInputError("the sites of the parent lattice are not equivalent: fcc, bcc, hcp, sc and diamond are")
    members = np.zeros((len(basis), sum(size - 1 for size in sizes[0])), dtype=np.uint32)
    for home, row in enumerate(around):
        here = np.flatnonzero(basis == home)
        column = 0
        for _, others, _ in row:
            for vector, site in others:
                wanted = class_keys(vectors[here] + vector, matrix) * n_basis + site
                members[here, column] = order[np.searchsorted(keys[order], wanted)]
                column += 1
            part = members[here, column - len(others) : column]
            if (part == here[:, None]).any() or any(
                (part[:, i] == part[:, j]).any() for j in range(len(others)) for i in range(j)
            ):
                raise InvalidInputError("the supercell is shorter than the longest cluster: take a larger one")
    largest = max(sizes[0], default=2)
    orders = np.array([sizes[0].count(size) for size in range(2, largest + 1)], dtype=np.int64)
    starts = np.array([[starts_of[data] for _, _, data in row] for row in around], dtype=np.uint32)
    return members, orders, starts.reshape(n_basis, -1), np.concatenate([*flat, np.zeros(0)])


def _compare_with_icet(hamiltonian: LatticeHamiltonian, space: Any, parameters: FloatArray) -> None:
    from ase import Atoms

    rng = np.random.default_rng(0)
    species = rng.integers(0, hamiltonian.n_elements, hamiltonian.n_sites)
    atoms = Atoms(
        [hamiltonian.elements[k] for k in species],
        hamiltonian.parent.positions_A(hamiltonian.vectors, hamiltonian.basis),
        cell=hamiltonian.supercell @ hamiltonian.parent.cell_A,
        pbc=True,
    )
    expected = float(np.dot(space.get_cluster_vector(atoms), parameters))
    found = float(hamiltonian.energy_eV(species))
    if abs(found - expected) > 1e-8 * max(1.0, float(np.abs(parameters).sum())):
        raise AnalysisError(f"the tables give {found:.6g} eV per site where icet gives {expected:.6g}")
