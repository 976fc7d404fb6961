"""Hulls of samples: the same as one by one, known probabilities, calibration, and what a label settles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.hull_samples import independent_samples, sample_hulls, settles
from mlip_autopipe.errors import InvalidInputError
from tests.analysis.test_hull import random_entries

COMPOUND = [[1, 0], [0, 1], [0.5, 0.5]]


@given(
    st.tuples(st.integers(1, 4), st.integers(2, 9), st.just(0.1), st.integers(0, 2**32 - 1)),
    st.sampled_from([0.0, 0.003, 0.05, 1.0]),
)
@settings(max_examples=30, deadline=None)
def test_they_are_the_hulls_of_all_entries(system, stderr_eV):
    """What is left out of a sample could not have been on its hull."""
    _, x, energies = random_entries(*system)
    samples = energies + stderr_eV * np.random.default_rng(system[3]).normal(size=(12, len(x)))
    found = sample_hulls(x, samples)
    hulls = [convex_hull(x, one) for one in samples]
    for stable, hull in zip(found.stable_entries, hulls, strict=True):
        assert stable.tolist() == np.flatnonzero(hull.stable).tolist()
    np.testing.assert_allclose(found.probability_stable, np.mean([h.stable for h in hulls], axis=0))
    above = [h.e_above_hull_eV_per_atom for h in hulls]
    np.testing.assert_allclose(found.e_above_hull_eV_per_atom, np.mean(above, axis=0), atol=1e-12)
    np.testing.assert_allclose(found.e_above_hull_stderr_eV_per_atom, np.std(above, axis=0, ddof=1), atol=1e-10)
    formation = [h.formation_energies_eV_per_atom for h in hulls]
    np.testing.assert_allclose(found.formation_energies_eV_per_atom, np.mean(formation, axis=0), atol=1e-12)
    np.testing.assert_allclose(found.formation_energy_stderr_eV_per_atom, np.std(formation, axis=0, ddof=1), atol=1e-10)


def test_blocks_are_as_good_as_an_array():
    _, x, energies = random_entries(3, 6, 0.1, 1)
    blocks = list(independent_samples(energies, np.full(len(x), 0.02), 150, seed=5))
    assert [len(block) for block in blocks] == [64, 64, 22]
    whole, streamed = sample_hulls(x, np.concatenate(blocks)), sample_hulls(x, iter(blocks))
    listed = sample_hulls(x, np.concatenate(blocks).tolist())
    assert whole.n_samples == streamed.n_samples == listed.n_samples == 150
    for other in (streamed, listed):
        np.testing.assert_array_equal(whole.probability_stable, other.probability_stable)
        np.testing.assert_array_equal(whole.e_above_hull_eV_per_atom, other.e_above_hull_eV_per_atom)
    again = list(independent_samples(energies, np.full(len(x), 0.02), 150, seed=5))
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(blocks))


def test_one_compound_has_the_probability_of_the_normal_distribution():
    """Stable with P(E < 0); the mean above the hull is that of the part of a normal distribution above zero."""
    mean, stderr, n = 0.004, 0.01, 4000
    found = sample_hulls(COMPOUND, independent_samples([0, 0, mean], [0, 0, stderr], n))
    z = mean / stderr
    exact = norm.cdf(-z)
    np.testing.assert_array_equal(found.probability_stable[:2], 1)
    assert abs(found.probability_stable[2] - exact) < 4 * np.sqrt(exact * (1 - exact) / n)
    assert found.probability_stderr[2] == pytest.approx(np.sqrt(exact * (1 - exact) / n), rel=0.05)
    above = stderr * norm.pdf(z) + mean * norm.cdf(z)
    second = (mean**2 + stderr**2) * norm.cdf(z) + mean * stderr * norm.pdf(z)
    assert found.e_above_hull_eV_per_atom[2] == pytest.approx(above, rel=0.08)
    assert found.e_above_hull_stderr_eV_per_atom[2] == pytest.approx(np.sqrt(second - above**2), rel=0.08)
    assert found.formation_energy_stderr_eV_per_atom[2] == pytest.approx(stderr, rel=0.08)


def test_two_structures_of_one_composition_share_the_probability():
    """The lower of two is stable: P = Phi(difference / sqrt(s1^2 + s2^2)); the elements' errors have no part in it."""
    x = [*COMPOUND, [0.5, 0.5]]
    energies, stderrs = [-3, -4, -4.5, -4.494], [0.02, 0.02, 0.006, 0.008]
    n = 4000
    found = sample_hulls(x, independent_samples(energies, stderrs, n, seed=3))
    exact = norm.cdf(0.006 / 0.01)
    assert abs(found.probability_stable[2] - exact) < 4 * np.sqrt(exact * (1 - exact) / n)
    assert found.probability_stable[2] + found.probability_stable[3] == pytest.approx(1)
    # of the compound and half of each element
    total = np.sqrt(0.006**2 + 2 * 0.01**2)
    assert found.formation_energy_stderr_eV_per_atom[2] == pytest.approx(total, rel=0.08)


def test_an_error_in_common_is_no_doubt():
    """A potential that is wrong by the same amount for all, or by a linear function of composition, errs in nothing."""
    _, x, energies = random_entries(3, 6, 0.1, 2)
    hull = convex_hull(x, energies)
    rng = np.random.default_rng(0)
    found = sample_hulls(x, energies + rng.normal(0, 0.5, (50, 3)) @ x.T)
    np.testing.assert_array_equal(found.probability_stable, hull.stable)
    np.testing.assert_allclose(found.e_above_hull_eV_per_atom, hull.e_above_hull_eV_per_atom, atol=1e-10)
    np.testing.assert_allclose(found.e_above_hull_stderr_eV_per_atom, 0, atol=1e-10)


def test_without_errors_the_probability_is_one_or_zero():
    _, x, energies = random_entries(4, 5, 0.1, 3)
    found = sample_hulls(x, energies[None])
    np.testing.assert_array_equal(found.probability_stable, convex_hull(x, energies).stable)
    assert found.e_above_hull_stderr_eV_per_atom.max() == 0


@pytest.mark.parametrize("d", [2, 3])
def test_stated_probabilities_hold(d):
    """Truths drawn from the same errors, in part common to neighbours: what is stated at p comes true in a share p."""
    stated, came_true, sure = [], [], []
    for seed in range(40):
        _, x, energies = random_entries(d, 6, 0.05, seed, n=40)
        rng = np.random.default_rng(1000 + seed)
        distance = ((x[:, None] - x) ** 2).sum(axis=2)
        factor = np.linalg.cholesky(0.02**2 * np.exp(-8 * distance) + 0.01**2 * np.eye(len(x)))
        truth = convex_hull(x, energies + factor @ rng.normal(size=len(x)))
        found = sample_hulls(x, energies + rng.normal(size=(150, len(x))) @ factor.T)
        stated.append(found.probability_stable)
        came_true.append(truth.stable)
        sure.append(convex_hull(x, energies).stable)
    p, hit = np.concatenate(stated), np.concatenate(came_true).astype(float)
    for low, high in ((0.02, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.98)):
        chosen = (p > low) & (p <= high)
        # entries of one system are not independent
        assert abs(hit[chosen].mean() - p[chosen].mean()) < 4 * np.sqrt(p[chosen].mean() / chosen.sum())
    brier = ((p - hit) ** 2).mean()
    assert brier == pytest.approx((p * (1 - p)).mean(), rel=0.2)
    # and better than a hull of the mean energies, which knows no doubt
    assert brier < 0.9 * ((np.concatenate(sure) - hit) ** 2).mean()


def test_a_label_settles_what_it_may_change():
    """One compound in doubt: its expected depth below the elements, the mean of the part below zero."""
    mean, stderr, n = 0.004, 0.01, 4000
    samples = np.concatenate(list(independent_samples([0, 0, mean], [0, 0, stderr], n)))
    hulls = sample_hulls(COMPOUND, samples)
    values = settles(COMPOUND, samples, hulls, [True, True, False])
    z = mean / stderr
    assert values[:2].tolist() == [0, 0]
    assert values[2] == pytest.approx(stderr * norm.pdf(z) - mean * norm.cdf(-z), rel=0.08)
    assert settles(COMPOUND, samples, hulls, [True, True, True]).tolist() == [0, 0, 0]


def test_certain_vertices_without_a_label_have_their_depth():
    x = [*COMPOUND, [0.75, 0.25], [0.25, 0.75]]
    energies = np.array([0, 0, -1.0, -0.6, -0.4])
    samples = np.tile(energies, (3, 1))
    hulls = sample_hulls(x, samples)
    # the fourth lies 0.1 below the tie line of compound and element, the fifth 0.1 above it
    assert settles(x, samples, hulls, [1, 1, 1, 0, 0]) == pytest.approx([0, 0, 0, 0.1, 0])
    # below the hull of the elements, as long as the compound is not labelled
    assert settles(x, samples, hulls, [1, 1, 0, 0, 0]) == pytest.approx([0, 0, 1.0, 0.6, 0])
    # tilted: as much
    tilted = samples + np.array(x) @ [-3.0, -5.0]
    hulls = sample_hulls(x, tilted)
    assert settles(x, tilted, hulls, [1, 1, 0, 0, 0]) == pytest.approx([0, 0, 1.0, 0.6, 0])


def test_elements_come_first():
    x = [*COMPOUND, [1, 0], [1, 0]]
    energies, stderrs = [-0.01, 0, -1, -0.009, 0.5], [0.02, 0, 0.1, 0.001, 0]
    samples = np.concatenate(list(independent_samples(energies, stderrs, 500)))
    hulls = sample_hulls(x, samples)
    values = settles(x, samples, hulls, np.zeros(5, dtype=bool))
    assert np.isinf(values).tolist() == [True, True, False, False, False]
    assert values[2] == pytest.approx(1, rel=0.05)
    assert 0 < values[3] < 0.02
    assert values[4] == 0
    values = settles(x, samples, hulls, [False, True, False, False, True])
    assert np.isfinite(values).all()


def test_bad_input():
    with pytest.raises(InvalidInputError, match="no samples"):
        sample_hulls(COMPOUND, np.empty((0, 3)))
    with pytest.raises(InvalidInputError, match="no samples"):
        sample_hulls(COMPOUND, iter([]))
    with pytest.raises(InvalidInputError, match="energy of entry 1"):
        sample_hulls(COMPOUND, [[0, np.nan, 0]])
    with pytest.raises(InvalidInputError, match="there are 3 entries"):
        sample_hulls(COMPOUND, np.zeros((5, 2)))
    with pytest.raises(InvalidInputError, match="pure element of column 1"):
        sample_hulls([[1, 0], [0.5, 0.5]], np.zeros((5, 2)))
    hulls = sample_hulls(COMPOUND, np.zeros((5, 3)))
    with pytest.raises(InvalidInputError, match="5 of 3 entries"):
        settles(COMPOUND, np.zeros((4, 3)), hulls, [True] * 3)
    with pytest.raises(InvalidInputError, match="5 of 3 entries"):
        settles(COMPOUND, np.zeros((5, 3)), hulls, [True] * 2)
