"""Which candidates are stable, with what probability, and which labels would settle the doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.hull import Hull, convex_hull
from mlip_autopipe.analysis.hull_samples import HullSamples, sample_hulls, settles

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from mlip_autopipe.jobs.hull_energies import CandidateEnergies
    from mlip_autopipe.jobs.hull_search import RelaxedCandidates
    from mlip_autopipe.schemas.system import PhaseDiagramSettings

WHOLE = 1e-9
SURE_eV = 5e-4
"""Per atom: a label that leaves more is made again where the potential has relaxed the candidate since."""
MOST_LABELS = 4
"""Of one candidate."""


@dataclass(frozen=True, eq=False)
class HullDoubt:
    """The hull of the candidates and what is uncertain of it.

    Attributes
    ----------
    energies
        Of all candidates.
    kept
        (K,) candidates that count: with an energy; of those that relaxed to one structure the labelled or first one.
    same_as
        The other ones, with the candidate that stands for them.
    hull, hulls
        Of the kept ones, places as in `kept`.
    needed
        Candidates whose labels would settle most, the best first; none when everything is settled.
    audits
        Some at random: their labels tell how wrong the potential is where it believes to know.
    """

    energies: CandidateEnergies
    kept: NDArray[np.int64]
    same_as: dict[int, int]
    hull: Hull
    hulls: HullSamples
    needed: list[int]
    audits: list[int]

    @property
    def wanted(self) -> list[int]:
        """Candidates to label next."""
        return [*self.needed, *self.audits]

    @property
    def vertices(self) -> list[int]:
        """Candidates on the hull."""
        return [int(self.kept[k]) for k in self.hull.vertices]

    @property
    def probabilities(self) -> dict[int, float]:
        """Probability of being stable by candidate."""
        return {int(k): float(p) for k, p in zip(self.kept, self.hulls.probability_stable, strict=True)}


def doubt(
    relaxed: RelaxedCandidates,
    energies: CandidateEnergies,
    settings: PhaseDiagramSettings,
    given_up: Collection[int] = (),
    *,
    checked: bool = False,
) -> HullDoubt:
    """Build the hull, thousands of it from samples, and choose labels.

    Parameters
    ----------
    relaxed, energies
        Of the candidates.
    settings
        How many labels, and what probability needs one.
    given_up
        Candidates whose label could not be computed.
    checked
        Whether a settled hull needs no further labels at random: its potential is put to the test by some once.
    """
    same_as = _same(relaxed, energies, settings.window_eV_per_atom)
    known = np.isfinite(energies.energies_eV)
    known[list(same_as)] = False
    kept = np.flatnonzero(known)
    fractions, samples = energies.fractions[kept], energies.samples_eV[:, kept]
    hull = convex_hull(fractions, energies.energies_eV[kept])
    hulls = sample_hulls(fractions, samples)
    sure = (energies.label_error_eV[kept] < SURE_eV) | (energies.times_labelled[kept] >= MOST_LABELS)
    asked = (energies.labelled[kept] & sure) | np.isin(kept, list(given_up))
    near = ~asked & (hull.e_above_hull_eV_per_atom < settings.window_eV_per_atom / 2)
    # all energies are measured from the elements, and their labels cost little
    pure = fractions.max(axis=1) > 1 - WHOLE
    needs = near & pure
    probability, labelled = hulls.probability_stable, energies.labelled[kept]
    needs |= ~asked & (probability > settings.target_probability)
    needs[hull.vertices] |= ~asked[hull.vertices]
    # what is sure needs no better label, unless all energies are measured from it
    needs &= ~labelled | pure | (probability < 1 - settings.target_probability)
    needed: list[int] = []
    if needs.any():
        values = settles(fractions, samples, hulls, asked)
        # equal values, for example of what no sample has shown deep: the more probable first
        order = np.lexsort((-hulls.probability_stable, -values))
        needed = [int(kept[k]) for k in order if needs[k]][: settings.labels_per_round]
    audits: list[int] = []
    if needed or not checked:
        rng = np.random.default_rng((settings.seed, int(energies.labelled.sum())))
        others = np.flatnonzero(near & ~needs & ~labelled)
        audits = [int(kept[k]) for k in rng.permutation(others)[: settings.audits_per_round]]
    return HullDoubt(energies, kept, same_as, hull, hulls, needed, audits)


def _same(relaxed: RelaxedCandidates, energies: CandidateEnergies, window_eV: float) -> dict[int, int]:
    """Return candidates that have become the same structure as another one, near the hull: there it matters."""
    from mlip_autopipe.generation.candidates import same_after_relaxation

    known = np.flatnonzero(np.isfinite(energies.energies_eV))
    above = convex_hull(energies.fractions[known], energies.energies_eV[known]).e_above_hull_eV_per_atom
    near = known[above < window_eV]
    # labelled ones first: they stand for the others
    near = near[np.argsort(~energies.labelled[near], kind="stable")]
    groups = same_after_relaxation(
        [relaxed.structures[k] for k in near],
        [float(relaxed.energies_eV[k]) / len(relaxed.structures[k]) for k in near],
    )
    found: dict[int, int] = {}
    for group in groups:
        first, *others = (int(near[place]) for place in group)
        found |= dict.fromkeys(others, first)
    return found
