"""Linear least squares with nuisance terms that may be undetermined, for `analysis.elastic`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlip_autopipe.analysis.symmetry import FloatArray

_RANK_TOLERANCE = 1e-3
_NUISANCE_TOLERANCE = 1e-8
# Quantiles of one standard deviation: one-sided, and of the central interval.
_ONE_SIGMA = 0.8413447460685429
_CENTRAL = 0.6826894921370859


@dataclass(frozen=True, eq=False)
class Solution:
    """Values (m,), their covariance (m, m) for data of unit variance, residual (6 n,), degrees of freedom."""

    values: FloatArray
    unit_covariance: FloatArray
    residual: FloatArray
    n_dof: int

    @property
    def variance(self) -> float:
        """Variance of one datum, from the residual; zero without degrees of freedom."""
        return float(self.residual @ self.residual) / self.n_dof if self.n_dof else 0.0

    def interval_covariance(self) -> FloatArray:
        """Covariance scaled so that +-1 standard error holds 68.3 % (Student's t for few data)."""
        if not self.n_dof:
            return np.zeros_like(self.unit_covariance)
        from scipy.special import stdtrit

        return self.unit_covariance * self.variance * float(stdtrit(self.n_dof, _ONE_SIGMA)) ** 2


def solve(rows: FloatArray, design: FloatArray, nuisance: FloatArray, data: FloatArray) -> Solution | None:
    """Solve data = design @ values + nuisance @ anything in the subspace of each block's projector.

    Parameters
    ----------
    rows
        (n, 6, 6) projectors: the part of each block of six data that counts.
    design, nuisance, data
        (n, 6, m), (n, 6, q), (n, 6).

    Returns
    -------
    Solution or None
        None when the data do not determine all values.
    """
    x = (rows @ design).reshape(-1, design.shape[2])
    y = (rows @ data[:, :, None]).ravel()
    space = _range(np.ascontiguousarray(rows @ nuisance).reshape(len(y), -1), _NUISANCE_TOLERANCE)
    x = x - space @ (space.T @ x)
    y = y - space @ (space.T @ y)
    scale = np.abs(design).max()
    left, singular, right = np.linalg.svd(x / scale, full_matrices=False)
    if len(singular) < x.shape[1] or singular[-1] <= _RANK_TOLERANCE * _reference(rows @ design / scale):
        return None
    values = right.T @ ((left.T @ y) / singular) / scale
    count = round(float(np.trace(rows, axis1=1, axis2=2).sum()))
    return Solution(
        values=values,
        unit_covariance=(right.T / singular**2) @ right / scale**2,
        residual=y - x @ values,
        n_dof=count - space.shape[1] - x.shape[1],
    )


def determined(design: FloatArray, nuisance: FloatArray) -> int:
    """Count the combinations of values that the design determines apart from the nuisance terms."""
    x = design.reshape(-1, design.shape[2])
    space = _range(nuisance.reshape(len(x), -1), _NUISANCE_TOLERANCE)
    singular = np.linalg.svd(x - space @ (space.T @ x), compute_uv=False)
    return int(np.sum(singular > _RANK_TOLERANCE * _reference(design)))


def disagreement_covariance(pooled: Solution, extrapolated: Solution | None) -> FloatArray:
    """Covariance (m, m) that states how far a fit without the third order differs from the one with it.

    Their difference estimates the bias of the pooled values, plus noise whose covariance is the difference of
    their covariances (Hausman 1978, 10.2307/1913827). It is shrunk by the part that this noise explains, so
    that mere noise is not counted twice. Where too few degrees of freedom are left to tell noise from bias,
    it counts in full.
    """
    m = len(pooled.values)
    if extrapolated is None:
        return np.zeros((m, m))
    difference = pooled.values - extrapolated.values
    outer = np.outer(difference, difference)
    noise = (extrapolated.unit_covariance - pooled.unit_covariance) * extrapolated.variance
    spectrum, vectors = np.linalg.eigh(noise)
    kept = spectrum > 1e-9 * max(spectrum[-1], np.finfo(float).tiny)
    if extrapolated.n_dof < 3 or not kept.any():
        return outer
    from scipy.special import fdtri

    rank = int(kept.sum())
    ratio = float(np.sum((vectors[:, kept].T @ difference) ** 2 / spectrum[kept])) / rank
    threshold = float(fdtri(rank, extrapolated.n_dof, _CENTRAL))
    return outer * max(0.0, 1.0 - threshold / max(ratio, np.finfo(float).tiny))


def intercept(constant: FloatArray, even: FloatArray, data: FloatArray) -> FloatArray:
    """Return the (6,) constant part of (n, 6) data, told from the even part where that is possible."""
    flat = constant.reshape(-1, constant.shape[2])
    both = np.concatenate([flat, even.reshape(len(flat), -1)], axis=1)
    separable = _range(both, 1e-6).shape[1] == flat.shape[1] + _range(even.reshape(len(flat), -1), 1e-6).shape[1]
    terms = both if separable else flat
    solution: FloatArray = np.linalg.lstsq(terms, data.ravel(), rcond=None)[0]
    return solution[: flat.shape[1]]


def _range(matrix: FloatArray, tolerance: float) -> FloatArray:
    """Orthonormal columns that span the range of a matrix (rank revealing)."""
    if not matrix.shape[1]:
        return matrix
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    result: FloatArray = left[:, singular > tolerance * max(singular[0], np.finfo(float).tiny)]
    return result


def _reference(design: FloatArray) -> float:
    """Typical singular value of a design in which every value is well determined."""
    return float(np.linalg.norm(design) / np.sqrt(design.shape[2]))
