"""Bayesian linear regression on accumulated normal equations, with its evidence.

Observations come in kinds (energy, force, stress), each with its own unknown noise. Only X'WX, X'Wy and y'Wy are kept
per kind, so that more observations are added exactly: the result is the one of a fit to all of them.

Strength of the prior and noises are those of the largest evidence (marginal likelihood), found by MacKay's fixed-point
iteration, doi:10.1162/neco.1992.4.3.415; it starts always from the same point, so that the result depends on the sums
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.errors import TrainingError

FloatArray = NDArray[np.float64]
Kind = Literal["energy", "force", "stress"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DEFAULT_NOISE_FLOORS: Final[Mapping[Kind, float]] = {"energy": 1e-5, "force": 1e-4, "stress": 1e-6}
"""eV/atom, eV/A, eV/A^3: what no reference calculation is better than."""

FREE_PRIOR_STD: Final = 10.0
"""Prior standard deviation of free coefficients (atomic energies), in eV: next to no information."""

_MAX_ITERATIONS = 60
_TOLERANCE = 1e-3
_LEAST_VARIANCE = 1e-6
_ROUNDING = 1e-12


@dataclass(eq=False)
class NormalEquations:
    """Sums over the observations of one kind.

    Attributes
    ----------
    gram
        X'WX, shape (p, p).
    moment
        X'Wy, shape (p,).
    square
        y'Wy.
    count
        Observations with a weight above 0.
    log_weight
        Sum of the logarithms of their weights.
    """

    gram: FloatArray
    moment: FloatArray
    square: float = 0.0
    count: int = 0
    log_weight: float = 0.0

    @classmethod
    def empty(cls, features: int) -> NormalEquations:
        """Return the sums over nothing."""
        return cls(np.zeros((features, features)), np.zeros(features))

    def add(self, x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> None:
        """Add rows; those with weight 0 do not count.

        Raises
        ------
        TrainingError
            Features or targets are not finite.
        """
        w = np.ones(len(y)) if weights is None else weights
        counting = w > 0
        x, y, w = x[counting], y[counting], w[counting]
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise TrainingError("features or targets of a configuration are not finite; are two atoms on one place?")
        root = np.sqrt(w)
        x, y = x * root[:, None], y * root
        self.gram += x.T @ x
        self.moment += x.T @ y
        self.square += float(y @ y)
        self.count += len(y)
        self.log_weight += float(np.log(w).sum())


@dataclass(frozen=True, eq=False)
class Posterior:
    """The Gaussian posterior of the coefficients.

    Attributes
    ----------
    mean
        Shape (p,).
    factor
        R with R R' = covariance, shape (p, p).
    noise
        Standard deviation per kind.
    prior_precision
        In units of the scaled features.
    log_evidence
        Natural logarithm of the marginal likelihood.
    effective_parameters
        How many coefficients the data determine.
    """

    mean: FloatArray
    factor: FloatArray
    noise: dict[Kind, float]
    prior_precision: float
    log_evidence: float
    effective_parameters: float

    def std(self, x: FloatArray) -> FloatArray:
        """Return the standard deviation of x @ coefficients, without noise; shape (rows,)."""
        return np.asarray(np.sqrt(((x @ self.factor) ** 2).sum(axis=1)))

    def draw(self, n: int, seed: int) -> FloatArray:
        """Return n samples of the coefficients, shape (n, p)."""
        normal = np.random.default_rng(seed).standard_normal((n, len(self.mean)))
        return self.mean + normal @ self.factor.T


@dataclass(eq=False)
class BayesianRidge:
    """Accumulates observations and solves for the posterior.

    Parameters
    ----------
    features
        Number of coefficients with a common, learned prior strength.
    free
        Further coefficients of the energies, at the end, whose prior is next to flat around what they explain alone.
    noise_floors
        The least noise per kind.
    """

    features: int
    free: int = 0
    noise_floors: Mapping[Kind, float] = field(default_factory=lambda: dict(DEFAULT_NOISE_FLOORS))
    sums: dict[Kind, NormalEquations] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in KINDS:
            self.sums.setdefault(kind, NormalEquations.empty(self.features + self.free))

    def add(self, kind: Kind, x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> None:
        """Add observations y of the rows x; weights multiply the inverse variance, 0 leaves a row out."""
        self.sums[kind].add(x, y, weights)

    @property
    def count(self) -> int:
        """Observations that count."""
        return sum(one.count for one in self.sums.values())

    def solve(self) -> Posterior:
        """Return the posterior at the noises and prior strength of largest evidence.

        Raises
        ------
        TrainingError
            There is nothing to learn from, or the result is not finite.
        """
        if self.count == 0:
            raise TrainingError("nothing to learn from: no energy, force or stress has a weight above 0")
        return _EvidenceMaximum(self).posterior()


class _EvidenceMaximum:
    """Works in scaled features: each has unit mean square over the rows of the richest kind."""

    def __init__(self, ridge: BayesianRidge) -> None:
        self.kinds = [kind for kind in KINDS if ridge.sums[kind].count > 0]
        self.p = ridge.features
        self.floors = ridge.noise_floors
        self.scale = _scales(ridge)
        outer = np.outer(self.scale, self.scale)
        self.gram = {kind: ridge.sums[kind].gram * outer for kind in self.kinds}
        self.moment = {kind: ridge.sums[kind].moment * self.scale for kind in self.kinds}
        self.sums = {kind: ridge.sums[kind] for kind in self.kinds}
        self.prior_mean = _prior_mean(ridge)
        self.free = np.full(ridge.free, FREE_PRIOR_STD**-2)

    def posterior(self) -> Posterior:
        from scipy.linalg import solve_triangular

        noise, alpha = self._start()
        for _ in range(_MAX_ITERATIONS):
            mean, root, covariance, residuals = self._solve(noise, alpha)
            new_noise: dict[Kind, float] = {}
            for kind in self.kinds:
                used = _trace_of_product(self.gram[kind], covariance) / noise[kind] ** 2
                freedom = max(self.sums[kind].count - used, 0.1 * self.sums[kind].count)
                new_noise[kind] = max(float(np.sqrt(residuals[kind] / freedom)), self.floors[kind])
            determined = self.p - alpha * float(np.diag(covariance)[: self.p].sum())
            determined = min(max(determined, 1e-3), self.p)
            new_alpha = determined / max(float(mean[: self.p] @ mean[: self.p]), 1e-300)
            new_alpha = min(max(new_alpha, self._least_precision(new_noise)), 1e12)
            steps = [new_alpha / alpha, *(new_noise[kind] / noise[kind] for kind in self.kinds)]
            change = float(np.abs(np.log(steps)).max())
            noise, alpha = new_noise, new_alpha
            if change < _TOLERANCE:
                break
        mean, root, covariance, residuals = self._solve(noise, alpha)
        evidence = self._log_evidence(noise, alpha, mean, root, residuals)
        factor = solve_triangular(root, np.eye(len(root)), lower=True).T * self.scale[:, None]
        coefficients = mean * self.scale
        if not (np.isfinite(evidence) and np.isfinite(coefficients).all() and np.isfinite(factor).all()):
            raise TrainingError("the fit is not finite; look for labels with absurd energies, forces or stresses")
        return Posterior(coefficients, factor, noise, alpha, evidence, determined)

    def _start(self) -> tuple[dict[Kind, float], float]:
        noise = {
            kind: max(0.05 * float(np.sqrt(self.sums[kind].square / self.sums[kind].count)), self.floors[kind])
            for kind in self.kinds
        }
        return noise, max(1.0, self._least_precision(noise))

    def _least_precision(self, noise: Mapping[Kind, float]) -> float:
        # rounding errors of the sums must not decide directions that the data do not determine
        diagonal = sum(np.diag(self.gram[kind]) / noise[kind] ** 2 for kind in self.kinds)
        return _ROUNDING * float(np.max(diagonal))

    def _solve(
        self, noise: Mapping[Kind, float], alpha: float
    ) -> tuple[FloatArray, FloatArray, FloatArray, dict[Kind, float]]:
        from scipy.linalg import LinAlgError, cho_solve, cholesky, lapack

        matrix = np.diag(np.concatenate([np.full(self.p, alpha), self.free]))
        right = np.diag(matrix) * self.prior_mean
        for kind in self.kinds:
            matrix += self.gram[kind] / noise[kind] ** 2
            right += self.moment[kind] / noise[kind] ** 2
        try:
            root = cholesky(matrix, lower=True, check_finite=True)
        except (LinAlgError, ValueError) as error:
            raise TrainingError(f"the normal equations cannot be solved: {error}") from error
        mean = cho_solve((root, True), right)
        inverse, info = lapack.dpotri(root, lower=1)
        if info != 0:
            raise TrainingError("the normal equations cannot be inverted")
        residuals = {
            kind: max(float(self.sums[kind].square - 2 * self.moment[kind] @ mean + mean @ self.gram[kind] @ mean), 0.0)
            for kind in self.kinds
        }
        return mean, root, inverse, residuals

    def _log_evidence(
        self,
        noise: Mapping[Kind, float],
        alpha: float,
        mean: FloatArray,
        root: FloatArray,
        residuals: Mapping[Kind, float],
    ) -> float:
        prior = np.concatenate([np.full(self.p, alpha), self.free])
        value = 0.5 * float(np.log(prior).sum()) - float(np.log(np.diag(root)).sum())
        value -= 0.5 * float(prior @ (mean - self.prior_mean) ** 2)
        for kind in self.kinds:
            sums = self.sums[kind]
            value -= 0.5 * sums.count * float(np.log(2 * np.pi * noise[kind] ** 2))
            value += 0.5 * sums.log_weight - 0.5 * residuals[kind] / noise[kind] ** 2
        return float(value)


def _trace_of_product(symmetric: FloatArray, lower: FloatArray) -> float:
    # of two symmetric matrices, the second given by its lower triangle with zeros above
    return float(2 * np.vdot(symmetric, lower) - np.diag(symmetric) @ np.diag(lower))


def _scales(ridge: BayesianRidge) -> FloatArray:
    richest = max(ridge.sums.values(), key=lambda one: one.count)
    diagonal = np.diag(richest.gram)[: ridge.features] / richest.count
    positive = diagonal[diagonal > 0]
    # a feature that (almost) never varied gets a common scale: the data say nothing of it, the prior must
    floor = _LEAST_VARIANCE * float(np.median(positive)) if len(positive) else 1.0
    return np.concatenate([1 / np.sqrt(np.maximum(diagonal, floor)), np.ones(ridge.free)])


def _prior_mean(ridge: BayesianRidge) -> FloatArray:
    # what the free coefficients explain alone: then the result does not depend on the zero of the energy
    free = slice(ridge.features, ridge.features + ridge.free)
    sums = ridge.sums["energy"]
    mean = np.zeros(ridge.features + ridge.free)
    if ridge.free and sums.count:
        mean[free] = np.linalg.pinv(sums.gram[free, free], rcond=1e-8, hermitian=True) @ sums.moment[free]
    return mean
