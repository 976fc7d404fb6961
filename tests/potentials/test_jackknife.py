"""The jackknife: exact deletions, and error bars that hold where the model does not."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.potentials.bayesian_ridge import BayesianRidge, Posterior
from mlip_autopipe.potentials.jackknife import changes_without, draw_around

LABELS, ROWS, FEATURES = 16, 30, 6

Label = tuple[np.ndarray, np.ndarray]


def curved(rng: np.random.Generator, curvature: float) -> list[Label]:
    """Labels at one place of x each, seen through a straight line: what it misses is the same for all of a label.

    y = x'1 + curvature (|centre|^2 - FEATURES) + noise.
    """
    found = []
    for _ in range(LABELS):
        centre = rng.normal(size=FEATURES)
        x = centre + 0.3 * rng.normal(size=(ROWS, FEATURES))
        missed = curvature * (float(centre @ centre) - FEATURES)
        found.append((x, x.sum(axis=1) + missed + 0.1 * rng.normal(size=ROWS)))
    return found


def fitted(labels: list[Label]) -> tuple[Posterior, list[Label]]:
    """Return the posterior, and the labels in units of its noise."""
    ridge = BayesianRidge(FEATURES)
    for x, y in labels:
        ridge.add("force", x, y)
    posterior = ridge.solve()
    noise = posterior.noise["force"]
    return posterior, [(x / noise, y / noise) for x, y in labels]


def test_leaving_a_label_out_is_the_fit_without_it() -> None:
    posterior, labels = fitted(curved(np.random.default_rng(0), 0.3))
    precision = np.linalg.inv(posterior.factor @ posterior.factor.T)
    changes = changes_without(posterior, labels)
    assert changes.shape == (LABELS, FEATURES)
    for (x, y), change in zip(labels, changes, strict=True):
        # prior and the other labels: subtract from the normal equations of all
        without = np.linalg.solve(precision - x.T @ x, precision @ posterior.mean - x.T @ y)
        np.testing.assert_allclose(posterior.mean + change, without, rtol=1e-5, atol=1e-7)


def covered(curvature: float, repeats: int = 150) -> tuple[float, float]:
    """How often +- 1.645 standard deviations (90 %) of posterior and of samples around it hold for a linear property.

    The truth is the line that fits best if labels were without number: all ones, by symmetry of the curvature.
    """
    direction = np.linspace(-1, 1, FEATURES)
    hits = np.zeros((repeats, 2))
    for k in range(repeats):
        posterior, labels = fitted(curved(np.random.default_rng((7, k)), curvature))
        error = abs(direction @ (posterior.mean - 1))
        samples = draw_around(posterior, changes_without(posterior, labels), 200, k)
        both = (posterior.std(direction[None])[0], (direction @ (samples - posterior.mean).T).std())
        hits[k] = [error <= 1.645 * std for std in both]
    alone, around = hits.mean(axis=0)
    return float(alone), float(around)


def test_where_the_model_cannot_follow_the_posterior_misleads_and_the_samples_do_not() -> None:
    alone, around = covered(curvature=0.3)
    assert alone < 0.6
    assert 0.82 < around < 0.99


def test_where_the_model_is_right_the_samples_are_cautious_at_most() -> None:
    alone, around = covered(curvature=0.0)
    assert 0.82 < alone < 0.97
    assert 0.88 < around <= 1.0


def test_the_covariance_of_the_samples_is_the_sum_of_both() -> None:
    posterior, labels = fitted(curved(np.random.default_rng(1), 0.3))
    changes = changes_without(posterior, labels)
    samples = draw_around(posterior, changes, 20_000, 0) - posterior.mean
    expected = posterior.factor @ posterior.factor.T + (LABELS - 1) / LABELS * changes.T @ changes
    np.testing.assert_allclose(samples.T @ samples / len(samples), expected, atol=0.05 * np.diag(expected).max())


def test_samples_belong_to_their_seed() -> None:
    posterior, labels = fitted(curved(np.random.default_rng(2), 0.3))
    changes = changes_without(posterior, labels)
    np.testing.assert_array_equal(draw_around(posterior, changes, 3, 5), draw_around(posterior, changes, 3, 5))
    assert not np.allclose(draw_around(posterior, changes, 3, 5), draw_around(posterior, changes, 3, 6))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_labels_leave_the_posterior(count: int) -> None:
    posterior, labels = fitted(curved(np.random.default_rng(3), 0.3))
    changes = changes_without(posterior, labels[:count])
    assert changes.shape == (count, FEATURES)
    np.testing.assert_array_equal(draw_around(posterior, changes, 4, 0), posterior.draw(4, 0))


def test_a_label_that_alone_tells_something_is_left_out_without_a_number_out_of_range() -> None:
    ridge = BayesianRidge(2)
    only = np.array([[0.0, 1.0]])
    others = np.array([[1.0, 0.0], [1.0, 0.0]])
    ridge.add("force", others, np.array([2.0, 2.1]))
    ridge.add("force", only, np.array([3.0]))
    posterior = ridge.solve()
    noise = posterior.noise["force"]
    (change,) = changes_without(posterior, [(only / noise, np.array([3.0]) / noise)])
    # without it its coefficient is the prior's
    np.testing.assert_allclose((posterior.mean + change)[1], 0.0, atol=1e-4)
