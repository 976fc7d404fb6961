"""The frames of a run at constant pressure, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K, GPA_PER_EV_PER_A3
from mlip_autopipe.analysis.symmetry import VOIGT_PAIRS, FloatArray
from mlip_autopipe.errors import AnalysisError


@dataclass(frozen=True, eq=False)
class NPTRun:
    """Frames of a run at constant pressure and temperature, equally spaced in time.

    Attributes
    ----------
    cells_A
        (n, 3, 3) lattice vectors in rows.
    energies_eV
        (n,) potential energies of the whole cell.
    temperatures_K
        (n,) kinetic temperatures.
    masses_amu
        (n_atoms,).
    target_temperature_K, target_pressure_GPa
        What thermostat and barostat were set to.
    stresses_GPa
        (n, 6) stress of the driving potential (virial only, as calculators give it) in Voigt order xx yy zz yz xz xy,
        positive under tension; None if unknown.
    repetitions
        The cell is this many parent cells: (3,) numbers along the vectors, or a (3, 3) integer matrix P with
        ``cell = P @ parent``.
    conventional
        (3, 3) rows of the cell whose parameters are wanted, in units of the parent's vectors; identity by default.
    rotations
        (m, 3, 3) Cartesian operations of the parent crystal's point group (`symmetry.crystal_symmetry`); None: no
        symmetry, all six parameters are free.
    reference_cell_A
        (3, 3) cell of the unstrained crystal, on which the operations act; the first frame's by default.
    kinetic_degrees_of_freedom
        Velocity components that move freely; 3 n_atoms - 3 (centre of mass at rest) by default.
    """

    cells_A: FloatArray
    energies_eV: FloatArray
    temperatures_K: FloatArray
    masses_amu: FloatArray
    target_temperature_K: float
    target_pressure_GPa: float = 0.0
    stresses_GPa: FloatArray | None = None
    repetitions: ArrayLike = (1, 1, 1)
    conventional: ArrayLike | None = None
    rotations: ArrayLike | None = None
    reference_cell_A: ArrayLike | None = None
    kinetic_degrees_of_freedom: int | None = None

    def __post_init__(self) -> None:
        for name in ("cells_A", "energies_eV", "temperatures_K", "masses_amu", "stresses_GPa"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.asarray(value, dtype=float))
        n = len(self.cells_A)
        shapes = {"cells_A": (n, 3, 3), "energies_eV": (n,), "temperatures_K": (n,), "stresses_GPa": (n, 6)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise AnalysisError(f"{name} of {n} frames must have the shape {shape}, not {value.shape}.")
            if value is not None and not np.isfinite(value).all():
                raise AnalysisError(f"{name} holds a value that is not finite: leave that frame out.")
        if not self.target_temperature_K > 0 or self.masses_amu.ndim != 1 or not len(self.masses_amu):
            raise AnalysisError("An NPT run needs a positive target temperature and the masses of its atoms.")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.masses_amu)

    @property
    def volumes_A3(self) -> FloatArray:
        """(n,) volumes of the whole cell."""
        return np.asarray(np.abs(np.linalg.det(self.cells_A)))

    @property
    def stress_excess_GPa(self) -> FloatArray:
        """(n, 3, 3) total stress minus that of the barostat; its exact mean is zero.

        The kinetic part is the exact mean at the target temperature: its fluctuations would only add noise.
        """
        if self.stresses_GPa is None:
            raise AnalysisError("The run holds no stresses: evaluate the driving potential on its frames.")
        dof = self.kinetic_degrees_of_freedom
        dof = 3 * self.n_atoms - 3 if dof is None else dof
        thermal = BOLTZMANN_EV_PER_K * self.target_temperature_K * GPA_PER_EV_PER_A3
        tensors = np.empty((len(self.stresses_GPa), 3, 3))
        for k, (i, j) in enumerate(VOIGT_PAIRS):
            tensors[:, i, j] = tensors[:, j, i] = self.stresses_GPa[:, k]
        kinetic = dof / 3 * thermal / self.volumes_A3
        return np.asarray(tensors + (self.target_pressure_GPa - kinetic)[:, None, None] * np.eye(3))

    @property
    def pressures_GPa(self) -> FloatArray:
        """(n,) pressures, with the mean kinetic part of the target temperature."""
        return np.asarray(self.target_pressure_GPa - np.trace(self.stress_excess_GPa, axis1=1, axis2=2) / 3)
