"""How far stated errors of candidates are widened by what their labels showed."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.jobs.hull_energies import widening


def test_without_labels_the_samples_are_taken_at_their_word():
    assert widening(np.empty((0, 2)), np.empty(0)) == 1.0


@pytest.mark.parametrize("factor", [0.6, 1.0, 3.0])
def test_the_factor_is_that_of_the_errors(factor):
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.001, 0.02, 400)
    fresh = np.stack([factor * stated * rng.normal(size=400), stated], axis=1)
    assert widening(fresh, np.zeros(400)) == pytest.approx(factor, rel=0.1)


def test_few_labels_move_it_little_and_sure_samples_do_not_divide_by_zero():
    assert 1.0 < widening(np.array([[0.02, 0.01]]), np.zeros(1)) < 1.4
    assert np.isfinite(widening(np.array([[1e-6, 0.0]]), np.zeros(1)))


def test_the_newest_labels_count_most():
    # what the first potential stated was too large by ten, what the newest states is too small by two
    fresh = np.array([[0.001, 0.01]] * 8 + [[0.02, 0.01]] * 4)
    rounds = np.array([0.0] * 8 + [3.0] * 4)
    assert widening(fresh, np.zeros(12)) < 1.2 < 1.5 < widening(fresh, rounds)
    assert widening(fresh, rounds) == pytest.approx(widening(fresh, rounds + 5))
