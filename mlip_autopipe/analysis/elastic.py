"""Elastic constants from stresses of strained cells.

Convention: ``tensor`` holds the stress-strain coefficients B_ij, Cauchy stress against small strain, which at
zero pressure equal the second derivatives of the energy. Born stability is decided on B_ij
(10.1103/PhysRevB.52.12627). Voigt order xx yy zz yz xz xy, strains with engineering shear, stress positive
under tension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis import _least_squares as lsq
from mlip_autopipe.analysis import _stress_model as model
from mlip_autopipe.analysis.strain import choose_strain_directions, deformation_gradient
from mlip_autopipe.analysis.symmetry import (
    FloatArray,
    crystal_symmetry,
    invariant_tensor_basis,
)
from mlip_autopipe.errors import AnalysisError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_TRICLINIC = np.eye(3)[None]
_NORMAL = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
_PRESSURE_CORRECTION = np.outer(_NORMAL, _NORMAL) - np.diag([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class StrainedStructure:
    """One strained cell: ``strain`` (6,) Voigt with engineering shear, ``structure`` with unrelaxed ions."""

    strain: FloatArray
    structure: Structure


@dataclass(frozen=True, eq=False)
class ElasticFit:
    """Elastic constants with standard errors, in the unit of the stresses (GPa by convention).

    Attributes
    ----------
    tensor
        (6, 6) symmetric B_ij: Cauchy stress against small strain.
    stderr
        (6, 6) total standard error: ``stderr_fit`` and ``stderr_nonlinearity`` in quadrature. A standard
        error is the half-width of the 68.3 % interval, so the small number of degrees of freedom is accounted
        for.
    stderr_fit
        (6, 6) from the scatter of the stresses about the model; zero where ``errors_determined`` is False.
    stderr_nonlinearity
        (6, 6) from the disagreement of the amplitudes beyond what scatter explains; zero where
        ``nonlinearity_determined`` is False.
    basis, basis_values, basis_covariance
        (m, 6, 6), (m,), (m, m): ``tensor`` = sum of values times basis; the covariance is the total one.
    residual_stress
        (6,) stress of the unstrained cell.
    n_dof
        Degrees of freedom of the scatter.
    rms_residual
        Root mean square of the stress residuals.
    errors_determined
        False when no degree of freedom was left: the stated errors are then *not* errors.
    nonlinearity_determined
        False when no direction was measured at two amplitudes of both signs.
    """

    tensor: FloatArray
    stderr: FloatArray
    stderr_fit: FloatArray
    stderr_nonlinearity: FloatArray
    basis_values: FloatArray
    basis: FloatArray
    basis_covariance: FloatArray
    residual_stress: FloatArray
    n_dof: int
    rms_residual: float
    errors_determined: bool
    nonlinearity_determined: bool


def strain_set(directions: ArrayLike, amplitude: float, half_amplitude_check: bool = True) -> FloatArray:
    """Return (n, 6) strains: each of the (k, 6) directions at +-amplitude, then +-amplitude/2 if checked.

    ``amplitude`` is the largest principal strain, for directions scaled as by
    `choose_strain_directions`.
    """
    array = np.asarray(directions, dtype=float)
    if array.ndim != 2 or array.shape[1] != 6 or not len(array):
        raise AnalysisError(f"Strain directions must have the shape (k, 6), not {array.shape}.")
    if not np.isfinite(array).all() or (np.abs(array).max(axis=1) == 0).any():
        raise AnalysisError("Strain directions must be finite and none of them zero.")
    if not 0 < amplitude < 0.2:
        raise AnalysisError(f"The strain amplitude must lie between 0 and 0.2, not {amplitude}; 0.005 is usual.")
    factors = (1.0, -1.0, 0.5, -0.5) if half_amplitude_check else (1.0, -1.0)
    return np.concatenate([np.outer(factors, direction) for direction in array]) * amplitude


def generate_strained_structures(
    equilibrium_structure: Structure,
    *,
    amplitude: float = 0.005,
    half_amplitude_check: bool = True,
    directions: ArrayLike | None = None,
    symmetry_tolerance_A: float = 1e-3,
) -> list[StrainedStructure]:
    """Strain a relaxed crystal along the directions that determine its elastic constants.

    Parameters
    ----------
    equilibrium_structure
        Relaxed cell; it may be a supercell.
    amplitude
        Largest principal strain. 0.005 keeps the error of central differences below 0.3 GPa.
    half_amplitude_check
        Add +-amplitude/2, which measures the nonlinearity.
    directions
        (k, 6) Voigt directions; by default those of `choose_strain_directions`.
    symmetry_tolerance_A
        Tolerance of the symmetry search, used only without ``directions``.

    Returns
    -------
    list of StrainedStructure
        Cells deformed by F = 1 + eps with fractional coordinates kept. The ions still have to be relaxed.
    """
    if directions is None:
        directions = choose_strain_directions(crystal_symmetry(equilibrium_structure, symmetry_tolerance_A).rotations)
    return [
        StrainedStructure(strain=strain, structure=strain_structure(equilibrium_structure, strain))
        for strain in strain_set(directions, amplitude, half_amplitude_check)
    ]


def strain_structure(structure: Structure, strain: ArrayLike) -> Structure:
    """Return a copy deformed by F = 1 + eps for one (6,) Voigt strain; fractional coordinates are kept."""
    from pymatgen.core import Lattice

    strained = structure.copy()
    strained.lattice = Lattice(structure.lattice.matrix @ deformation_gradient(strain).T)
    return strained


def fit_elastic_constants(strains: ArrayLike, stresses: ArrayLike, *, rotations: ArrayLike | None = None) -> ElasticFit:
    """Fit the elastic constants that a point group allows to the stresses of strained cells.

    The model is ``stress = residual + B strain``, plus one free vector of even (second) order in the strain
    for every direction measured at both signs. These nuisance terms are projected out, so neither a residual
    stress nor the second-order response is mistaken for scatter or for stiffness. The third-order response is
    not fitted: extrapolating it away (Richardson) multiplies the noise by three, which costs more than the
    bias that it removes at 0.5 % strain; its size enters the standard error instead
    (benchmarks/elastic_noise.py).

    Parameters
    ----------
    strains
        (n, 6) Voigt strains with engineering shear.
    stresses
        (n, 6) Cauchy stresses, positive under tension, in any unit: the result has the same.
    rotations
        (n, 3, 3) Cartesian operations of the point group (`CrystalSymmetry.rotations`); None assumes no
        symmetry.

    Raises
    ------
    AnalysisError
        Wrong shapes, values that are not finite, or strains that do not determine all constants.
    """
    e, s = _checked(strains, stresses)
    group = _TRICLINIC if rotations is None else np.asarray(rotations, dtype=float)
    basis = invariant_tensor_basis(group)
    n, m = len(e), len(basis)
    design = np.einsum("aij,nj->nia", basis, e)
    constant = np.tile(np.eye(6), (n, 1, 1))
    even, odd = model.nuisance_terms(e)
    nuisance = np.concatenate([constant, even], axis=2)

    rows = np.tile(np.eye(6), (n, 1, 1))
    if model.symmetrised(e, s, design, group):
        rows = model.allowed_stresses(e, group)
    pooled = lsq.solve(rows, design, nuisance, s)
    if pooled is None:
        raise AnalysisError(_rank_message(design, constant, m))
    extrapolated = lsq.solve(rows, design, np.concatenate([nuisance, odd], axis=2), s) if odd.shape[2] else None

    fit_covariance = pooled.interval_covariance()
    bias_covariance = lsq.disagreement_covariance(pooled, extrapolated)
    tensor = np.einsum("a,aij->ij", pooled.values, basis)
    part_fit = tensor_stderr(basis, fit_covariance)
    part_nonlinearity = tensor_stderr(basis, bias_covariance)
    return ElasticFit(
        tensor=tensor,
        stderr=np.hypot(part_fit, part_nonlinearity),
        stderr_fit=part_fit,
        stderr_nonlinearity=part_nonlinearity,
        basis_values=pooled.values,
        basis=basis,
        basis_covariance=fit_covariance + bias_covariance,
        residual_stress=lsq.intercept(constant, even, s - design @ pooled.values),
        n_dof=pooled.n_dof,
        rms_residual=float(np.sqrt(np.mean(pooled.residual**2))),
        errors_determined=pooled.n_dof > 0,
        nonlinearity_determined=extrapolated is not None,
    )


def tensor_stderr(basis: ArrayLike, covariance: ArrayLike) -> FloatArray:
    """Return the (6, 6) standard errors of a tensor, given the (m, m) covariance of its basis values."""
    array = np.asarray(basis, dtype=float)
    variance = np.einsum("aij,ab,bij->ij", array, np.asarray(covariance, dtype=float), array)
    result: FloatArray = np.sqrt(np.clip(variance, 0, None))
    return result


def pressure(stress: ArrayLike) -> float:
    """Pressure of a (6,) Voigt stress: minus a third of its trace."""
    return -float(np.mean(np.asarray(stress, dtype=float)[:3]))


def cauchy_from_lagrangian(tensor: ArrayLike, pressure: float) -> FloatArray:
    """Turn C_ij (PK2 stress against Green-Lagrange strain) into B_ij at hydrostatic pressure P.

    B11 = C11 - P, B12 = C12 + P, B44 = C44 - P (Barron and Klein 1965, 10.1088/0370-1328/85/3/313); tensor
    and pressure in the same unit.
    """
    return np.asarray(tensor, dtype=float) + pressure * _PRESSURE_CORRECTION


def lagrangian_from_cauchy(tensor: ArrayLike, pressure: float) -> FloatArray:
    """Turn B_ij (Cauchy stress, small strain) into C_ij (Lagrangian); see `cauchy_from_lagrangian`."""
    return np.asarray(tensor, dtype=float) - pressure * _PRESSURE_CORRECTION


def _checked(strains: ArrayLike, stresses: ArrayLike) -> tuple[FloatArray, FloatArray]:
    e, s = np.asarray(strains, dtype=float), np.asarray(stresses, dtype=float)
    for name, array in (("strains", e), ("stresses", s)):
        if array.ndim != 2 or array.shape[1] != 6 or not len(array):
            raise AnalysisError(f"The {name} must have the shape (n, 6), not {array.shape}.")
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise AnalysisError(f"The {name} contain a value that is not finite in row {row}: repeat that calculation.")
    if len(e) != len(s):
        raise AnalysisError(f"{len(e)} strains but {len(s)} stresses: each strain needs its stress.")
    return e, s


def _rank_message(design: FloatArray, constant: FloatArray, m: int) -> str:
    found = lsq.determined(design, constant)
    if found < m:
        return (
            f"The {len(design)} strains determine only {found} of the {m} independent elastic constants: add "
            "strain directions (choose_strain_directions() returns a sufficient set) or pass the rotations."
        )
    return (
        f"The strains do not determine the {m} independent elastic constants apart from the residual stress "
        "and the second-order response: measure each direction at both signs."
    )
