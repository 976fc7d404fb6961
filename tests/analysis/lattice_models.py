"""Lattice models with known answers."""

from __future__ import annotations

import functools

import numpy as np
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_decoration import ParentLattice, read_decoration
from mlip_autopipe.analysis.lattice_hamiltonian import lattice_hamiltonian

ELEMENTS = ("Au", "Cu")
# temperatures in K are 100 times those in units of J / k
J_EV = 100 * BOLTZMANN_EV_PER_K
NEIGHBOURS = {"square": 4, "sc": 6, "bcc": 8, "fcc": 12}
EDGES_A = {"sc": 2.7, "bcc": 3.1, "fcc": 3.8}
SIXTEEN = [[0, 2, 2], [2, 0, 2], [2, 2, 0]]


def primitive(name):
    if name == "square":
        return Atoms("Cu", cell=[2.7, 2.7, 30.0], pbc=True)
    if name == "hcp":
        return bulk("Mg", "hcp", a=3.2, c=5.2)
    return bulk("Cu", name, a=EDGES_A[name])


@functools.cache
def parent(name):
    return ParentLattice.from_atoms(primitive(name))


@functools.cache
def cluster_space(name, cutoffs, elements=ELEMENTS):
    from icet import ClusterSpace

    return ClusterSpace(primitive(name), list(cutoffs), list(elements))


def conventional(name, repeats):
    if name == "square":
        return np.diag([repeats, repeats, 1])
    edges = repeats * np.eye(3) * EDGES_A[name]
    return np.round(edges @ np.linalg.inv(primitive(name).cell.array)).astype(int)


def ising(name, supercell, pair_eV=J_EV):
    """Nearest neighbours with the energy -pair_eV s s', s = +-1."""
    space = cluster_space(name, (2.9,))
    assert len(space) == 3
    return lattice_hamiltonian(space, [0, 0, -pair_eV * NEIGHBOURS[name] / 2], parent(name), ELEMENTS, supercell)


def many_body(supercell, parameters=(0.02, 0.01, 0.06, 0.03, -0.02)):
    """fcc with pairs, triplets and quadruplets of nearest neighbours."""
    space = cluster_space("fcc", (2.8, 2.8, 2.8))
    return lattice_hamiltonian(space, parameters, parent("fcc"), ELEMENTS, supercell)


def all_decorations(n):
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.int8)


def ordered(name):
    """Conventional cells of ordered structures."""
    atoms = bulk("Cu", "bcc", a=3.1, cubic=True) if name == "B2" else bulk("Cu", a=3.8, cubic=True)
    atoms.symbols[: {"B2": 1, "L1_2": 1, "L1_0": 2}[name]] = "Au"
    return atoms


def decoration(name):
    return read_decoration(ordered(name), parent("bcc" if name == "B2" else "fcc"), ELEMENTS, name)


@functools.cache
def enumerated(name, sites, elements=ELEMENTS):
    from icet.tools import enumerate_structures

    return tuple(enumerate_structures(primitive(name), range(1, sites + 1), list(elements)))
