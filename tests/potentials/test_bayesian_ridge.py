from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.potentials.bayesian_ridge import BayesianRidge
from mlip_autopipe.potentials.errors import TrainingError


def problem(rows: int, features: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    truth = rng.normal(size=features)
    return x, x @ truth + noise * rng.normal(size=rows), truth


def test_recovers_coefficients_noise_and_prior() -> None:
    x, y, truth = problem(400, 30, 0.1)
    ridge = BayesianRidge(30)
    ridge.add("force", x, y)
    found = ridge.solve()
    assert found.noise["force"] == pytest.approx(0.1, rel=0.15)
    errors = (found.mean - truth) / found.std(np.eye(30))
    assert 0.6 < np.sqrt((errors**2).mean()) < 1.5
    assert found.effective_parameters == pytest.approx(30, abs=1)


def test_noise_is_found_per_kind() -> None:
    x, y, truth = problem(300, 10, 0.2)
    rng = np.random.default_rng(1)
    x2 = rng.normal(size=(300, 10))
    ridge = BayesianRidge(10)
    ridge.add("force", x, y)
    ridge.add("energy", x2, x2 @ truth + 0.01 * rng.normal(size=300))
    noise = ridge.solve().noise
    assert noise["force"] == pytest.approx(0.2, rel=0.2)
    assert noise["energy"] == pytest.approx(0.01, rel=0.2)


def test_adding_rows_equals_a_fit_to_all() -> None:
    x, y, _ = problem(200, 40, 0.05)
    whole, grown = BayesianRidge(40), BayesianRidge(40)
    whole.add("force", x, y)
    for part in np.array_split(np.arange(200), 7):
        grown.add("force", x[part], y[part])
    one, other = whole.solve(), grown.solve()
    assert np.abs(one.mean - other.mean).max() < 1e-8
    assert np.abs(one.factor - other.factor).max() < 1e-8


def test_log_evidence_is_the_marginal_likelihood() -> None:
    x, y, _ = problem(25, 6, 0.3)
    ridge = BayesianRidge(6)
    ridge.add("force", x, y)
    found = ridge.solve()
    scaled = x / np.sqrt((x**2).mean(axis=0))
    covariance = scaled @ scaled.T / found.prior_precision + found.noise["force"] ** 2 * np.eye(25)
    direct = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert found.log_evidence == pytest.approx(direct, rel=1e-8)


def test_evidence_prefers_the_true_model() -> None:
    x, y, _ = problem(60, 50, 0.1)
    y = x[:, :10] @ np.arange(1, 11) + 0.1 * np.random.default_rng(5).normal(size=60)
    evidence = {}
    for size in (5, 10, 50):
        ridge = BayesianRidge(size)
        ridge.add("force", x[:, :size], y)
        evidence[size] = ridge.solve().log_evidence
    assert max(evidence, key=lambda size: evidence[size]) == 10


def test_masked_rows_do_not_count() -> None:
    x, y, _ = problem(50, 5, 0.1)
    weights = np.ones(50)
    weights[:10] = 0
    spoiled = y.copy()
    spoiled[:10] = 1e6
    masked, plain = BayesianRidge(5), BayesianRidge(5)
    masked.add("force", x, spoiled, weights)
    plain.add("force", x[10:], y[10:])
    assert np.array_equal(masked.solve().mean, plain.solve().mean)
    assert masked.count == 40


def test_draws_have_the_posterior_covariance() -> None:
    x, y, _ = problem(40, 4, 0.5)
    ridge = BayesianRidge(4)
    ridge.add("force", x, y)
    found = ridge.solve()
    sample = np.cov(found.draw(20000, seed=1).T)
    assert np.allclose(sample, found.factor @ found.factor.T, rtol=0.1, atol=3e-4)
    assert np.array_equal(found.draw(3, seed=2), found.draw(3, seed=2))


def test_more_features_than_rows_and_collinear_ones() -> None:
    x, _, _ = problem(20, 60, 0.0)
    ridge = BayesianRidge(60)
    ridge.add("force", np.hstack([x[:, :30], x[:, :30]]), x[:, 0])
    assert np.isfinite(ridge.solve().mean).all()


def test_failures() -> None:
    with pytest.raises(TrainingError, match="nothing to learn"):
        BayesianRidge(3).solve()
    with pytest.raises(TrainingError, match="not finite"):
        BayesianRidge(2).add("force", np.array([[np.nan, 1.0]]), np.array([1.0]))
