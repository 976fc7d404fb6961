"""Errors of elastic constants from elsewhere than the fit: other tensors that could have been found as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.elastic import ElasticFit
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError


def with_deviations(fit: ElasticFit, deviations: Mapping[str, ArrayLike]) -> tuple[ElasticFit, dict[str, FloatArray]]:
    """Add sources of error to a fit.

    Parameters
    ----------
    fit
        The fit with its own errors.
    deviations
        By source: tensors minus `fit.tensor`, shape (n, 6, 6), each as likely as the others. Posterior samples of a
        potential are many; a comparison with the reference is one, and counts as one standard deviation.

    Returns
    -------
    fit, parts
        The fit with `stderr` and `basis_covariance` grown by all sources (independent of each other), and the standard
        error by source, shape (6, 6).

    Raises
    ------
    AnalysisError
        A deviation does not have the symmetry of the fit.
    """
    design = fit.basis.reshape(len(fit.basis), 36).T
    covariance, variance = fit.basis_covariance.copy(), fit.stderr**2
    parts = {}
    for name, tensors in deviations.items():
        flat = np.asarray(tensors, dtype=float).reshape(-1, 36)
        values = np.linalg.lstsq(design, flat.T, rcond=None)[0].T
        if len(flat) == 0 or not np.allclose(values @ design.T, flat, atol=1e-6 * max(1.0, float(np.abs(flat).max()))):
            raise AnalysisError(f"the deviations of {name!r} do not have the symmetry of the elastic tensor")
        covariance += values.T @ values / len(values)
        part = (flat**2).mean(axis=0).reshape(6, 6)
        variance = variance + part
        parts[name] = np.sqrt(part)
    return replace(fit, stderr=np.sqrt(variance), basis_covariance=covariance), parts
