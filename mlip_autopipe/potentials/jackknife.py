"""How far the coefficients may be off whatever their model: by how much each label alone moves them.

A posterior is right where the features can describe the labels up to independent noise of one size. Labels are not so:
what no coefficients can describe stays the same for all atoms of a frame, and some weigh more in the fit than their
noise says. The fit without one label shows the size of both. The sum over labels of its squared changes estimates the
variance of the coefficients with labels as the sample, however their errors are distributed (B. E. Hansen, Jackknife
standard errors for clustered regression, doi:10.1093/restud/rdag050; H. White, doi:10.2307/1912934, for the idea).

What a fit knows only from its prior no label moves: that part is the posterior's, and is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.bayesian_ridge import Posterior

FloatArray = NDArray[np.float64]

_ROUNDING: Final = 1e-9


def changes_without(posterior: Posterior, labels: Iterable[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Return by how much the mean moves when a label is left out, with noises and prior as they are.

    Parameters
    ----------
    posterior
        Of a fit to all labels.
    labels
        Per label: rows x, shape (n, p), and targets y, shape (n,), both divided by their noise (noise of the kind over
        the root of the weight).

    Returns
    -------
    FloatArray
        Shape (labels, p); exactly the difference to a fit without the label.
    """
    changes = []
    for x, y in labels:
        rows = x @ posterior.factor
        rest = (1 + _ROUNDING) * np.eye(len(y)) - rows @ rows.T
        changes.append(-posterior.factor @ (rows.T @ np.linalg.solve(rest, y - x @ posterior.mean)))
    return np.array(changes).reshape(-1, len(posterior.mean))


def draw_around(posterior: Posterior, changes: FloatArray, n: int, seed: int) -> FloatArray:
    """Return n samples of the coefficients, shape (n, p), with the covariance of the posterior and the jackknife.

    Parameters
    ----------
    posterior
        Of the fit.
    changes
        Of `changes_without`; those of fewer than two labels say nothing.
    n, seed
        Number and choice of the samples.
    """
    samples = posterior.draw(n, seed)
    labels = len(changes)
    if labels < 2:
        return samples
    # another stream than the posterior's
    normal = np.random.default_rng((seed, labels)).standard_normal((n, labels))
    return np.asarray(samples + np.sqrt((labels - 1) / labels) * normal @ changes)
