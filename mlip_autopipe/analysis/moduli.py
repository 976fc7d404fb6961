"""What follows from an elastic tensor: averages with standard errors, stability and physics gates.

Tensors are B_ij (Cauchy stress against small strain) in GPa, Voigt order xx yy zz yz xz xy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.results import GateResult, ValueWithError
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mlip_autopipe.analysis.elastic import ElasticFit

_HBAR = 1.054571817e-34
_BOLTZMANN = 1.380649e-23
_ATOMIC_MASS = 1.66053906660e-27
_MAX_RELATIVE_RESIDUAL = 0.05
_MAX_RELATIVE_NONLINEARITY = 0.05


@dataclass(frozen=True)
class Moduli:
    """Isotropic averages of the elastic tensor; fields are named as in the document.

    ``debye_temperature_K`` is zero where an isotropic sound velocity is not real (negative modulus).
    """

    bulk_modulus_voigt_GPa: ValueWithError
    bulk_modulus_reuss_GPa: ValueWithError
    bulk_modulus_VRH_GPa: ValueWithError
    shear_modulus_voigt_GPa: ValueWithError
    shear_modulus_reuss_GPa: ValueWithError
    shear_modulus_VRH_GPa: ValueWithError
    young_modulus_GPa: ValueWithError
    poisson_ratio: ValueWithError
    universal_anisotropy: ValueWithError
    debye_temperature_K: ValueWithError


def elastic_moduli(
    basis: ArrayLike, basis_values: ArrayLike, basis_covariance: ArrayLike, structure: Structure
) -> Moduli:
    """Compute Voigt, Reuss and Hill averages and what follows from them, with standard errors.

    Voigt-Reuss-Hill (10.1088/0370-1298/65/5/307), universal anisotropy (10.1103/PhysRevLett.101.055504),
    Debye temperature from the averaged sound velocities (10.1016/0022-3697(63)90067-2). Errors by the delta
    method on the independent constants.

    Parameters
    ----------
    basis, basis_values, basis_covariance
        (m, 6, 6), (m,), (m, m) of `ElasticFit`, in GPa.
    structure
        The unstrained crystal: density of the Debye temperature.

    Raises
    ------
    AnalysisError
        When the tensor is singular or not finite. Unstable but regular tensors give finite numbers.
    """
    tensors = np.asarray(basis, dtype=float)
    values = np.asarray(basis_values, dtype=float)
    covariance = np.asarray(basis_covariance, dtype=float)
    mass_kg = float(structure.composition.weight) * _ATOMIC_MASS
    volume_m3 = float(structure.volume) * 1e-30
    properties = _property_function(mass_kg / volume_m3, len(structure) / volume_m3)

    def at(point: FloatArray) -> FloatArray:
        return properties(np.einsum("a,aij->ij", point, tensors))

    center = at(values)
    step = 1e-5 * float(np.linalg.norm(values))
    jacobian = np.array([(at(values + d) - at(values - d)) / (2 * step) for d in step * np.eye(len(values))]).T
    errors = np.sqrt(np.clip(np.einsum("pa,ab,pb->p", jacobian, covariance, jacobian), 0, None))
    return Moduli(*(ValueWithError(float(v), float(e)) for v, e in zip(center, errors, strict=True)))


def born_stability(tensor: ArrayLike) -> tuple[bool, float]:
    """Tell whether B_ij is positive definite, and return its smallest eigenvalue.

    Born's criterion as in 10.1103/PhysRevB.90.224104. The eigenvalue is that of the tensor as a map of
    symmetric matrices, so it does not depend on the orientation.
    """
    scale = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
    array = np.asarray(tensor, dtype=float)
    smallest = float(np.linalg.eigvalsh((array + array.T) / 2 * np.outer(scale, scale))[0])
    return smallest > 0, smallest


def physics_gates(
    fit: ElasticFit,
    moduli: Moduli,
    *,
    strain_amplitude: float = 0.005,
    max_relative_residual: float = _MAX_RELATIVE_RESIDUAL,
    max_relative_nonlinearity: float = _MAX_RELATIVE_NONLINEARITY,
) -> list[GateResult]:
    """Check an elastic tensor against what must hold for any crystal and any sound set of data.

    Parameters
    ----------
    fit, moduli
        The fit (GPa) and what `elastic_moduli` made of it.
    strain_amplitude
        Sets the scale of the stresses with which the residual is compared.
    max_relative_residual, max_relative_nonlinearity
        Bounds on rms residual / (largest constant * amplitude) and on nonlinearity error / largest constant.
    """
    stable, smallest = born_stability(fit.tensor)
    largest = float(np.abs(fit.tensor).max())
    asymmetry = float(np.abs(fit.tensor - fit.tensor.T).max())
    residual = fit.rms_residual / (largest * strain_amplitude)
    nonlinearity = float(fit.stderr_nonlinearity.max()) / largest
    bulk = moduli.bulk_modulus_voigt_GPa.value - moduli.bulk_modulus_reuss_GPa.value
    shear = moduli.shear_modulus_voigt_GPa.value - moduli.shear_modulus_reuss_GPa.value
    slack = -1e-6 * largest
    return [
        GateResult("born_stable", stable, f"smallest eigenvalue {smallest:.3f} GPa, must be positive"),
        GateResult(
            "voigt_not_below_reuss",
            bulk >= slack and shear >= slack,
            f"Voigt - Reuss: bulk {bulk:.4f} GPa, shear {shear:.4f} GPa, must not be negative",
        ),
        GateResult("symmetric", asymmetry <= 1e-6 * largest, f"largest asymmetry {asymmetry:.2e} GPa"),
        GateResult(
            "residual_small",
            residual <= max_relative_residual,
            f"scatter is {100 * residual:.2f} % of the largest stress, at most {100 * max_relative_residual:g} %",
        ),
        GateResult(
            "nonlinearity_small",
            nonlinearity <= max_relative_nonlinearity,
            f"amplitudes disagree by {100 * nonlinearity:.2f} % of the largest constant, at most "
            f"{100 * max_relative_nonlinearity:g} %"
            + ("" if fit.nonlinearity_determined else " (not measured: only one amplitude)"),
        ),
        GateResult(
            "errors_determined",
            fit.errors_determined,
            f"{fit.n_dof} degrees of freedom"
            + ("" if fit.errors_determined else ": the stated errors are not errors, add the half amplitudes"),
        ),
    ]


def _property_function(density: float, atom_density: float) -> Callable[[FloatArray], FloatArray]:
    """Return the function from a tensor (GPa) to the values of `Moduli` in their order; SI densities."""

    def properties(tensor: FloatArray) -> FloatArray:
        if not np.isfinite(tensor).all() or np.linalg.cond(tensor) > 1e10:
            raise AnalysisError(
                "The elastic tensor is singular or not finite, so it has no compliance: the crystal is at "
                "the edge of stability, or its stresses are wrong."
            )
        compliance = np.linalg.inv(tensor)
        bulk_voigt = tensor[:3, :3].sum() / 9
        bulk_reuss = 1 / compliance[:3, :3].sum()
        shear_voigt = (1.5 * np.trace(tensor[:3, :3]) - tensor[:3, :3].sum() / 2) / 15
        shear_voigt += np.trace(tensor[3:, 3:]) / 5
        shear_reuss = 15 / (
            6 * np.trace(compliance[:3, :3]) - 2 * compliance[:3, :3].sum() + 3 * np.trace(compliance[3:, 3:])
        )
        bulk, shear = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
        result: FloatArray = np.array(
            [
                bulk_voigt,
                bulk_reuss,
                bulk,
                shear_voigt,
                shear_reuss,
                shear,
                9 * bulk * shear / (3 * bulk + shear),
                (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
                5 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6,
                _debye_temperature(bulk * 1e9, shear * 1e9, density, atom_density),
            ]
        )
        if not np.isfinite(result).all():
            raise AnalysisError("The averages of the elastic tensor are not finite: its stresses are wrong.")
        return result

    return properties


def _debye_temperature(bulk: float, shear: float, density: float, atom_density: float) -> float:
    """Debye temperature in K from moduli in Pa, density in kg/m^3 and atoms per m^3."""
    if shear <= 0 or bulk + 4 * shear / 3 <= 0:
        return 0.0
    longitudinal, transverse = np.sqrt((bulk + 4 * shear / 3) / density), np.sqrt(shear / density)
    mean = (3 / (2 / transverse**3 + 1 / longitudinal**3)) ** (1 / 3)
    return float(_HBAR / _BOLTZMANN * (6 * np.pi**2 * atom_density) ** (1 / 3) * mean)
