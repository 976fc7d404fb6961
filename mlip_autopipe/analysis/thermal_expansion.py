"""Thermal expansion from volumes (or lengths) at several temperatures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

# A value without an error (a static lattice at 0 K) weighs as if it were known to this fraction.
_EXACT = 1e-8


@dataclass(frozen=True, eq=False)
class ExpansionCoefficient:
    """(1/X) dX/dT of a quantity X at one temperature.

    Attributes
    ----------
    value_per_K, stderr_per_K
        The coefficient; its error is the two parts in quadrature.
    stderr_statistics_per_K
        From the errors of the measured quantities.
    stderr_curvature_per_K
        From terms in T beyond the fitted ones (finite differences); zero where `curvature_determined` is False.
    temperature_K
        Where.
    quantity_at_temperature
        The fitted X.
    degree
        Of the polynomial in T: 1 for two temperatures, 2 for more.
    curvature_determined
        False for two temperatures: they do not show the curvature.
    chi_squared, n_dof
        Weighted squared residuals, expected to be about the degrees of freedom.
    """

    value_per_K: float
    stderr_per_K: float
    stderr_statistics_per_K: float
    stderr_curvature_per_K: float
    temperature_K: float
    quantity_at_temperature: float
    degree: int
    curvature_determined: bool
    chi_squared: float
    n_dof: int


@dataclass(frozen=True, eq=False)
class ThermalExpansion:
    """Volumetric coefficient, and a third of it: the linear one, averaged over directions."""

    volumetric: ExpansionCoefficient
    linear_per_K: float
    linear_stderr_per_K: float


def thermal_expansion(
    temperatures_K: ArrayLike, volumes: ArrayLike, stderrs: ArrayLike, at_temperature_K: float
) -> ThermalExpansion:
    """Return the coefficient of thermal expansion at a temperature; arguments as of `expansion_coefficient`."""
    volumetric = expansion_coefficient(temperatures_K, volumes, stderrs, at_temperature_K)
    return ThermalExpansion(volumetric, volumetric.value_per_K / 3, volumetric.stderr_per_K / 3)


def expansion_coefficient(
    temperatures_K: ArrayLike, quantities: ArrayLike, stderrs: ArrayLike, at_temperature_K: float
) -> ExpansionCoefficient:
    """Fit a volume or a length by a low-order polynomial in T, weighted by the known errors, and differentiate it.

    Error of the neglected cubic term: the slope that the fit of degree two makes of T^3 is off by a known amount,
    times the cubic coefficient. Four temperatures or more show it (its noise is subtracted, and it is never taken
    below what derivatives give that go on as V'''/V'' = V''/V'). Three do not: the second derivative is then
    taken to change by itself over half the range of temperatures.

    A static lattice may be given as 0 K with the error 0: classical crystals, which is what molecular dynamics makes,
    expand linearly from 0 K on.

    Parameters
    ----------
    temperatures_K, quantities, stderrs
        (m,) with m >= 2 distinct temperatures; quantities in any unit, errors in the same.
    at_temperature_K
        Where the coefficient is wanted; within the range of the temperatures.

    Raises
    ------
    AnalysisError
        When there are fewer than two temperatures, numbers are not finite, or the temperature lies outside.
    """
    t, x, errors = _checked(temperatures_K, quantities, stderrs, at_temperature_K)
    n_distinct = len(np.unique(t))
    degree = 1 if n_distinct == 2 else 2
    width = (t.max() - t.min()) / 2
    z = (t - at_temperature_K) / width
    weights = 1 / errors
    coefficients, covariance = _fit(z, x, weights, degree)
    value, slope = coefficients[0], coefficients[1]
    coefficient = slope / value
    gradient = np.zeros(degree + 1)
    gradient[:2] = -coefficient / value, 1 / value
    statistics = float(np.sqrt(gradient @ covariance @ gradient)) / width
    residuals = weights * (x - np.polynomial.polynomial.polyval(z, coefficients))
    curvature = 0.0
    if degree == 2:
        leak = abs(_fit(z, z**3, weights, degree)[0][1])
        cubic = abs(coefficients[2]) / 3
        if n_distinct > 3:
            fitted, noise = _fit(z, x, weights, 3)
            least = min(cubic, 2 * coefficients[2] ** 2 / (3 * max(abs(slope), np.finfo(float).tiny)))
            cubic = max(least, float(np.sqrt(max(fitted[3] ** 2 - noise[3, 3], 0.0))))
        curvature = float(leak * cubic / abs(value)) / width
    return ExpansionCoefficient(
        value_per_K=float(coefficient) / width,
        stderr_per_K=float(np.hypot(statistics, curvature)),
        stderr_statistics_per_K=statistics,
        stderr_curvature_per_K=curvature,
        temperature_K=float(at_temperature_K),
        quantity_at_temperature=float(value),
        degree=degree,
        curvature_determined=degree == 2,
        chi_squared=float(residuals @ residuals),
        n_dof=len(t) - degree - 1,
    )


def expansion_shifts(
    temperatures_K: ArrayLike, quantities: ArrayLike, stderrs: ArrayLike, shifts: ArrayLike, at_temperature_K: float
) -> FloatArray:
    """Return the (k,) changes of the coefficient in 1/K when each of k force fields shifts the quantities.

    Parameters
    ----------
    temperatures_K, quantities, stderrs, at_temperature_K
        As of `expansion_coefficient`.
    shifts
        (k, m): by how much each of k other force fields (draws of a posterior) changes each quantity. Shifts of one
        force field at several temperatures belong together, and largely cancel in the coefficient.
    """
    x = np.asarray(quantities, dtype=float)
    base = expansion_coefficient(temperatures_K, x, stderrs, at_temperature_K).value_per_K
    moved = [
        expansion_coefficient(temperatures_K, x + shift, stderrs, at_temperature_K).value_per_K
        for shift in np.atleast_2d(np.asarray(shifts, dtype=float))
    ]
    return np.asarray(moved) - base


def _fit(z: FloatArray, x: FloatArray, weights: FloatArray, degree: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients (lowest first) of a weighted polynomial fit, and their covariance for errors 1 / weights."""
    design = weights[:, None] * np.vander(z, degree + 1, increasing=True)
    orthogonal, triangular = np.linalg.qr(design)
    inverse = np.linalg.inv(triangular)
    return inverse @ (orthogonal.T @ (weights * x)), inverse @ inverse.T


def _checked(
    temperatures_K: ArrayLike, quantities: ArrayLike, stderrs: ArrayLike, at_temperature_K: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    t, x, errors = (np.asarray(a, dtype=float) for a in (temperatures_K, quantities, stderrs))
    if not t.ndim == 1 or not t.shape == x.shape == errors.shape:
        raise AnalysisError(
            f"Temperatures {t.shape}, quantities {x.shape} and errors {errors.shape} must be lists of one length."
        )
    if not (np.isfinite(t).all() and np.isfinite(x).all() and np.isfinite(errors).all()):
        raise AnalysisError("A temperature, quantity or error is not finite: leave that run out.")
    if len(np.unique(t)) < 2:
        raise AnalysisError("Thermal expansion needs runs at two temperatures or more.")
    if (x <= 0).any() or (errors < 0).any():
        raise AnalysisError("Volumes and lengths must be positive, and their errors not negative.")
    if not t.min() <= at_temperature_K <= t.max():
        raise AnalysisError(
            f"The coefficient at {at_temperature_K:g} K lies outside the temperatures of the runs ({t.min():g} to "
            f"{t.max():g} K): add a run beyond it."
        )
    return t, x, np.maximum(errors, _EXACT * x)
