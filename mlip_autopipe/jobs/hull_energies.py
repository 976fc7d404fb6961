"""Energies of candidates with what is known of their errors: from labels where there are any, else from the potential.

A labelled candidate has its label's energy, carried from the geometry of the label to that of today by the potential's
difference. The reference would relax it further where the label has forces and stress: what is left of that is its
error, and a candidate in doubt whose error is large is labelled again where the potential has relaxed it since.

All others have the potential's energy, and samples of it, widened by what labels have shown: the ratio of the errors of
candidates' labels, predicted before they were learned, to what the samples said of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.learning.towards_reference import relaxation_gain_eV

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlip_autopipe.jobs.hull_search import HullSearch, RelaxedCandidates
    from mlip_autopipe.schemas.label import ReferenceLabel
    from mlip_autopipe.schemas.phase_diagram import HullProgress

    FloatArray = NDArray[np.float64]

PRIOR_LABELS: Final = 3.0
"""The samples' own word on their spread counts as much as so many labels."""
FORGETTING: Final = 0.5
"""From round to round: a potential that has learned more may be wrong in other ways than the one before."""
CARRYING_ERROR: Final = 0.3
"""Of the energy by which a label is carried to another geometry: the potential's error on a small difference."""
LEAST_ERROR_eV: Final = 1e-5
"""Per atom: what relaxations leave."""


@dataclass(frozen=True, eq=False)
class CandidateEnergies:
    """Energies per atom of candidates, with samples.

    Attributes
    ----------
    fractions
        (N, d) atomic fractions.
    energies_eV
        (N,) per atom; infinite where nothing is known.
    samples_eV
        (S, N) per atom.
    labelled
        (N,) whether the energy is that of the reference.
    label_error_eV
        (N,) per atom, of labelled ones; infinite for others.
    times_labelled
        (N,).
    stated_eV
        (N,) spread of the potential's samples before it is widened.
    widening
        The factor.
    fresh
        (labels, 2) error of the potential and what its samples said, of each label before it was learned.
    label_ids
        By candidate.
    """

    fractions: FloatArray
    energies_eV: FloatArray
    samples_eV: FloatArray
    labelled: NDArray[np.bool_]
    label_error_eV: FloatArray
    times_labelled: NDArray[np.int64]
    stated_eV: FloatArray
    widening: float
    fresh: FloatArray
    label_ids: dict[int, str]


def candidate_energies(
    search: HullSearch, relaxed: RelaxedCandidates, labels: Sequence[ReferenceLabel | None]
) -> CandidateEnergies:
    """Return energies and samples of all candidates.

    Parameters
    ----------
    search
        Knows the potential.
    relaxed
        The candidates today.
    labels
        Of `HullProgress.labels`, in their order; None where there is none.
    """
    from mlip_autopipe.potentials.dataset import atoms_of

    settings, progress = search.settings, search.progress()
    sizes = relaxed.sizes
    known = np.isfinite(relaxed.energies_eV)
    energies = np.where(known, relaxed.energies_eV / sizes, np.inf)
    n, places = len(sizes), np.flatnonzero(known)
    drawn = search.potential.draw_energies([relaxed.structures[k] for k in places], settings.samples, settings.seed)
    changes = np.zeros((settings.samples, n))
    changes[:, places] = drawn / sizes[places]
    stated = changes.std(axis=0)
    fresh = _fresh_errors(progress, labels)
    factor = widening(fresh[:, :2], fresh[:, 2])
    samples = np.where(known, energies, 0.0) + factor * changes
    rng = np.random.default_rng((settings.seed, n))
    errors, times, label_ids = np.full(n, np.inf), np.zeros(n, dtype=np.int64), {}
    best: dict[int, tuple[float, float]] = {}
    for asked, label in zip(progress.labels, labels, strict=True):
        k = asked.candidate
        if label is None or label.energy_eV is None or not known[k]:
            continue
        times[k] += 1
        atoms = atoms_of(label.structure)
        carried = float(energies[k] - search.potential.predict(atoms).energy_eV / len(atoms))
        left = max(0.0, relaxation_gain_eV(label) + carried)
        error = float(np.sqrt((CARRYING_ERROR * carried) ** 2 + left**2 + LEAST_ERROR_eV**2))
        if error < errors[k]:
            errors[k], label_ids[k] = error, label.label_id
            best[k] = label.energy_eV / len(atoms) + carried, error
    for k, (energy, error) in best.items():
        energies[k] = energy
        samples[:, k] = energy + rng.normal(0.0, error, settings.samples)
    samples[:, ~known] = np.inf
    return CandidateEnergies(
        fractions=fractions_of(relaxed, settings.elements),
        energies_eV=energies,
        samples_eV=samples,
        labelled=np.isfinite(errors),
        label_error_eV=errors,
        times_labelled=times,
        stated_eV=stated,
        widening=factor,
        fresh=fresh[:, :2],
        label_ids=label_ids,
    )


def widening(fresh: FloatArray, rounds: FloatArray) -> float:
    """Return the factor on the samples' spread: root mean square of errors over what was stated, with a prior of 1.

    Parameters
    ----------
    fresh
        (labels, 2) errors and stated standard deviations.
    rounds
        (labels,) in which they were asked for; each counts `FORGETTING` times as much as one of the next.
    """
    weights = FORGETTING ** (rounds.max(initial=0.0) - rounds)
    ratios = (fresh[:, 0] / np.maximum(fresh[:, 1], LEAST_ERROR_eV)) ** 2
    return float(np.sqrt((weights @ ratios + PRIOR_LABELS) / (weights.sum() + PRIOR_LABELS)))


def fractions_of(relaxed: RelaxedCandidates, elements: list[str]) -> FloatArray:
    """Return the atomic fractions of structures, (N, d), in the order of the elements."""
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in elements]
    return np.array([[float((one.numbers == z).mean()) for z in numbers] for one in relaxed.structures])


def _fresh_errors(progress: HullProgress, labels: Sequence[ReferenceLabel | None]) -> FloatArray:
    """Return errors, what was stated, and rounds: (labels, 3)."""
    found = []
    for one, label in zip(progress.labels, labels, strict=True):
        if label is not None and label.energy_eV is not None:
            error = one.predicted_eV_per_atom - label.energy_eV / len(one.structure["numbers"])
            found.append((error, one.stated_eV_per_atom, one.round))
    return np.array(found, dtype=float).reshape(-1, 3)
