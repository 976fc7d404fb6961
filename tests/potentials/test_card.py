from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from ase import Atoms

from mlip_autopipe.potentials.base import Prediction
from mlip_autopipe.potentials.calibration import Calibration
from mlip_autopipe.potentials.card import build_model_card, calibration_summary, leave_one_out_coverage
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.schemas.label import ReferenceLabel
from mlip_autopipe.schemas.model_card import MAX_LABEL_IDS, ModelCard
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT

CREATED = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
SHA = "a" * 64


def card(training: TrainingSet, potential: ShiftedEMT | None = None, **more: object) -> ModelCard:
    return build_model_card(potential or ShiftedEMT(), training, potential_sha256=SHA, created=CREATED, **more)


def label(name: str, settings: str) -> ReferenceLabel:
    return ReferenceLabel(
        label_id=name,
        settings_hash=settings,
        engine="ase",
        engine_version="3",
        state="done",
        structure={},
        wall_time_s=1,
        core_time_s=2,
    )


def test_it_says_what_the_potential_is_and_what_it_was_trained_on() -> None:
    one, two, three = emt_set(3, 0)
    masked = replace(one, force_weights=np.array([0.0, 1, 1, 1]), energy_weight=0.0)
    found = card(
        TrainingSet.of([masked, two]),
        held_out=TrainingSet.of([three]),
        labels=[label("x", "s"), label("y", "s")],
        temperature_K=(300, 900),
        seeds={"split": 7},
        run_id="ni-1",
    )
    assert (found.backend, found.model, found.parameters, found.cutoff_A) == ("shifted", "toy", 3, 5.0)
    assert found.elements == ["Ni"]
    data = found.training
    assert (data.configurations, data.atoms, data.energies, data.stresses) == (2, 36, 1, 2)
    assert (data.force_components, data.masked_atoms) == (3 * 35, 1)
    assert data.label_ids == ["0-0", "0-1"]
    assert data.label_ids_sha256 == hashlib.sha256(b"0-0\n0-1").hexdigest()
    assert found.held_out.label_ids == ["0-2"]
    assert found.reference.settings_hashes == ["s"]
    assert found.reference.engines == ["ase 3"]
    assert found.reference.core_time_s == 4
    assert found.errors_training.energy_meV_per_atom.count == 1
    assert found.errors_held_out.energy_meV_per_atom.rmse == pytest.approx(2)
    assert found.validity.temperature_K == (300, 900)
    assert found.state == "done"
    assert found.versions["numpy"] == np.__version__
    assert found.run_id == "ni-1"


def test_the_same_arguments_give_the_same_card_and_it_survives_json() -> None:
    training = emt_set(2, 1)
    found = card(training)
    assert found == card(training)
    assert ModelCard.model_validate_json(found.model_dump_json()) == found


class Silent(ShiftedEMT):
    def predict(self, atoms: Atoms) -> Prediction:
        return Prediction(0.0, np.zeros((len(atoms), 3)), np.zeros(6))


def test_a_card_stays_small() -> None:
    one = emt_set(1, 2).configurations[0]
    for count in (MAX_LABEL_IDS, MAX_LABEL_IDS + 1):
        ids = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(count)]
        data = TrainingSet.of(replace(one, label_id=name) for name in ids)
        found = card(data, Silent(), held_out=data)
        assert len(found.model_dump_json()) < 200_000
        assert len(found.training.label_ids) == (count if count <= MAX_LABEL_IDS else 0)
        assert found.training.label_ids_sha256 is not None


def test_calibration_is_summarised_over_labels_that_came_after_it_was_ready() -> None:
    potential = ShiftedEMT()
    for k, one in enumerate(emt_set(12, 3)):
        more = 0.2 if k < 10 else 0.1
        potential.observe(replace(one, forces_eV_per_A=one.forces_eV_per_A - np.array([0, 0, more])))
        found = calibration_summary(potential)
        assert found.labels == k + 1
        assert found.ready == (k >= 9)
    assert found.coverage_labels == 2
    assert found.coverage == 1.0  # errors of 0.11 eV/A, after ten labels with 0.21
    assert found.factor == pytest.approx(np.hypot(0.05, 0.2) / 0.02 / 2.500278)


def warnings(training: TrainingSet, **more: object) -> str:
    return " | ".join(card(training, **more).warnings)


def test_what_the_numbers_say_is_warned_of() -> None:
    training = emt_set(2, 4)
    bare = TrainingSet.of(replace(one, energy_weight=0.0, stress_eV_per_A3=None) for one in training)
    found = warnings(bare)
    for part in ("no energies", "no stresses", "held out", "reference settings", "0 fresh labels"):
        assert part in found
    assert "2 different reference settings" in warnings(training, labels=[label("x", "s"), label("y", "t")])
    wrong = TrainingSet.of(replace(one, forces_eV_per_A=one.forces_eV_per_A + 1) for one in training)
    assert "more data would help" in warnings(training, held_out=wrong)
    assert "more data would help" not in warnings(training, held_out=training)
    assert "mine" in warnings(training, warnings=["mine"])


def with_ratios(*ratios: float) -> Calibration:
    calibration = Calibration()
    for ratio in ratios:
        calibration = calibration.observed(np.full(4, ratio), np.ones(4))
    return calibration


def test_an_interval_that_does_not_hold_is_warned_of() -> None:
    potential = ShiftedEMT()
    potential.calibration = with_ratios(*[1.0] * 10, *[10.0**k for k in range(1, 6)])
    assert "held for only 0% of the atoms of 5 fresh labels" in warnings(emt_set(2, 7), potential=potential)
    potential.calibration = with_ratios(*[1.0] * 10, 10.0)
    assert "held for only" not in warnings(emt_set(2, 7), potential=potential), "one label proves nothing"


def test_leave_one_out_coverage_uses_every_label() -> None:
    assert leave_one_out_coverage(with_ratios(*[1.0] * 9)) == (None, 0)
    assert leave_one_out_coverage(with_ratios(*np.linspace(1, 2, 20))) == (pytest.approx(18 / 20), 20)
    assert leave_one_out_coverage(with_ratios(*[3.0] * 12)) == (1.0, 12)


def test_leave_one_out_coverage_of_exchangeable_labels_is_not_below_the_nominal_one() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        calibration = Calibration()
        for scale in rng.uniform(0.5, 2, 20):
            calibration = calibration.observed(scale * rng.chisquare(3, 16) ** 0.5, np.ones(16))
        found.append(leave_one_out_coverage(calibration)[0])
    # the interval of 19 labels is made for the quantile of 0.9 (1 + 1/19), which is what exchangeable atoms see of it
    assert np.mean(found) == pytest.approx(0.9 * (1 + 1 / 19), abs=0.015)


def test_a_failed_potential_says_why() -> None:
    found = card(emt_set(1, 8), failure="the force error is too large")
    assert (found.state, found.failure) == ("failed", "the force error is too large")


def test_the_default_potential() -> None:
    potential = PolymlpPotential(largest=40)
    training, held_out = emt_set(6, 9), emt_set(3, 10)
    report = potential.fit(training)
    found = build_model_card(
        potential, training, potential_sha256=potential.save().sha256, created=CREATED, held_out=held_out
    )
    assert found.model == report.model
    assert found.parameters == report.parameters
    assert found.cutoff_A == 6.0
    assert found.settings["zbl"] == {"inner": 0.3, "outer": 0.65}
    assert found.errors_training.force_meV_per_A.rmse == pytest.approx(1e3 * report.rmse["force"], rel=1e-3)
    assert found.errors_training.energy_meV_per_atom.rmse == pytest.approx(1e3 * report.rmse["energy"], rel=1e-2)
    assert found.errors_held_out.force_meV_per_A.rmse > 0
