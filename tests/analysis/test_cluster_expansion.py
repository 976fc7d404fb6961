from __future__ import annotations

import json

import numpy as np
import pytest

from mlip_autopipe.analysis._expansion_fit import choose, cross_validation_residuals, make_folds, ridge
from mlip_autopipe.analysis._expansion_spaces import ladder
from mlip_autopipe.analysis.cluster_expansion import (
    MAX_ERROR_RATIO,
    TRUSTWORTHY,
    ClusterExpansion,
    fit_cluster_expansion,
)
from mlip_autopipe.analysis.lattice_decoration import read_decoration
from mlip_autopipe.errors import InvalidInputError

from .lattice_models import ELEMENTS, cluster_space, conventional, enumerated, ordered, parent, primitive

pytest.importorskip("icet")

# fcc, pairs of two shells and triplets of nearest neighbours, eV per site
PARAMETERS = np.array([0.01, 0.02, 0.12, -0.02, 0.03])
CUTOFFS = (4.0, 2.8)


def exact_energies(structures):
    space = cluster_space("fcc", CUTOFFS)
    return np.array([space.get_cluster_vector(atoms) for atoms in structures]) @ PARAMETERS


def is_pure(structures):
    return np.array([len(set(atoms.get_chemical_symbols())) == 1 for atoms in structures])


@pytest.fixture(scope="module")
def structures():
    return enumerated("fcc", 5)


@pytest.fixture(scope="module")
def exact(structures):
    return fit_cluster_expansion(primitive("fcc"), structures, exact_energies(structures))


def noisy(structures, size, seed=0):
    noise = np.random.default_rng(seed).normal(0, size, len(structures))
    return exact_energies(structures) + np.where(is_pure(structures), 0.0, noise)


def test_a_model_within_the_ladder_is_found_again(exact):
    assert exact.cross_validation_error_eV < 1e-5
    larger = enumerated("fcc", 6)[-40:]
    np.testing.assert_allclose(exact.predict_eV(larger), exact_energies(larger), atol=2e-5)
    hamiltonian = exact.hamiltonian(conventional("fcc", 2))
    assert float(hamiltonian.energy_eV(np.ones(32))) == pytest.approx(exact_energies([primitive("fcc")])[0], abs=1e-12)


def test_pure_elements_are_met_exactly_whatever_the_noise(structures):
    energies = noisy(structures, 0.05)
    fitted = fit_cluster_expansion(primitive("fcc"), structures, energies)
    ends = is_pure(structures)
    pure = [atoms for atoms, end in zip(structures, ends, strict=True) if end]
    np.testing.assert_allclose(fitted.predict_eV(pure), energies[ends], atol=1e-12)


@pytest.fixture(scope="module")
def spaces(structures):
    decorations = [read_decoration(atoms, parent("fcc"), ELEMENTS) for atoms in structures]
    return [space.of(slice(2, None)) for space in ladder(parent("fcc"), ELEMENTS, decorations, 55)[1]]


def test_the_cross_validation_error_is_the_noise(spaces):
    """Also though the space and the prior are chosen by it; that of the fit is less."""
    rng = np.random.default_rng(0)
    exact = spaces[3].values @ np.array([0.12, -0.02, 0.01, 0.03])
    weights = np.ones(len(exact))
    unseen, fitted = [], []
    for _ in range(12):
        energies = exact + rng.normal(0, 0.01, len(exact))
        folds = make_folds(len(exact), 0)
        unseen.append(np.sqrt(np.mean(cross_validation_residuals(spaces, energies, weights, folds) ** 2)))
        best, fits = choose(spaces, energies, weights)
        fitted.append(np.sqrt(np.mean(fits[best].fit_residuals ** 2)))
    assert 0.0095 < np.mean(unseen) < 0.0117
    assert np.mean(fitted) < 0.97 * np.mean(unseen)


def test_left_out_residuals_are_those_of_fits_without_the_structure(spaces):
    """The closed form, against leaving each one out by hand at the same strength of the prior."""
    rng = np.random.default_rng(1)
    space, weights = spaces[4], rng.uniform(0.2, 1.0, len(spaces[4].values))
    energies = rng.normal(0, 0.02, len(weights))
    fit = ridge(space, energies, weights)
    # the strength that was chosen follows from the normal equations
    gradient = space.values.T @ (weights * fit.fit_residuals)
    strength = gradient @ (space.penalties * fit.parameters) / np.sum((space.penalties * fit.parameters) ** 2)
    for k in range(0, len(weights), 9):
        kept = np.arange(len(weights)) != k
        x, w = space.values[kept], weights[kept]
        normal = x.T @ (w[:, None] * x) + strength * np.diag(space.penalties)
        parameters = np.linalg.solve(normal, x.T @ (w * energies[kept]))
        assert fit.left_out_residuals[k] == pytest.approx(energies[k] - space.values[k] @ parameters, abs=1e-9)


def test_the_covariance_is_that_of_repeated_fits(spaces):
    rng = np.random.default_rng(2)
    space = spaces[3]
    exact = space.values @ np.array([0.12, -0.02, 0.01, 0.03])
    weights = np.ones(len(exact))
    fits = [ridge(space, exact + rng.normal(0, 0.005, len(exact)), weights) for _ in range(200)]
    seen = np.std([fit.parameters for fit in fits], axis=0)
    claimed = 0.005 * np.sqrt(np.mean([np.diag(fit.covariance) for fit in fits], axis=0))
    assert (claimed > 0.9 * seen).all()
    assert (claimed < 1.3 * seen).all()


def test_the_gate_compares_the_error_with_the_ordering_energy(structures, exact):
    passed = exact.trustworthy()
    assert passed.name == TRUSTWORTHY
    assert passed.passed
    depth = exact.ordering_energy_eV
    fitted = fit_cluster_expansion(primitive("fcc"), structures, noisy(structures, 0.6 * depth))
    refused = fitted.trustworthy()
    assert not refused.passed
    assert f"{1e3 * fitted.cross_validation_error_eV:.2g} meV/atom" in refused.detail
    assert f"{1e3 * fitted.ordering_energy_eV:.2g} meV/atom" in refused.detail
    assert "no transition temperature" in refused.detail
    assert fitted.error_ratio > MAX_ERROR_RATIO > exact.error_ratio
    assert fitted.trustworthy(max_ratio=10.0).passed


def test_the_ordering_energy_of_nearest_neighbours_on_bcc():
    """B2 has all eight bonds unlike, the random alloy half of them: 4 J per site."""
    structures = enumerated("bcc", 4)
    pairs = np.array([cluster_space("bcc", (2.9,)).get_cluster_vector(atoms)[2] for atoms in structures])
    fitted = fit_cluster_expansion(primitive("bcc"), structures, 4 * 0.01 * (pairs - 1))
    assert fitted.ordering_energy_eV == pytest.approx(0.04, rel=1e-4)
    assert fitted.ordering_fractions == (0.5, 0.5)
    assert fitted.ground_states_reproduced().passed
    names = {state.name for state in fitted.ground_states}
    assert {"Au", "Cu", "AuCu"} <= names


def test_the_random_alloy_has_independent_sites(exact):
    """Pairs go as the square, triplets as the cube of 1 - 2x; the sign of a point function is icet's own affair."""
    x = np.linspace(0, 1, 7)
    point = 1 - 2 * x
    found = exact.random_alloy_eV(np.stack([1 - x, x], axis=1))
    both = []
    for sign in (1, -1):
        s = sign * point
        both.append(PARAMETERS[0] + PARAMETERS[1] * s + (PARAMETERS[2] + PARAMETERS[3]) * s**2 + PARAMETERS[4] * s**3)
    assert min(np.abs(found - expected).max() for expected in both) < 1e-4


def test_structures_that_left_the_lattice_do_not_count(structures, exact):
    energies = exact_energies(structures)
    intact = np.ones(len(structures), dtype=bool)
    intact[[5, 17, 30]] = False
    energies[~intact] = [9.0, np.nan, -7.0]
    fitted = fit_cluster_expansion(primitive("fcc"), structures, energies, intact=intact)
    assert len(fitted.energies_eV) == len(structures) - 3
    np.testing.assert_allclose(fitted.predict_eV(structures), exact_energies(structures), atol=2e-5)


def test_json_brings_it_back_without_a_fit(exact, structures):
    text = json.dumps(exact.to_dict())
    again = ClusterExpansion.from_dict(json.loads(text))
    np.testing.assert_array_equal(again.predict_eV(structures[:9]), exact.predict_eV(structures[:9]))
    assert again.to_dict() == exact.to_dict()
    assert again.ground_states == exact.ground_states
    assert again.trustworthy() == exact.trustworthy()
    assert len(text) < 200_000


def test_order_of_structures_and_energies_of_the_elements_do_not_matter():
    """What is linear in the composition changes the constant and the points only."""
    structures = enumerated("fcc", 4)
    energies, seed, shift, tilt = noisy(structures, 0.004), 3, 0.13, -0.2
    one = fit_cluster_expansion(primitive("fcc"), structures, energies)
    x = np.array([atoms.get_chemical_symbols().count("Cu") / len(atoms) for atoms in structures])
    order = np.random.default_rng(seed).permutation(len(structures))
    other = fit_cluster_expansion(
        primitive("fcc"), [structures[k] for k in order], (energies + shift + tilt * x)[order]
    )
    np.testing.assert_allclose(other.parameters_eV[2:], one.parameters_eV[2:], atol=1e-9)
    assert other.leave_one_out_error_eV == pytest.approx(one.leave_one_out_error_eV, rel=1e-6)


def test_three_elements():
    elements = ("Au", "Cu", "Pd")
    structures = enumerated("fcc", 4, elements)
    space = cluster_space("fcc", (4.0, 2.8), elements)
    parameters = np.random.default_rng(3).normal(0, 0.03, len(space))
    energies = np.array([space.get_cluster_vector(atoms) for atoms in structures]) @ parameters
    fitted = fit_cluster_expansion(primitive("fcc"), structures, energies)
    assert fitted.elements == elements
    assert fitted.cross_validation_error_eV < 2e-4
    larger = [atoms.repeat((2, 1, 1)) for atoms in structures[-5:]]
    for atoms in larger:
        atoms.symbols[0] = "Pd"
    expected = np.array([space.get_cluster_vector(atoms) for atoms in larger]) @ parameters
    np.testing.assert_allclose(fitted.predict_eV(larger), expected, atol=2e-3)
    mixture = np.array([[1 / 3, 1 / 3, 1 / 3]])
    rng = np.random.default_rng(0)
    hamiltonian = fitted.hamiltonian(conventional("fcc", 5))
    sampled = hamiltonian.energy_eV(rng.integers(0, 3, (60, 500)))
    assert abs(fitted.random_alloy_eV(mixture)[0] - sampled.mean()) < 5 * sampled.std() / np.sqrt(60)


def test_bad_input_is_refused_with_a_remedy(structures):
    cell, energies = primitive("fcc"), exact_energies(structures)
    keep = [k for k, atoms in enumerate(structures) if set(atoms.get_chemical_symbols()) != {"Au"}]
    with pytest.raises(InvalidInputError, match="no pure Au"):
        fit_cluster_expansion(cell, [structures[k] for k in keep], energies[keep])
    with pytest.raises(InvalidInputError, match="as many energies"):
        fit_cluster_expansion(cell, structures, energies[:-1])
    with pytest.raises(InvalidInputError, match="not finite"):
        fit_cluster_expansion(cell, structures, np.where(np.arange(len(energies)) == 9, np.nan, energies))
    with pytest.raises(InvalidInputError, match="two or three elements"):
        fit_cluster_expansion(cell, [primitive("fcc")] * 8, np.zeros(8))
    with pytest.raises(InvalidInputError, match="at least 4"):
        fit_cluster_expansion(cell, structures[:4], energies[:4])
    with pytest.raises(InvalidInputError, match="primitive cell"):
        fit_cluster_expansion(ordered("L1_2"), structures, energies)
