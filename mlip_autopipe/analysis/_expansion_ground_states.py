"""Fits that keep the ground states of the energies: what lies on either hull alone gets more weight, round by round.

A least-squares fit knows nothing of hulls: an error of a few meV puts another structure on it. Constraints on the
energies (Huang et al., 10.1038/s41524-017-0032-0) need another solver; weights lead to the same where it can be had.
A fit within whose error the hulls agree stays as it is, since more weight on some energies brings their noise in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mlip_autopipe.analysis._expansion_fit import Correlations, RidgeFit, pruned, ridge
from mlip_autopipe.analysis.hull import Hull, convex_hull
from mlip_autopipe.analysis.symmetry import FloatArray

ROUNDS: Final = 10
RAISE: Final = 3.0
"""Factor on the weight of a structure that is on one of the two hulls only."""
MOST_ERROR: Final = 1.25
"""A fit whose weighted residuals are larger by more than this pays too much for its ground states."""


@dataclass(frozen=True, eq=False)
class FittedEnergies:
    """A fit and what it says of all structures.

    Attributes
    ----------
    fit
        Of the alloyed structures.
    predictions_eV
        (n,) of all; the pure elements have their own energies.
    hull
        Of the predictions.
    mismatch_eV
        Largest distance of a vertex of the given energies' hull from that of the predictions, and the other way round.
    error_eV
        Weighted root mean square of the residuals, with the weights before any was raised.
    growth
        That error over the one before any weight was raised.
    """

    fit: RidgeFit
    predictions_eV: FloatArray
    hull: Hull
    mismatch_eV: float
    error_eV: float
    growth: float


def keep_ground_states(
    space: Correlations,
    fractions: FloatArray,
    energies_eV: FloatArray,
    mixture_eV: FloatArray,
    weights: FloatArray,
    first: RidgeFit,
    error_eV: float,
) -> FittedEnergies:
    """Return a fit whose ground states are those of the energies but for its error, if one does not cost too much.

    Of several it is that of the smallest mismatch; without one it is the fit with the weights as they are.

    Parameters
    ----------
    space
        Correlations of all n structures.
    fractions, energies_eV, mixture_eV
        (n, m), (n,) and (n,): compositions, energies, and energies of the mixtures of pure elements.
    weights
        Of the squared residuals of the alloyed structures.
    first
        The fit with these weights in the whole space.
    error_eV
        Mismatch that is accepted: the error of predictions.
    """
    alloyed = fractions.max(axis=1) < 1
    given = convex_hull(fractions, energies_eV)
    excess, correlations, raised = (energies_eV - mixture_eV)[alloyed], space.of(alloyed), weights.copy()
    found: list[FittedEnergies] = []
    for _ in range(ROUNDS):
        whole = ridge(correlations, excess, raised) if found else first
        fit = pruned(correlations, excess, raised, whole)
        predictions = mixture_eV + space.values @ fit.parameters
        predictions[~alloyed] = energies_eV[~alloyed]
        hull = convex_hull(fractions, predictions)
        only = np.setxor1d(given.vertices, hull.vertices)
        apart = max(
            hull.e_above_hull_eV_per_atom[given.vertices].max(), given.e_above_hull_eV_per_atom[hull.vertices].max()
        )
        residuals = (energies_eV - predictions)[alloyed]
        error = float(np.sqrt(np.sum(weights * residuals**2) / np.sum(weights)))
        growth = error / max(found[0].error_eV, 1e-300) if found else 1.0
        found.append(FittedEnergies(fit, predictions, hull, float(apart), error, growth))
        if len(only) == 0 or found[0].mismatch_eV <= error_eV:
            break
        raised[np.isin(np.flatnonzero(alloyed), only)] *= RAISE
    kept = [one for one in found if one.growth <= MOST_ERROR and one.mismatch_eV <= error_eV]
    return min(kept, key=lambda one: one.mismatch_eV, default=found[0])
