from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError, TrainingError
from mlip_autopipe.potentials.polymlp_features import FeatureSet, feature_ladder, feature_rows
from mlip_autopipe.potentials.registry import load_potential, make_potential
from tests.potentials.helpers import emt_set, numerical_forces, numerical_stress, strained

pytest.importorskip("pypolymlp")
from mlip_autopipe.potentials.polymlp import PolymlpPotential

SMALL = FeatureSet("angular-4.2", "gtinv", 3, 2, 5, (4, 2))


@pytest.fixture(scope="module")
def nickel() -> PolymlpPotential:
    potential = PolymlpPotential()
    potential.fit(emt_set(20, 1))
    return potential


@pytest.fixture(scope="module")
def alloy() -> PolymlpPotential:
    potential = PolymlpPotential(largest=300)
    potential.fit(emt_set(14, 1, ("Cu", "Au"), 3.85))
    return potential


def force_rmse(potential: Potential, held_out: TrainingSet) -> float:
    errors = [potential.predict(c.atoms).forces_eV_per_A - c.forces_eV_per_A for c in held_out]
    return float(np.sqrt(np.concatenate([e.ravel() ** 2 for e in errors]).mean()))


def test_learns_nickel_from_twenty_labels(nickel: PolymlpPotential) -> None:
    held_out = emt_set(10, 77)
    assert force_rmse(nickel, held_out) < 0.012
    errors = [(nickel.predict(c.atoms).energy_eV - c.energy_eV) / len(c.atoms) for c in held_out]
    assert np.abs(errors).max() < 2e-3
    for one in held_out:
        assert np.allclose(nickel.predict(one.atoms).stress_eV_per_A3, one.stress_eV_per_A3, atol=3e-3)


@pytest.mark.parametrize("kind", ["nickel", "alloy"])
def test_forces_and_stress_are_derivatives_of_the_energy(kind: str, request: pytest.FixtureRequest) -> None:
    potential = request.getfixturevalue(kind)
    rng = np.random.default_rng(4)
    elements, lattice = (("Ni",), 3.49) if kind == "nickel" else (("Cu", "Au"), 3.85)
    atoms = strained(rng, elements, lattice, 1)
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.8, 0.3]  # the baseline acts, too
    calculator = potential.calculator()

    def energy(one: Atoms) -> float:
        return float(potential.predict(one).energy_eV)

    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.allclose(forces, numerical_forces(energy, atoms), atol=2e-4 * np.abs(forces).max())
    assert np.allclose(stress, numerical_stress(energy, atoms), atol=2e-4 * np.abs(stress).max())
    assert len(set(np.round(np.abs(stress), 6))) == 6, "six different components tell a wrong order"


def test_adding_labels_equals_a_fit_to_all() -> None:
    everything = emt_set(16, 2)
    whole = PolymlpPotential(features=SMALL)
    whole.fit(everything)
    grown = PolymlpPotential(features=SMALL)
    grown.fit(TrainingSet(everything.configurations[:10]))
    for one in everything.configurations[10:]:
        report = grown.add([one])
    assert report.reselect
    assert report.configurations == 16
    for one in emt_set(4, 5):
        first, second = whole.predict(one.atoms), grown.predict(one.atoms)
        assert np.abs(first.forces_eV_per_A - second.forces_eV_per_A).max() < 1e-8
        assert np.abs(first.stress_eV_per_A3 - second.stress_eV_per_A3).max() < 1e-8
        assert abs(first.energy_eV - second.energy_eV) / len(one.atoms) < 1e-8
        assert np.allclose(whole.raw_force_std(one.atoms), grown.raw_force_std(one.atoms), rtol=1e-6)


def test_adding_after_loading(nickel: PolymlpPotential) -> None:
    again = PolymlpPotential.load(nickel.save().data)
    more = emt_set(1, 9).configurations
    again.add(more)
    direct = PolymlpPotential(features=nickel._require().features)
    direct.fit(emt_set(20, 1) + more)
    atoms = emt_set(2, 10).configurations[1].atoms
    assert np.abs(again.predict(atoms).forces_eV_per_A - direct.predict(atoms).forces_eV_per_A).max() < 1e-8


def test_evidence_chooses_the_feature_set() -> None:
    few, many = PolymlpPotential(), PolymlpPotential()
    small, large = few.fit(emt_set(6, 3)), many.fit(emt_set(20, 3))
    for report in (small, large):
        best = max(report.candidates, key=lambda c: c["log_evidence"])
        assert report.model == best["name"]
        assert report.log_evidence == best["log_evidence"]
        assert report.parameters < 500, "a thousand features need more labels"
    assert force_rmse(many, emt_set(6, 4)) < force_rmse(few, emt_set(6, 4))
    sizes = [size for _, size in feature_ladder(("Ni",), cutoff_A=6.0, largest=1400)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 30
    assert sizes[-1] > 1000


def test_masked_forces_are_not_learned() -> None:
    training = emt_set(8, 6)
    spoiled = []
    for one in training:
        weights = np.ones(len(one.atoms))
        weights[0] = 0
        forces = one.forces_eV_per_A.copy()
        clean = Configuration(one.atoms, one.energy_eV, forces.copy(), one.stress_eV_per_A3, weights)
        forces[0] = 1e3
        spoiled.append((clean, Configuration(one.atoms, one.energy_eV, forces, one.stress_eV_per_A3, weights)))
    first, second = PolymlpPotential(features=SMALL), PolymlpPotential(features=SMALL)
    first.fit(TrainingSet.of(pair[0] for pair in spoiled))
    second.fit(TrainingSet.of(pair[1] for pair in spoiled))
    assert np.array_equal(first.posterior.mean, second.posterior.mean)


def test_uncertainty_ranks_errors_and_draws_agree_with_the_posterior(nickel: PolymlpPotential) -> None:
    rng = np.random.default_rng(8)
    close = strained(rng, ("Ni",), 3.49, 2)
    far = strained(rng, ("Ni",), 4.3, 2)
    assert nickel.force_std(far).min() > 3 * nickel.force_std(close).max()
    found = nickel.predict_with_uncertainty(far)
    assert found.force_std_eV_per_A.shape == (32,)
    nickel.uncertainty = "draws"
    try:
        drawn = nickel.raw_force_std(far)
    finally:
        nickel.uncertainty = "posterior"
    ratio = drawn / nickel.raw_force_std(far)
    assert 0.4 < np.median(ratio) < 2.2


def test_draws_are_force_fields_around_the_mean(nickel: PolymlpPotential) -> None:
    (one,) = emt_set(1, 11)
    samples = nickel.draw(4, seed=3)
    energies = np.array([s.predict(one.atoms).energy_eV for s in samples])
    assert energies.std() > 0
    assert np.abs(energies - nickel.predict(one.atoms).energy_eV).max() < 0.1
    repeated = nickel.draw(4, seed=3)
    assert [s.predict(one.atoms).energy_eV for s in repeated] == list(energies)
    atoms = one.atoms.copy()
    atoms.calc = samples[0].calculator()
    assert atoms.get_stress().shape == (6,)


def test_energies_of_draws_need_no_draw(nickel: PolymlpPotential) -> None:
    structures = [bulk("Ni", "fcc", a=3.5, cubic=True), bulk("Ni", "bcc", a=2.8), bulk("Ni", "fcc", a=3.6) * (2, 1, 1)]
    structures[0].rattle(0.1, seed=1)
    fast = nickel.draw_energies(structures, 5, seed=3)
    slow = Potential.draw_energies(nickel, structures, 5, seed=3)
    assert fast.shape == (5, 3)
    np.testing.assert_allclose(fast, slow, atol=1e-8)
    assert np.abs(fast).max() > 1e-4


def test_draws_know_what_so_few_features_cannot_describe() -> None:
    # nine polynomials of two Gaussians cannot follow nickel: the posterior is sure of the wrong thing
    coarse = FeatureSet("coarse", "pair", 2, 2, 2)
    labels = emt_set(12, 3)
    potential = PolymlpPotential(features=coarse)
    potential.fit(TrainingSet.of(labels.configurations[:8]))
    potential.add(labels.configurations[8:])
    trained, fresh = potential.posterior, emt_set(12, 4)
    energies = np.array([[s.predict(one.atoms).energy_eV for one in fresh] for s in potential.draw(16, seed=0)])
    means = np.array([potential.predict(one.atoms).energy_eV for one in fresh])
    truths = np.array([one.energy_eV for one in fresh])
    stated = np.sqrt(((energies - means) ** 2).mean(axis=0))
    alone = [
        trained.std(np.concatenate([x.energy, [len(one.atoms)]])[None])[0]
        for one, x in zip(fresh, feature_rows(coarse, ("Ni",), [one.atoms for one in fresh]), strict=True)
    ]
    posterior, samples = (np.sqrt((((means - truths) / std) ** 2).mean()) for std in (np.array(alone), stated))
    # measured: 6.1 and 3.5; what no coefficients can describe at the very cell is not in their spread
    assert samples < 0.7 * posterior
    again = load_potential(potential.save().data)
    assert [s.predict(fresh.configurations[0].atoms).energy_eV for s in again.draw(16, seed=0)] == list(energies[:, 0])


def test_observing_fresh_labels_calibrates() -> None:
    potential = PolymlpPotential(features=SMALL)
    potential.fit(emt_set(10, 12))
    for generation, one in enumerate(emt_set(24, 13)):
        covered = potential.observe(one, generation=generation)
        assert 0 <= covered <= 1
    assert potential.calibration.is_ready
    assert 0.75 < potential.calibration.covered_fraction() <= 1
    (one,) = emt_set(1, 14)
    expected = potential.calibration.factor * potential.raw_force_std(one.atoms)
    assert np.allclose(potential.force_std(one.atoms), expected)
    assert potential.observe(Configuration(one.atoms, 1.0)) is None
    again = load_potential(potential.save().data)
    assert again.calibration == potential.calibration


def test_blob_is_content_addressed_and_loads_to_the_same_bits(nickel: PolymlpPotential) -> None:
    blob = nickel.save()
    assert blob.sha256 == nickel.save().sha256
    again = load_potential(blob.data, sha256=blob.sha256)
    (one,) = emt_set(1, 15)
    first, second = nickel.predict_with_uncertainty(one.atoms), again.predict_with_uncertainty(one.atoms)
    assert first.energy_eV == second.energy_eV
    assert np.array_equal(first.forces_eV_per_A, second.forces_eV_per_A)
    assert np.array_equal(first.force_std_eV_per_A, second.force_std_eV_per_A)
    assert again.save().sha256 == blob.sha256
    with pytest.raises(PotentialFileError, match="sha256"):
        load_potential(blob.data, sha256="0" * 64)
    with pytest.raises(PotentialFileError):
        load_potential(blob.data[: len(blob.data) // 2])


def test_a_file_that_does_not_load_again_is_no_potential(
    nickel: PolymlpPotential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlip_autopipe.potentials.polymlp.pack", lambda *_: b"torn")
    with pytest.raises(TrainingError, match="does not load"):
        nickel.save()


def test_mistakes(nickel: PolymlpPotential) -> None:
    (gold,) = emt_set(1, 1, ("Au",), 4.08)
    with pytest.raises(PredictionError, match="knows Ni, not Au"):
        nickel.predict(gold.atoms)
    with pytest.raises(TrainingError, match="brings Au"):
        nickel.add([gold])
    untrained = make_potential("polymlp")
    with pytest.raises(PredictionError, match="not trained"):
        untrained.predict(gold.atoms)
    with pytest.raises(TrainingError, match="empty"):
        untrained.fit(TrainingSet(()))
    with pytest.raises(TrainingError, match="fit the potential first"):
        untrained.add([gold])


def test_isolated_atoms_and_molecules(nickel: PolymlpPotential) -> None:
    dimer = Atoms("Ni2", [[0, 0, 0], [0, 0, 0.8]])
    found = nickel.predict(dimer)
    assert np.array_equal(found.stress_eV_per_A3, np.zeros(6))
    assert found.forces_eV_per_A[1, 2] > 0, "the baseline pushes atoms apart"


def test_dataset_file_trains_the_same(tmp_path: Path) -> None:
    training = emt_set(6, 16)
    training.write_extxyz(tmp_path / "t.extxyz")
    first, second = PolymlpPotential(features=SMALL), PolymlpPotential(features=SMALL)
    first.fit(training)
    second.fit(TrainingSet.read_extxyz(tmp_path / "t.extxyz"))
    atoms = training.configurations[1].atoms
    assert np.allclose(first.predict(atoms).forces_eV_per_A, second.predict(atoms).forces_eV_per_A, atol=1e-4)
