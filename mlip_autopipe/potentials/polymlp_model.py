"""Features with fixed coefficients, as a force field."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.potentials.dataset import composition
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.potentials.polymlp_features import ASE_VOIGT, FeatureSet, parameters, polymlp_structure
from mlip_autopipe.potentials.polymlp_observations import VOIGT
from mlip_autopipe.potentials.zbl import ZBL

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]


class PolymlpModel(ForceField):
    """Fixed coefficients: what a fit gives, or a sample of its posterior.

    Parameters
    ----------
    features, elements
        The feature set for these elements.
    coefficients
        Of the features, then one atomic energy (eV) per element.
    zbl
        The baseline.
    """

    def __init__(self, features: FeatureSet, elements: tuple[str, ...], coefficients: FloatArray, zbl: ZBL) -> None:
        self.features = features
        self._elements = elements
        self.coefficients = coefficients
        self.zbl = ZBL(inner=zbl.inner, outer=zbl.outer)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that it knows."""
        return self._elements

    @property
    def atomic_energies_eV(self) -> dict[str, float]:
        """The part of the energy that depends on the composition alone."""
        values = self.coefficients[-len(self._elements) :]
        return {element: float(value) for element, value in zip(self._elements, values, strict=True)}

    @cached_property
    def _evaluator(self) -> Any:
        from pypolymlp.calculator.properties_single import PropertiesSingle  # type: ignore[import-untyped]

        params = parameters(self.features, self._elements).params
        return PropertiesSingle(params=params, coeffs=self.coefficients[: -len(self._elements)])

    def predict(self, atoms: Atoms) -> Prediction:
        """Return energy, forces and stress; the stress of a structure that is not periodic in all directions is 0."""
        self.check_elements(atoms)
        structure = polymlp_structure(atoms, self._elements, self.features.cutoff_A)
        energy, forces, virial = self._evaluator.eval(structure)
        base_energy, base_forces, base_virial = self.zbl.evaluate(atoms)
        total = energy + base_energy + composition(atoms, self._elements) @ self.coefficients[-len(self._elements) :]
        stress = np.zeros(6)
        if atoms.pbc.all():
            stress = -(np.asarray(virial)[ASE_VOIGT] + base_virial[VOIGT]) / structure.volume
        all_forces = np.asarray(forces).T + base_forces
        if not (np.isfinite(total) and np.isfinite(all_forces).all() and np.isfinite(stress).all()):
            raise PredictionError("the potential's energy or forces are not finite; are two atoms on one place?")
        return Prediction(float(total), all_forces, stress)
