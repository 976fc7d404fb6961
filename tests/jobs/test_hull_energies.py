"""How far stated errors of candidates are widened by what their labels showed."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.jobs.hull_energies import widening


def test_without_labels_the_samples_are_taken_at_their_word():
    assert widening(np.empty((0, 2))) == 1.0


@pytest.mark.parametrize("factor", [0.6, 1.0, 3.0])
def test_the_factor_is_that_of_the_errors(factor):
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.001, 0.02, 400)
    fresh = np.stack([factor * stated * rng.normal(size=400), stated], axis=1)
    assert widening(fresh) == pytest.approx(factor, rel=0.1)


def test_few_labels_move_it_little_and_sure_samples_do_not_divide_by_zero():
    assert 1.0 < widening(np.array([[0.02, 0.01]])) < 1.4
    assert np.isfinite(widening(np.array([[1e-6, 0.0]])))
