"""One training: judged by what is fresh, calibrated by it, and only then taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.learning.training import Labelled, judge, learn
from mlip_autopipe.potentials.base import FitReport
from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.schemas.otf import Origin, UsedLabel
from tests.learning.tiny import tiny_settings
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT

FORCE_ERROR = 0.05
"""Length of the toy's error on every atom, eV/A: (0.03, 0.04, 0)."""


class Diary(ShiftedEMT):
    """Notes in which order it is asked to do what."""

    def __init__(self, reselect: bool = False, raw_std: float = 0.021) -> None:
        super().__init__(raw_std=raw_std)
        self.notes: list[tuple[str, Any]] = []
        self.reselect = reselect

    def predict_with_uncertainty(self, atoms: Any) -> Any:
        self.notes.append(("judged", len(atoms)))
        return super().predict_with_uncertainty(atoms)

    def observe(self, fresh: Configuration, *, generation: int | None = None) -> float | None:
        self.notes.append(("observed", (fresh.label_id, generation)))
        return super().observe(fresh, generation=generation)

    def add(self, configurations: Sequence[Configuration]) -> FitReport:
        self.notes.append(("added", [one.label_id for one in configurations]))
        return FitReport("toy", "toy", 3, len(configurations), 0.0, {}, reselect=self.reselect)

    def fit(self, training: TrainingSet) -> FitReport:
        self.notes.append(("fitted", [one.label_id for one in training]))
        self.calibration = type(self.calibration)()
        return FitReport("toy", "chosen again", 3, len(training), 0.0, {})


def labels(*origins: Origin) -> list[Labelled]:
    configurations = emt_set(len(origins), 0)
    return [
        Labelled(UsedLabel(label_id=str(one.label_id), generation=1, origin=origin, temperature_K=300.0), one)
        for one, origin in zip(configurations, origins, strict=True)
    ]


def never() -> Sequence[Labelled]:
    raise AssertionError("all labels were read although the model stays")


def test_the_first_training_chooses_a_model_from_everything_and_judges_nothing():
    seeds = labels("seed", "seed", "seed", "seed")
    lesson = learn(None, tiny_settings(), seeds, lambda: seeds, 1)
    assert lesson.potential.name == "polymlp"
    assert lesson.report.configurations == 4
    assert lesson.fresh == []
    assert lesson.potential.calibration.coverage == []


def test_fresh_labels_are_judged_and_observed_before_any_is_learned():
    new = labels("audit", "property", "trigger", "seed", "guard")
    potential = Diary()
    lesson = learn(potential, tiny_settings(), new, never, 7)
    names = [one.used.label_id for one in new]
    assert [what for what, _ in potential.notes] == ["judged", "observed"] * 3 + ["added"]
    assert [note for what, note in potential.notes if what == "observed"] == [(names[k], 7) for k in (0, 2, 4)]
    assert potential.notes[-1] == ("added", names)
    assert [one.label_id for one in lesson.fresh] == [names[k] for k in (0, 2, 4)]
    assert len(potential.calibration.coverage) == 3


def test_labels_of_a_round_are_judged_one_after_the_other_by_what_those_before_said():
    potential = Diary(raw_std=0.001)
    lesson = learn(potential, tiny_settings(), labels(*["audit"] * 3), never, 1)
    stated = [one.predicted_rms_eV_per_A for one in lesson.fresh]
    assert stated[0] == pytest.approx(0.001)
    # the toy is wrong by the same length everywhere: one label says all
    assert stated[1:] == pytest.approx([FORCE_ERROR / GAUSSIAN_RATIO] * 2)
    assert lesson.fresh[0].covered_fraction == 0.0


def test_the_model_is_chosen_again_from_everything_and_calibration_outlives_it():
    new, everything = labels("audit"), labels("seed", "seed", "audit")
    potential = Diary(reselect=True)
    lesson = learn(potential, tiny_settings(), new, lambda: everything, 3)
    assert [what for what, _ in potential.notes] == ["judged", "observed", "added", "fitted"]
    assert potential.notes[-1] == ("fitted", [one.used.label_id for one in everything])
    assert lesson.report.model == "chosen again"
    assert len(lesson.potential.calibration.coverage) == 1


class TestJudgement:
    def label(self, weights: Sequence[float] | None = None, energy_weight: float = 1.0) -> Labelled:
        (one,) = emt_set(1, 1)
        return Labelled(
            UsedLabel(label_id="a", generation=1, origin="audit", temperature_K=600.0),
            Configuration(
                one.atoms,
                one.energy_eV,
                one.forces_eV_per_A,
                one.stress_eV_per_A3,
                force_weights=np.ones(len(one.atoms)) if weights is None else np.array(weights),
                energy_weight=energy_weight,
            ),
        )

    def test_its_numbers(self):
        found = judge(ShiftedEMT(raw_std=0.021), self.label())
        assert found.force_rmse_eV_per_A == pytest.approx(FORCE_ERROR / np.sqrt(3))
        assert found.force_max_eV_per_A == pytest.approx(FORCE_ERROR)
        assert found.predicted_rms_eV_per_A == pytest.approx(0.021)
        assert found.energy_error_eV_per_atom == pytest.approx(0.002)
        assert (found.atoms, found.origin, found.temperature_K) == (4, "audit", 600.0)

    # 90 % of the lengths of three-dimensional Gaussian errors stay below 2.50 standard deviations of a component
    @pytest.mark.parametrize(("raw_std", "covered"), [(0.0201, 1.0), (0.0199, 0.0)])
    def test_what_counts_as_covered(self, raw_std, covered):
        assert judge(ShiftedEMT(raw_std=raw_std), self.label()).covered_fraction == covered

    def test_masked_atoms_do_not_count(self):
        class Wild(ShiftedEMT):
            def predict(self, atoms: Any) -> Any:
                found = super().predict(atoms)
                found.forces_eV_per_A[0] += 100.0
                return found

        assert judge(Wild(), self.label([0, 1, 1, 1])).force_max_eV_per_A == pytest.approx(FORCE_ERROR)
        assert judge(Wild(), self.label([0, 1, 1, 1])).atoms == 3
        assert judge(Wild(), self.label([1, 1, 1, 1])).force_max_eV_per_A > 100

    def test_an_energy_that_is_not_trained_on_is_not_judged(self):
        assert judge(ShiftedEMT(), self.label(energy_weight=0.0)).energy_error_eV_per_atom is None
