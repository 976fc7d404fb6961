"""Regularised least squares of formation energies in correlations, with leave-one-out errors in closed form.

The energies of the pure elements are met exactly: correlations and energies are taken relative to the mixture of the
pure elements, which leaves pairs and larger clusters to fit. What a parameter may be is a normal distribution around 0
whose width falls with the size of the cluster (Mueller and Ceder, 10.1103/PhysRevB.80.024103); its overall width is
the one of the smallest leave-one-out error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis._sublattices import IntArray
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

FOLDS: Final = 10
# Per site of a cluster beyond two, and per power of its radius.
_ORDER_PENALTY: Final = 2.0
_RADIUS_POWER: Final = 2.0
_STRENGTHS: Final = np.logspace(-8, 1, 19)
# A space of more clusters must lower the error by this part to be preferred.
_WORTH: Final = 0.03
_PRUNED_WORTH: Final = 1.01
"""Clusters are left out as long as the error stays below this times that of all of them."""


@dataclass(frozen=True, eq=False)
class Correlations:
    """Cluster vectors of structures in one cluster space.

    Attributes
    ----------
    values
        (n, k) of the structures, relative to the mixture of pure elements; only pairs and larger.
    penalties
        (k,) inverse variance of each parameter, up to a factor.
    orders
        (k,) sites of the clusters.
    """

    values: FloatArray
    penalties: FloatArray
    orders: IntArray

    def of(self, structures: NDArray[np.bool_] | slice) -> Correlations:
        """Return those of some structures."""
        return Correlations(self.values[structures], self.penalties, self.orders)

    def without(self, clusters: Sequence[int]) -> Correlations:
        """Return a space without some clusters."""
        kept = np.setdiff1d(np.arange(len(self.orders)), clusters)
        return Correlations(self.values[:, kept], self.penalties[kept], self.orders[kept])


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """A fit of k parameters to n energies.

    Attributes
    ----------
    parameters
        (k,) eV per site.
    covariance
        (k, k) of the parameters, for residuals of unit variance at unit weight.
    fit_residuals, left_out_residuals
        (n,) energy minus prediction, eV; the latter with that structure left out.
    score
        Weighted root mean square of the left-out residuals, eV.
    """

    parameters: FloatArray
    covariance: FloatArray
    fit_residuals: FloatArray
    left_out_residuals: FloatArray
    score: float


def penalties(orders: IntArray, radii: FloatArray) -> FloatArray:
    """Return the inverse variances of parameters by the sites and the radius of their clusters."""
    growth = radii / radii.min()
    return np.asarray(growth**_RADIUS_POWER * _ORDER_PENALTY ** (orders - 2.0))


def ridge(correlations: Correlations, energies: FloatArray, weights: FloatArray) -> RidgeFit:
    """Fit with the prior width of the smallest weighted leave-one-out error.

    Parameters
    ----------
    correlations
        Of n structures.
    energies, weights
        (n,) relative to the mixture of pure elements, eV per site; weights of squared residuals.
    """
    scaled = correlations.values / np.sqrt(correlations.penalties)
    rooted = np.sqrt(weights)
    left, singular, right = np.linalg.svd(rooted[:, None] * scaled, full_matrices=False)
    target = rooted * energies
    projected = left.T @ target
    best: RidgeFit | None = None
    for strength in _STRENGTHS * max(float(singular.max(initial=0.0)) ** 2, 1e-300):
        shrink = singular**2 / (singular**2 + strength)
        residuals = (target - left @ (shrink * projected)) / rooted
        leverage = np.minimum(np.einsum("ij,j,ij->i", left, shrink, left), 1 - 1e-9)
        left_out = residuals / (1 - leverage)
        score = float(np.sqrt(np.sum(weights * left_out**2) / np.sum(weights)))
        if best is None or score < best.score:
            back = right.T / np.sqrt(correlations.penalties)[:, None]
            parameters = back @ (shrink * projected / np.where(singular > 0, singular, 1.0))
            # the directions that no structure shows keep the variance of the prior
            spread = np.diag(1 / correlations.penalties) / strength
            covariance = spread + (back * (1 / (singular**2 + strength) - 1 / strength)) @ back.T
            best = RidgeFit(parameters, covariance, residuals, left_out, score)
    assert best is not None
    return best


def choose(spaces: Sequence[Correlations], energies: FloatArray, weights: FloatArray) -> tuple[int, list[RidgeFit]]:
    """Return the number of the best space, and the fits in all of them.

    Spaces come from small to large; a larger one must be better by a margin.
    """
    fits = [ridge(space, energies, weights) for space in spaces]
    best = 0
    for k, fit in enumerate(fits):
        if fit.score < (1 - _WORTH) * fits[best].score:
            best = k
    return best, fits


def pruned(space: Correlations, energies: FloatArray, weights: FloatArray, fit: RidgeFit) -> RidgeFit:
    """Leave out triplets and larger clusters that hardly lower the error: the Monte Carlo takes half the time then.

    Returns
    -------
    RidgeFit
        Parameters of the whole space, 0 where left out; the covariance is still that of the whole space, since what is
        left out is not known to be 0.
    """
    out: list[int] = []
    best = fit
    while candidates := [int(k) for k in np.flatnonzero(space.orders > 2) if k not in out]:
        tried = {k: ridge(space.without([*out, k]), energies, weights) for k in candidates}
        least = min(candidates, key=lambda k: tried[k].score)
        if tried[least].score > _PRUNED_WORTH * fit.score:
            break
        out.append(least)
        best = tried[least]
    parameters = np.zeros(len(space.orders))
    parameters[np.setdiff1d(np.arange(len(parameters)), out)] = best.parameters
    return replace(best, parameters=parameters, covariance=fit.covariance)


def cross_validation_residuals(
    spaces: Sequence[Correlations], energies: FloatArray, weights: FloatArray, folds: IntArray
) -> FloatArray:
    """Return residuals (n,) of structures that neither the fit nor the choice of clusters and prior has seen.

    Parameters
    ----------
    folds
        (n,) number of the fold in which each structure is left out.
    """
    residuals = np.empty(len(energies))
    for fold in np.unique(folds):
        out = folds == fold
        best, fits = choose([space.of(~out) for space in spaces], energies[~out], weights[~out])
        fit = pruned(spaces[best].of(~out), energies[~out], weights[~out], fits[best])
        residuals[out] = energies[out] - spaces[best].values[out] @ fit.parameters
    return residuals


def make_folds(count: int, seed: int) -> IntArray:
    """Deal structures out to folds of equal size.

    Raises
    ------
    InvalidInputError
        Too few to leave some out.
    """
    if count < 4:
        raise InvalidInputError(
            f"{count} structures beside the pure elements are too few for an expansion: give at least 4"
        )
    return np.random.default_rng(seed).permutation(np.arange(count) % min(FOLDS, count))
