"""The Ziegler-Biersack-Littmark repulsion with a smooth cutoff: the baseline under every learned potential.

A learned potential knows nothing of distances that no training configuration has; with this baseline, and
learning only the difference to it, atoms never fuse in hot molecular dynamics.

Screening function: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter
(Pergamon, 1985); in the form of doi:10.1007/978-1-4615-8103-1_3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

_COULOMB_EV_A = 14.399645
_BOHR_A = 0.529177
_AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_EXPONENTS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
_SKIN_A = 1.0


class ZBL:
    """Screened nuclear repulsion, switched off smoothly well below bond lengths.

    The switch is a quintic polynomial, so that energy, forces and force constants are continuous. It falls from 1 to
    0 between the two fractions of the sum of the covalent radii. Where atoms come in hot dynamics the baseline must be
    zero, because its switch would have to be learned: outer = 0.8 instead of 0.65 gave 250 instead of 5 meV/A on the
    hottest of 20 configurations of nickel.

    Parameters
    ----------
    inner, outer
        Fractions of the sum of the two covalent radii.
    """

    def __init__(self, *, inner: float = 0.3, outer: float = 0.65) -> None:
        if not 0 <= inner < outer:
            raise ValueError(f"inner ({inner}) must be at least 0 and less than outer ({outer})")
        self.inner = inner
        self.outer = outer
        self._neighbours = _Neighbours()

    def evaluate(self, atoms: Atoms) -> tuple[float, FloatArray, FloatArray]:
        """Return energy (eV), forces (n, 3) and the sum of r x F over pairs (3, 3), which is -stress x volume."""
        from ase.data import covalent_radii

        radii = covalent_radii[atoms.numbers]
        first, second, vectors = self._neighbours.pairs(atoms, 2 * self.outer * float(radii.max(initial=0.1)))
        forces = np.zeros((len(atoms), 3))
        if len(first) == 0:
            return 0.0, forces, np.zeros((3, 3))
        distances = np.sqrt((vectors**2).sum(axis=1))
        bonds = radii[first] + radii[second]
        near = distances < self.outer * bonds
        first, second, vectors, distances, bonds = (x[near] for x in (first, second, vectors, distances, bonds))
        energies, slopes = self._pair(distances, bonds, atoms.numbers[first], atoms.numbers[second])
        # every pair stands in the list once from each side
        pulls = 0.5 * (slopes / distances)[:, None] * vectors
        np.add.at(forces, first, pulls)
        np.add.at(forces, second, -pulls)
        return float(0.5 * energies.sum()), forces, -vectors.T @ pulls

    def _pair(
        self, r: FloatArray, bonds: FloatArray, z1: NDArray[np.int64], z2: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        length = 0.8854 * _BOHR_A / (z1**0.23 + z2**0.23)
        terms = _AMPLITUDES * np.exp(-_EXPONENTS * (r / length)[:, None])
        screening = terms.sum(axis=1)
        screening_slope = -(terms * _EXPONENTS).sum(axis=1) / length
        strength = _COULOMB_EV_A * z1 * z2
        energy = strength * screening / r
        slope = strength * (screening_slope / r - screening / r**2)
        width = (self.outer - self.inner) * bonds
        t = np.clip((r - self.inner * bonds) / width, 0, 1)
        switch = 1 - t**3 * (10 - 15 * t + 6 * t**2)
        switch_slope = -30 * t**2 * (1 - t) ** 2 / width
        return energy * switch, slope * switch + energy * switch_slope


class _Neighbours:
    """A neighbour list with a skin, rebuilt when atoms or cell have moved too far; MD steps cost little."""

    def __init__(self) -> None:
        self._built: tuple[FloatArray, FloatArray, bytes, float] | None = None
        self._list: tuple[NDArray[np.int64], NDArray[np.int64], FloatArray] | None = None

    def pairs(self, atoms: Atoms, cutoff: float) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        """Return first atoms, second atoms and the vectors between them; some may be longer than the cutoff."""
        positions, cell = atoms.positions, atoms.cell.array
        if self._list is None or not self._valid(atoms, cutoff):
            from ase.neighborlist import neighbor_list

            first, second, shifts = neighbor_list("ijS", atoms, cutoff + _SKIN_A)
            self._list = first, second, shifts.astype(float)
            self._built = positions.copy(), cell.copy(), _identity(atoms), cutoff
        first, second, shifts = self._list
        return first, second, positions[second] - positions[first] + shifts @ cell

    def _valid(self, atoms: Atoms, cutoff: float) -> bool:
        if self._built is None:
            return False
        positions, cell, identity, built_cutoff = self._built
        if identity != _identity(atoms) or cutoff != built_cutoff:
            return False
        strain = 0.0
        if not np.array_equal(cell, atoms.cell.array):
            if abs(np.linalg.det(cell)) < 1e-12:
                return False
            deformation = np.linalg.solve(cell, atoms.cell.array)
            positions = positions @ deformation
            strain = float(np.linalg.norm(np.linalg.inv(deformation) - np.eye(3), 2))
        moved = float(np.sqrt(((atoms.positions - positions) ** 2).sum(axis=1).max(initial=0)))
        # a pair now within the cutoff was at most (cutoff + 2 moved) (1 + strain) apart when the list was built
        return (cutoff + 2 * moved) * (1 + strain) < cutoff + _SKIN_A


def _identity(atoms: Atoms) -> bytes:
    return bytes(atoms.numbers.astype(np.int32).tobytes() + np.asarray(atoms.pbc).tobytes())
