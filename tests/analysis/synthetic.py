"""Crystals, groups and random elastic tensors for the tests of `mlip_autopipe.analysis`."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.symmetry import invariant_tensor_basis

# name: (structure, crystal system, point group, independent constants, strain directions)
CRYSTALS = {
    "Al": (Structure.from_spacegroup(225, Lattice.cubic(4.05), ["Al"], [[0, 0, 0]]), "cubic", "m-3m", 3, 1),
    "pyrite": (
        Structure.from_spacegroup(205, Lattice.cubic(5.42), ["Fe", "S"], [[0, 0, 0], [0.385, 0.385, 0.385]]),
        "cubic",
        "m-3",
        3,
        1,
    ),
    "Mg": (
        Structure.from_spacegroup(194, Lattice.hexagonal(3.21, 5.21), ["Mg"], [[1 / 3, 2 / 3, 0.25]]),
        "hexagonal",
        "6/mmm",
        5,
        2,
    ),
    "corundum": (
        Structure.from_spacegroup(167, Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]),
        "trigonal",
        "-3m",
        6,
        2,
    ),
    "ilmenite": (
        Structure.from_spacegroup(
            148,
            Lattice.hexagonal(5.09, 14.09),
            ["Fe", "Ti", "O"],
            [[0, 0, 0.355], [0, 0, 0.146], [0.317, 0.023, 0.245]],
        ),
        "trigonal",
        "-3",
        7,
        2,
    ),
    "brucite-like": (
        Structure.from_spacegroup(164, Lattice.hexagonal(4.24, 5.03), ["Mg", "O"], [[0, 0, 0], [1 / 3, 2 / 3, 0.22]]),
        "trigonal",
        "-3m",
        6,
        2,
    ),
    "rutile": (
        Structure.from_spacegroup(136, Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
        "tetragonal",
        "4/mmm",
        6,
        2,
    ),
    "scheelite": (
        Structure.from_spacegroup(
            88,
            Lattice.tetragonal(5.24, 11.38),
            ["Ca", "W", "O"],
            [[0, 0.25, 0.625], [0, 0.25, 0.125], [0.15, 0.0086, 0.2106]],
        ),
        "tetragonal",
        "4/m",
        7,
        2,
    ),
    "forsterite-like": (
        Structure.from_spacegroup(62, Lattice.orthorhombic(10.2, 5.98, 4.76), ["Fe"], [[0.09, 0.25, 0.43]]),
        "orthorhombic",
        "mmm",
        9,
        3,
    ),
    "monoclinic": (
        Structure.from_spacegroup(
            14,
            Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
            ["Zr", "O"],
            [[0.28, 0.04, 0.21], [0.07, 0.33, 0.34]],
        ),
        "monoclinic",
        "2/m",
        13,
        4,
    ),
    "triclinic": (
        Structure.from_spacegroup(
            2,
            Lattice.from_parameters(4.1, 5.2, 6.3, 83, 97, 108),
            ["Si", "O"],
            [[0.1, 0.2, 0.3], [0.4, 0.15, 0.7]],
        ),
        "triclinic",
        "-1",
        21,
        6,
    ),
}


def rotated(structure: Structure, seed: int | None) -> Structure:
    """Rotate a crystal in space; seed None leaves it as it is."""
    if seed is None:
        return structure.copy()
    turned = structure.copy()
    turned.lattice = Lattice(structure.lattice.matrix @ Rotation.random(random_state=seed).as_matrix().T)
    return turned


def random_tensor(rotations: np.ndarray, seed: int) -> np.ndarray:
    """Return a random stable tensor (GPa) that the group allows, in the orientation of the group."""
    isotropic = np.diag([60.0, 60, 60, 30, 30, 30])
    isotropic[:3, :3] += 70.0
    basis = invariant_tensor_basis(rotations)
    return isotropic + np.einsum("a,aij->ij", np.random.default_rng(seed).normal(0, 6, len(basis)), basis)


def cubic_tensor(c11: float, c12: float, c44: float) -> np.ndarray:
    """Return a cubic tensor along the cube's axes."""
    tensor = np.diag([c11 - c12] * 3 + [c44] * 3)
    tensor[:3, :3] += c12
    return tensor
