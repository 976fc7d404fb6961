"""Ideal, regular and sub-regular solutions of two elements: the baseline of a phase diagram.

Free energy of mixing per atom: x (1 - x) [L0 + L1 (1 - 2x) + ...] + kT [x ln x + (1 - x) ln(1 - x)], with x the
fraction of the second element and the polynomial of Redlich and Kister (10.1021/ie50458a036). Without L the solution is
ideal; with L0 alone, the Omega of a regular solution, the critical temperature is L0 / 2k at x = 1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

_GRID: Final = 4001
_NEWTON_STEPS: Final = 50


@dataclass(frozen=True)
class SolutionModel:
    """A solution; JSON by `to_dict`.

    Attributes
    ----------
    elements
        Alphabetical; compositions are fractions of the second.
    interactions_eV
        Coefficients L0, L1 ... of Redlich and Kister, eV per atom; none for the ideal solution.
    ends_eV
        Energies of the two pure elements, eV per atom.
    """

    elements: tuple[str, str]
    interactions_eV: tuple[float, ...] = ()
    ends_eV: tuple[float, float] = (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> SolutionModel:
        """Rebuild from `to_dict`, or from the JSON of it."""
        one, other = stored["elements"]
        low, high = stored["ends_eV"]
        return cls((one, other), tuple(stored["interactions_eV"]), (low, high))

    def energy_eV(self, fractions: ArrayLike) -> FloatArray:
        """Return energies at fractions of the second element, eV per atom."""
        x = np.asarray(fractions, dtype=float)
        mixing = x * (1 - x) * sum(c * (1 - 2 * x) ** k for k, c in enumerate(self.interactions_eV))
        return np.asarray((1 - x) * self.ends_eV[0] + x * self.ends_eV[1] + mixing)

    def free_energy_eV(self, fractions: ArrayLike, temperature_K: float) -> FloatArray:
        """Return free energies at fractions of the second element, eV per atom."""
        from scipy.special import xlogy

        x = np.asarray(fractions, dtype=float)
        entropy = -(xlogy(x, x) + xlogy(1 - x, 1 - x))
        return np.asarray(self.energy_eV(x) - BOLTZMANN_EV_PER_K * temperature_K * entropy)

    def critical_temperature_K(self) -> float:
        """Return the highest temperature at which the solution separates, K; 0 where it never does."""
        x = np.linspace(0, 1, _GRID)[1:-1]
        curvature = self._mixing_derivatives(x)[1]
        return float(max(np.max(-curvature * x * (1 - x)), 0.0) / BOLTZMANN_EV_PER_K)

    def miscibility_gaps(self, temperature_K: float) -> list[tuple[float, float]]:
        """Return the compositions of coexisting solutions: the common tangents of the free energy.

        Raises
        ------
        InvalidInputError
            The temperature is not above 0 K.
        """
        if not temperature_K > 0:
            raise InvalidInputError(f"the temperature ({temperature_K} K) must be above 0 K")
        # dense near the ends, where solubilities are exponentially small
        tail = np.geomspace(1e-12, 1e-3, 400)[:-1]
        x = np.concatenate([tail, np.linspace(1e-3, 1 - 1e-3, _GRID), 1 - tail[::-1]])
        hull = _lower_hull(x, self.free_energy_eV(x, temperature_K))
        wide = [(a, b) for a, b in pairwise(hull) if b - a > 1]
        tangents = [self._tangent(float(x[a]), float(x[b]), temperature_K) for a, b in wide]
        return [(a, b) for a, b in tangents if b - a > 2 / _GRID]

    def _mixing_derivatives(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return first and second derivatives of the energy, eV."""
        polynomial = np.polynomial.Polynomial([0.0])
        for k, c in enumerate(self.interactions_eV):
            polynomial += c * np.polynomial.Polynomial([0, 1, -1]) * np.polynomial.Polynomial([1, -2]) ** k
        slope = polynomial.deriv()
        return np.asarray(slope(x) + self.ends_eV[1] - self.ends_eV[0]), np.asarray(slope.deriv()(x))

    def _tangent(self, low: float, high: float, temperature_K: float) -> tuple[float, float]:
        """Refine a common tangent by Newton's method in ln[x / (1 - x)], which keeps x within its range."""
        thermal = BOLTZMANN_EV_PER_K * temperature_K
        logits = np.log(np.array([low, high]) / (1 - np.array([low, high])))
        for _ in range(_NEWTON_STEPS):
            x = 1 / (1 + np.exp(-logits))
            first, second = self._mixing_derivatives(x)
            slopes = first + thermal * logits
            values = self.free_energy_eV(x, temperature_K)
            change = np.array([slopes[1] - slopes[0], values[1] - values[0] - slopes[0] * (x[1] - x[0])])
            curvature = second * x * (1 - x) + thermal
            jacobian = np.array(
                [
                    [-curvature[0], curvature[1]],
                    [-curvature[0] * (x[1] - x[0]), (slopes[1] - slopes[0]) * x[1] * (1 - x[1])],
                ]
            )
            if abs(np.linalg.det(jacobian)) < 1e-300:
                break
            step = np.clip(np.linalg.solve(jacobian, change), -1.0, 1.0)
            logits = logits - step
            if np.abs(step).max() < 1e-13:
                break
        x = 1 / (1 + np.exp(-logits))
        return float(x[0]), float(x[1])


def fit_solution_model(
    elements: Sequence[str], fractions: ArrayLike, energies_eV: ArrayLike, *, order: int = 1
) -> SolutionModel:
    """Fit Redlich-Kister coefficients to energies of solutions by least squares.

    Parameters
    ----------
    elements
        Two, alphabetical.
    fractions
        (n,) of the second element.
    energies_eV
        (n,) of the disordered alloy, eV per atom, such as `ClusterExpansion.random_alloy_eV`; its ends are those at the
        fractions 0 and 1, which must be given.
    order
        0 for the regular, 1 for the sub-regular solution, and so on.

    Raises
    ------
    InvalidInputError
        Shapes do not fit, a pure element is missing, or there are too few alloys.
    """
    x, energies = np.asarray(fractions, dtype=float), np.asarray(energies_eV, dtype=float)
    if x.ndim != 1 or x.shape != energies.shape or len(elements) != 2 or order < 0:
        raise InvalidInputError("a solution model needs two elements and one energy per fraction of the second")
    if not ((x == 0).any() and (x == 1).any()) or ((x > 0) & (x < 1)).sum() <= order:
        raise InvalidInputError(f"give the energies at the fractions 0 and 1, and of at least {order + 1} alloys")
    ends = float(energies[x == 0].min()), float(energies[x == 1].min())
    mixing = energies - (1 - x) * ends[0] - x * ends[1]
    columns = np.stack([x * (1 - x) * (1 - 2 * x) ** k for k in range(order + 1)], axis=1)
    found = np.linalg.lstsq(columns, mixing, rcond=None)[0]
    return SolutionModel((elements[0], elements[1]), tuple(float(c) for c in found), ends)


def _lower_hull(x: FloatArray, y: FloatArray) -> list[int]:
    hull: list[int] = []
    for k in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[k] - x[a]) < (y[k] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(k)
    return hull
