"""One entry to selection: what is chosen, what is left out, and why there are fewer."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.perturb import rattle, volume_scan, with_vacancies
from mlip_autopipe.potentials.dataset import Configuration
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.polymlp_features import FeatureSet
from mlip_autopipe.selection.embedding import embed
from mlip_autopipe.selection.select import label_rows, select_configurations
from tests.potentials.helpers import emt_set

FEATURES = FeatureSet("angular-4.2", "gtinv", 3, 2, 5, (4, 2))


@pytest.fixture(scope="module")
def potential():
    trained = PolymlpPotential(features=FEATURES)
    trained.fit(emt_set(6, 0))
    return trained


@pytest.fixture(scope="module")
def pool():
    return [one.atoms for one in emt_set(16, 5)]


def test_rows_are_derivatives_of_the_prediction_over_the_noise(potential):
    atoms = rattle(bulk("Ni", cubic=True, a=3.5), 0.1, 0)
    rows = label_rows(potential, atoms)
    posterior = potential.posterior
    assert rows.shape == (1 + 12 + 6, len(posterior.mean))
    # the ZBL baseline is nil at these distances, so that predictions are linear in the coefficients
    step = 1e-3 * np.random.default_rng(0).normal(size=len(posterior.mean)) * np.abs(posterior.mean).max()
    before, after = (potential._with(posterior.mean + k * step).predict(atoms) for k in (0, 1))
    noise = posterior.noise
    change = np.concatenate(
        [
            [(after.energy_eV - before.energy_eV) / 4 / noise["energy"]],
            (after.forces_eV_per_A - before.forces_eV_per_A).ravel() / noise["force"],
            (after.stress_eV_per_A3 - before.stress_eV_per_A3) / noise["stress"],
        ]
    )
    assert np.allclose(rows @ step, change, rtol=1e-6, atol=1e-6 * np.abs(change).max())
    # the leverage of the force rows is what the potential calls its uncertainty
    spread = np.sum((rows[1:13] @ posterior.factor) ** 2, axis=1).reshape(4, 3).mean(axis=1)
    assert np.allclose(noise["force"] * np.sqrt(spread + 1), potential.raw_force_std(atoms))


def test_masked_numbers_have_no_rows(potential):
    atoms = bulk("Ni", cubic=True, a=3.5)
    masked = Configuration(atoms, force_weights=np.array([1.0, 0, 0, 0]), energy_weight=0.0, stress_weight=0.25)
    rows, full = label_rows(potential, masked), label_rows(potential, atoms)
    assert np.allclose(rows[:3], full[1:4])
    assert np.allclose(rows[3:], 0.5 * full[13:])
    nothing = Configuration(atoms, force_weights=np.zeros(4), energy_weight=0.0, stress_weight=0.0)
    assert label_rows(potential, nothing).shape == (0, full.shape[1])


def test_d_optimal_choice_for_a_linear_potential(potential, pool):
    found = select_configurations(pool, 5, potential=potential)
    assert found.method == "d_optimal"
    assert len(set(found.indices)) == 5
    assert found.shortfall is None
    assert found.scores == tuple(sorted(found.scores, reverse=True))
    # each step by brute force
    factor = potential.posterior.factor
    rows_of = [label_rows(potential, atoms) @ factor for atoms in pool]
    information = np.eye(factor.shape[1])
    for chosen, score in zip(found.indices, found.scores, strict=True):
        gains = []
        for rows in rows_of:
            gains.append(0.5 * np.linalg.slogdet(information + rows.T @ rows)[1])
        gains = np.array(gains) - 0.5 * np.linalg.slogdet(information)[1]
        others = [g for i, g in enumerate(gains) if i not in found.indices[: found.indices.index(chosen)]]
        assert gains[chosen] == pytest.approx(score)
        assert gains[chosen] == pytest.approx(max(others))
        information = information + rows_of[chosen].T @ rows_of[chosen]


def test_the_unusual_is_chosen_from_the_usual(potential):
    usual = [rattle(bulk("Ni", cubic=True, a=3.5), 0.05, s) for s in range(10)]
    large = bulk("Ni", cubic=True, a=3.5).repeat((2, 1, 1))
    unusual = [
        with_vacancies(large, 2, 0),
        volume_scan(bulk("Ni", cubic=True, a=3.5), [1.35])[0],
        rattle(bulk("Ni", "bcc", cubic=True, a=2.8), 0.1, 0),
    ]
    for method in ("d_optimal", "farthest_point"):
        found = select_configurations([*usual, *unusual], 3, potential=potential, trained=usual[:1], method=method)
        assert set(found.indices) == {10, 11, 12}


def test_copies_are_left_out(potential, pool):
    copies = [pool[1].copy(), rattle(pool[1], 0.002, 0), pool[3].copy()]
    copies[0].translate([1, 2, 3])
    for kwargs in ({"potential": potential}, {}):
        found = select_configurations([*pool[:4], *copies], 10, trained=[pool[0]], **kwargs)
        assert found.duplicates == (0, 4, 5, 6)
        assert set(found.indices) <= {1, 2, 3}
        assert "4 of them copies" in found.shortfall


def test_nothing_is_chosen_when_the_potential_knows_all(potential):
    known = [one.atoms for one in emt_set(6, 0)]
    learnt = PolymlpPotential(features=FEATURES)
    learnt.fit(emt_set(40, 0))
    near = [rattle(atoms, 0.03, 0) for atoms in known]
    found = select_configurations(near, 6, potential=learnt)
    assert len(found.indices) < 6
    assert "within its noise" in found.shortfall


def test_pending_structures_count_as_known(potential, pool):
    first = select_configurations(pool, 3, potential=potential)
    rest = select_configurations(pool, 2, potential=potential, pending=[pool[i] for i in first.indices])
    assert rest.indices == select_configurations(pool, 5, potential=potential).indices[3:]
    far = select_configurations(pool, 3)
    more = select_configurations(pool, 2, pending=[pool[i] for i in far.indices])
    assert more.indices == select_configurations(pool, 5).indices[3:]


def test_farthest_points_without_a_linear_potential(pool):
    found = select_configurations(pool, 4)
    assert found.method == "farthest_point"
    assert found.scores[0] == float("inf")
    assert select_configurations(pool, 4, potential=PolymlpPotential()).indices == found.indices
    ladder = volume_scan(bulk("Ni"), np.linspace(0.8, 1.2, 9))
    ends = select_configurations(ladder, 2, trained=[ladder[4]])
    assert set(ends.indices) == {0, 8}
    assert select_configurations(pool, 4, potential=None, trained=pool).indices == ()


def test_unknown_elements_need_farthest_points(potential):
    alloy = volume_scan(bulk("Cu"), [0.9, 1.0, 1.1])
    assert select_configurations(alloy, 2, potential=potential).method == "farthest_point"
    with pytest.raises(InvalidInputError, match="farthest_point"):
        select_configurations(alloy, 2, potential=potential, method="d_optimal")
    with pytest.raises(InvalidInputError, match="negative"):
        select_configurations(alloy, -1)


def test_embedded_cells_bring_their_mask(potential):
    large = rattle(bulk("Ni", cubic=True, a=3.5).repeat(4), 0.15, 0)
    cells = [embed(large, centre, core_radius_A=0.0, buffer_A=4.0) for centre in (0, 100, 200)]
    found = select_configurations(cells, 2, potential=potential)
    assert len(found.indices) == 2
    assert len(label_rows(potential, cells[0])) == 3 + 1 + 6


def test_no_candidates(potential):
    for kwargs in ({}, {"potential": potential}):
        found = select_configurations([], 3, **kwargs)
        assert found.indices == ()
        assert found.shortfall == "0 of 3 structures chosen from 0 candidates"
