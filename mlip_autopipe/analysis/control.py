"""Better means from quantities whose exact mean is known (control variates)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError


@dataclass(frozen=True, eq=False)
class ControlledSeries:
    """What `controlled_series` returns.

    Attributes
    ----------
    series
        (p, n): the mean of a row is the improved mean of the observable, and the scatter of the row, as a correlated
        series, gives its error, that of the estimated slopes included.
    slopes
        (m, m): how the controls follow the slow variables.
    """

    series: FloatArray
    slopes: FloatArray


def controlled_series(observables: ArrayLike, slow: ArrayLike, controls: ArrayLike) -> ControlledSeries:
    """Correct means for the part of the space of slow variables that a run happened to visit.

    A run that stayed at too small volumes shows it at once by a mean pressure above the target. Where the controls q
    (pressure minus target) follow the slow variables x (volume) with slopes S, the mean of x moves by -S^-1 <q>, and
    each observable by its own slope times that. The exact mean of q is zero whatever the slopes are, so estimated
    ones leave the result unbiased to first order. The zero-variance principle of Assaraf and Caffarel
    (10.1103/PhysRevLett.83.4682), whose control variate, the derivative of the logarithm of the distribution, is
    here the pressure.

    Parameters
    ----------
    observables
        (p, n) functions of the slow variables, with or without noise.
    slow
        (m, n) variables that fluctuate slowly.
    controls
        (m, n) quantities of exact mean zero that follow the slow variables, with fast noise.

    Raises
    ------
    AnalysisError
        When the controls do not follow the slow variables (singular slopes).
    """
    f, x, q = (np.atleast_2d(np.asarray(a, dtype=float)) for a in (observables, slow, controls))
    n = x.shape[1]
    dx = x - x.mean(axis=1, keepdims=True)
    covariance = dx @ dx.T / n
    slopes = np.linalg.solve(covariance, dx @ q.T / n).T
    gradient = np.linalg.solve(covariance, dx @ f.T / n).T
    scale = np.sqrt(np.diag(covariance))
    # in units of the fluctuations of both sides, a slope that means anything is of order one
    relative = slopes * scale / np.maximum(q.std(axis=1), np.finfo(float).tiny)[:, None]
    if not np.linalg.cond(relative) < 1e6:
        raise AnalysisError(
            "The stress does not follow the cell, so it cannot correct its mean: the stresses must be those of the "
            "very frames of the run."
        )
    gain = gradient @ np.linalg.inv(slopes)
    mean = q.mean(axis=1)
    noise = q - mean[:, None] - slopes @ dx
    # first-order response of the result to the errors of the slopes, frame by frame
    leverage = np.linalg.solve(covariance, np.linalg.solve(slopes, mean)) @ dx
    return ControlledSeries(series=f - gain @ (q - noise * leverage), slopes=slopes)
