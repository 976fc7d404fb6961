"""Diffusion coefficients against temperature: Arrhenius, and Vogel-Fulcher-Tammann for liquids.

Coefficients may be in any unit, which is that of D0; energies are in eV, temperatures in K.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

# A logarithm of a value that is not three errors away from zero has no useful error.
MIN_SIGNAL: Final = 3.0
# A true model fails this test once in a hundred fits.
MISFIT_LEVEL: Final = 0.01
_VTF_GRID: Final = 200


@dataclass(frozen=True, eq=False)
class ArrheniusFit:
    """D = D0 exp(-Ea / kT).

    Attributes
    ----------
    activation_energy_eV, activation_energy_stderr_eV
        Ea.
    D0, D0_stderr
        In the unit of the data; the error is that of ln D0 times D0.
    covariance
        (2, 2) of (ln D0, Ea in eV).
    chi_squared, n_dof, p_value
        Weighted squared residuals; `p_value` is the chance of larger ones when the law holds, none without freedom.
    used
        (n,) which temperatures entered: those whose D stands out of its error.
    """

    activation_energy_eV: float
    activation_energy_stderr_eV: float
    D0: float
    D0_stderr: float
    covariance: FloatArray
    chi_squared: float
    n_dof: int
    p_value: float | None
    used: NDArray[np.bool_]

    def predict(self, temperatures_K: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return D and its standard error at temperatures (m,)."""
        inverse = 1 / (BOLTZMANN_EV_PER_K * np.asarray(temperatures_K, dtype=float))
        design = np.stack([np.ones_like(inverse), -inverse], axis=-1)
        value = np.exp(design @ np.array([np.log(self.D0), self.activation_energy_eV]))
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        return value, value * np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True, eq=False)
class VTFFit:
    """D = D0 exp(-B / (T - T0)), for liquids above their glass.

    Attributes
    ----------
    B_K, T0_K, D0
        Parameters.
    covariance
        (3, 3) of (ln D0, B in K, T0 in K); infinite where the data do not determine T0.
    chi_squared, n_dof
        Weighted squared residuals.
    """

    B_K: float
    T0_K: float
    D0: float
    covariance: FloatArray
    chi_squared: float
    n_dof: int

    def apparent_activation_energy_eV(self, temperature_K: float) -> float:
        """Return -d ln D / d(1/kT) = k B T^2 / (T - T0)^2."""
        return float(BOLTZMANN_EV_PER_K * self.B_K * (temperature_K / (temperature_K - self.T0_K)) ** 2)


def fit_arrhenius(temperatures_K: ArrayLike, values: ArrayLike, stderrs: ArrayLike) -> ArrheniusFit:
    """Fit ln D linearly in 1/T with weights from the known errors.

    Errors of D(T) differ by orders of magnitude between temperatures; without weights the interval of Ea holds too
    seldom. The known errors also give the covariance; only when the residuals contradict them (`p_value` below 1 %)
    is it enlarged by chi squared over the degrees of freedom, because then the law does not hold or errors were too
    small. ln D of a noisy D is low by half its squared relative error on average, which is put back.

    Parameters
    ----------
    temperatures_K, values, stderrs
        (n,) with two temperatures at least.

    Raises
    ------
    AnalysisError
        Fewer than two different temperatures have a coefficient that stands out of its error.
    """
    kelvin, d, errors, used = _usable(temperatures_K, values, stderrs)
    if len(np.unique(kelvin)) < 2:
        raise AnalysisError(
            f"An activation energy needs two temperatures whose coefficients are {MIN_SIGNAL:g} errors away from zero; "
            f"there are {len(np.unique(kelvin))}."
        )
    relative = errors / d
    inverse = 1 / (BOLTZMANN_EV_PER_K * kelvin)
    # centred, so that the two unknowns do not mix rounding errors
    centre = float(np.average(inverse, weights=1 / relative**2))
    design = np.stack([np.ones_like(inverse), -(inverse - centre)], axis=1) / relative[:, None]
    target = (np.log(d) + relative**2 / 2) / relative
    covariance = np.linalg.inv(design.T @ design)
    level, energy = covariance @ design.T @ target
    chi_squared = float(np.sum((target - design @ np.array([level, energy])) ** 2))
    n_dof = len(d) - 2
    p_value = _p_value(chi_squared, n_dof)
    if p_value is not None and p_value < MISFIT_LEVEL:
        covariance = covariance * max(1.0, chi_squared / n_dof)
    back = np.array([[1.0, centre], [0.0, 1.0]])
    covariance = back @ covariance @ back.T
    d0 = float(np.exp(level + energy * centre))
    return ArrheniusFit(
        activation_energy_eV=float(energy),
        activation_energy_stderr_eV=float(np.sqrt(covariance[1, 1])),
        D0=d0,
        D0_stderr=float(np.sqrt(covariance[0, 0])) * d0,
        covariance=covariance,
        chi_squared=chi_squared,
        n_dof=n_dof,
        p_value=p_value,
        used=used,
    )


def fit_vtf(temperatures_K: ArrayLike, values: ArrayLike, stderrs: ArrayLike) -> VTFFit:
    """Fit the law of Vogel, Fulcher (10.1111/j.1151-2916.1925.tb16731.x) and Tammann.

    For a given T0 the fit is linear; T0 between 0 and the lowest temperature is searched.

    Parameters
    ----------
    temperatures_K, values, stderrs
        (n,) with four temperatures at least: three unknowns and one to test them.

    Raises
    ------
    AnalysisError
        There are too few temperatures.
    """
    from scipy.optimize import minimize_scalar

    kelvin, d, errors, _ = _usable(temperatures_K, values, stderrs)
    if len(np.unique(kelvin)) < 4:
        raise AnalysisError(
            f"The law of Vogel, Fulcher and Tammann needs four temperatures; there are {len(np.unique(kelvin))}."
        )
    relative = errors / d
    target = (np.log(d) + relative**2 / 2) / relative

    def solve(zero_K: float) -> tuple[FloatArray, float]:
        design = np.stack([np.ones_like(kelvin), -1 / (kelvin - zero_K)], axis=1) / relative[:, None]
        found: FloatArray = np.linalg.lstsq(design, target, rcond=None)[0].astype(np.float64)
        return found, float(np.sum((target - design @ found) ** 2))

    grid = np.linspace(0.0, 0.995 * kelvin.min(), _VTF_GRID)
    best = int(np.argmin([solve(zero)[1] for zero in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    zero_K = float(minimize_scalar(lambda zero: solve(zero)[1], bounds=(low, high), method="bounded").x)
    (level, b), chi_squared = solve(zero_K)
    distance = kelvin - zero_K
    slopes = np.stack([np.ones_like(kelvin), -1 / distance, -b / distance**2], axis=1) / relative[:, None]
    information = slopes.T @ slopes
    determined = np.linalg.matrix_rank(information, hermitian=True, tol=1e-12 * np.trace(information)) == 3
    covariance: FloatArray = np.linalg.inv(information).astype(np.float64) if determined else np.full((3, 3), np.inf)
    return VTFFit(float(b), zero_K, float(np.exp(level)), covariance, chi_squared, len(d) - 3)


def _usable(
    temperatures_K: ArrayLike, values: ArrayLike, stderrs: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    kelvin, d, errors = (np.asarray(a, dtype=float) for a in (temperatures_K, values, stderrs))
    if kelvin.ndim != 1 or not kelvin.shape == d.shape == errors.shape:
        raise AnalysisError("Temperatures, coefficients and errors must be three lists of the same length.")
    if not ((kelvin > 0).all() and np.isfinite(kelvin).all() and (errors > 0).all() and np.isfinite(errors).all()):
        raise AnalysisError("Temperatures and errors must be positive and finite.")
    used = d > MIN_SIGNAL * errors
    return kelvin[used], d[used], errors[used], used


def _p_value(chi_squared: float, n_dof: int) -> float | None:
    from scipy.special import chdtrc

    return float(chdtrc(n_dof, chi_squared)) if n_dof > 0 else None
