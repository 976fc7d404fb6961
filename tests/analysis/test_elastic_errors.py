"""Errors of elastic constants from potentials and from the reference, added to those of the fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.elastic import ElasticFit, fit_elastic_constants, strain_set
from mlip_autopipe.analysis.elastic_errors import with_deviations
from mlip_autopipe.analysis.strain import choose_strain_directions
from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.errors import AnalysisError

from .synthetic import CRYSTALS, cubic_tensor, random_tensor

CUBIC = np.asarray(crystal_symmetry(CRYSTALS["Al"][0]).rotations)
HEXAGONAL = np.asarray(crystal_symmetry(CRYSTALS["Mg"][0]).rotations)


def fitted(rotations: np.ndarray, noise: float = 0.01, seed: int = 0) -> ElasticFit:
    """A fit with errors of its own."""
    strains = strain_set(choose_strain_directions(rotations), 0.005)
    stresses = strains @ random_tensor(rotations, 1)
    stresses += noise * np.random.default_rng(seed).normal(size=stresses.shape)
    return fit_elastic_constants(strains, stresses, rotations=rotations)


def samples(fit: ElasticFit, n: int, seed: int) -> np.ndarray:
    """Random tensors of the fit's symmetry, shape (n, 6, 6)."""
    return np.tensordot(np.random.default_rng(seed).normal(size=(n, len(fit.basis))), fit.basis, 1)


def test_one_comparison_counts_as_one_standard_deviation():
    fit = fitted(CUBIC, noise=0.0)
    deviation = cubic_tensor(3.0, -2.0, 0.5)
    grown, parts = with_deviations(fit, {"check": [deviation]})
    np.testing.assert_allclose(parts["check"], np.abs(deviation))
    np.testing.assert_allclose(grown.stderr, np.abs(deviation), atol=1e-6)


def test_many_samples_count_by_their_root_mean_square_about_the_fit():
    fit = fitted(CUBIC, noise=0.0)
    spread = np.array([cubic_tensor(3.0, 0.0, 0.0), cubic_tensor(-1.0, 0.0, 0.0)])
    _, parts = with_deviations(fit, {"model": spread})
    # not about their own mean: a potential's samples that lie to one side of it are an error, too
    assert parts["model"][0, 0] == pytest.approx(np.sqrt(5.0))
    assert parts["model"][3, 3] == 0


@pytest.mark.parametrize("rotations", [CUBIC, HEXAGONAL])
def test_independent_sources_add_in_squares(rotations):
    fit = fitted(rotations)
    assert fit.stderr.max() > 0
    model, check = samples(fit, 16, 1), samples(fit, 1, 2)
    grown, parts = with_deviations(fit, {"model": model, "check": check})
    np.testing.assert_allclose(grown.stderr**2, fit.stderr**2 + parts["model"] ** 2 + parts["check"] ** 2)
    in_turn = with_deviations(with_deviations(fit, {"check": check})[0], {"model": model})[0]
    np.testing.assert_allclose(in_turn.stderr, grown.stderr)
    np.testing.assert_allclose(in_turn.basis_covariance, grown.basis_covariance, atol=1e-12)


@pytest.mark.parametrize("rotations", [CUBIC, HEXAGONAL])
def test_covariance_and_standard_errors_grow_by_the_same(rotations):
    fit = fitted(rotations)
    model = samples(fit, 5, 3)
    grown, parts = with_deviations(fit, {"model": model})
    added = grown.basis_covariance - fit.basis_covariance
    np.testing.assert_allclose(added, added.T, atol=1e-12)
    variance = np.einsum("iab,ij,jab->ab", fit.basis, added, fit.basis)
    np.testing.assert_allclose(np.sqrt(variance), parts["model"], atol=1e-9)


def test_errors_that_are_correlated_stay_so():
    fit = fitted(CUBIC, noise=0.0)
    # C11 and C12 always wrong by the same amount: their difference is as well known as before
    same = [cubic_tensor(x, x, 0.0) for x in (2.0, -1.0, 0.5)]
    grown, _ = with_deviations(fit, {"model": same})
    difference = fit.basis[:, 0, 0] - fit.basis[:, 0, 1]
    assert difference @ grown.basis_covariance @ difference == pytest.approx(0.0, abs=1e-9)
    assert grown.stderr[0, 0] > 1


def test_the_fit_itself_is_left_alone():
    fit = fitted(CUBIC)
    before, covariance = fit.stderr.copy(), fit.basis_covariance.copy()
    grown, parts = with_deviations(fit, {"model": samples(fit, 4, 5)})
    np.testing.assert_array_equal(fit.stderr, before)
    np.testing.assert_array_equal(fit.basis_covariance, covariance)
    assert grown.tensor is fit.tensor
    np.testing.assert_array_equal(grown.stderr_fit, fit.stderr_fit)
    same, none = with_deviations(fit, {})
    np.testing.assert_allclose(same.stderr, before)
    assert none == {}
    assert list(parts) == ["model"]


BROKEN: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda c: c + np.diag([1.0, 0, 0, 0, 0, 0]),  # C11 is not C22
    lambda c: c + np.diag([0, 0, 0, 0, 0, 1.0]),  # C66 is not C44
    lambda c: c + np.eye(6)[[0]].T @ np.eye(6)[[3]],  # not even symmetric
    lambda c: c * np.nan,
]


@pytest.mark.parametrize("breaking", BROKEN)
def test_another_symmetry_is_refused_by_name(breaking):
    fit = fitted(CUBIC)
    good = cubic_tensor(1.0, 0.5, 0.2)
    with pytest.raises(AnalysisError, match="'check' do not have the symmetry"):
        with_deviations(fit, {"model": [good], "check": [good, breaking(good)]})


def test_a_source_without_samples_is_refused():
    with pytest.raises(AnalysisError, match="'model'"):
        with_deviations(fitted(CUBIC), {"model": np.empty((0, 6, 6))})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.integers(1, 6))
def test_order_and_sign_do_not_matter_and_errors_scale(seed, factor, n):
    fit = fitted(HEXAGONAL, noise=0.0)
    rng = np.random.default_rng(seed)
    model = samples(fit, n, seed)
    _, parts = with_deviations(fit, {"model": model})
    other = factor * rng.choice([-1.0, 1.0], size=(n, 1, 1)) * rng.permutation(model)
    _, scaled = with_deviations(fit, {"model": other})
    np.testing.assert_allclose(scaled["model"], factor * parts["model"], rtol=1e-9, atol=1e-12)
