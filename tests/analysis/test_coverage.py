"""How often an interval held, and whether it is too seldom beyond chance."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.coverage import CoveredShare, covered_share
from mlip_autopipe.errors import AnalysisError

LEAST = 0.75


def labels(rng: np.random.Generator, share: float, n: int, alike: float) -> CoveredShare:
    """Counts of labels of 4 to 64 atoms whose shares scatter: `alike` is the correlation of atoms in a label."""
    atoms = rng.choice([4, 32, 64], n)
    spread = (1 - alike) / alike
    return covered_share(rng.binomial(atoms, rng.beta(share * spread, (1 - share) * spread, n)), atoms)


def failing(share: float, n: int, alike: float, repeats: int = 1000) -> float:
    rng = np.random.default_rng((n, round(1000 * share)))
    return float(np.mean([labels(rng, share, n, alike).upper < LEAST for _ in range(repeats)]))


@pytest.mark.parametrize("alike", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("n", [2, 5, 10, 20, 60])
def test_what_holds_as_often_as_it_says_hardly_ever_fails(n, alike):
    assert failing(0.9, n, alike) < 0.02


@pytest.mark.parametrize(("n", "alike", "often"), [(10, 0.02, 0.99), (10, 0.1, 0.95), (20, 0.2, 0.95)])
def test_what_holds_half_of_the_time_fails(n, alike, often):
    assert failing(0.5, n, alike) > often


@pytest.mark.parametrize("n", [5, 10, 40])
def test_at_the_limit_it_fails_about_once_in_twenty(n):
    assert failing(LEAST, n, 0.1) < 0.1


def test_the_error_counts_labels_not_atoms():
    rng = np.random.default_rng(0)
    found = [labels(rng, 0.8, 20, 0.2) for _ in range(2000)]
    scatter = np.std([one.share for one in found])
    assert np.sqrt(np.mean([one.stderr**2 for one in found])) == pytest.approx(scatter, rel=0.1)


def test_labels_that_happen_to_agree_are_not_certain():
    found = covered_share([22, 22, 22], [32, 32, 32])
    assert (found.share, found.labels) == (22 / 32, 3)
    assert found.stderr == pytest.approx(np.sqrt(22 / 32 * 10 / 32 / 96))
    assert found.upper > LEAST


@pytest.mark.parametrize(
    ("covered", "atoms", "words"),
    [
        ([], [], "0 labels"),
        ([3], [4], "1 labels"),
        ([5, 1], [4, 4], "covered atoms"),
        ([0, 1], [0, 4], "covered atoms"),
    ],
)
def test_impossible_counts_are_refused(covered, atoms, words):
    with pytest.raises(AnalysisError, match=words):
        covered_share(covered, atoms)
