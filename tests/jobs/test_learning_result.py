"""What the loop writes down at its end, and the comparison with labels taken at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.learning_result import Judgement, force_errors, generation_document, otf_document, samples
from mlip_autopipe.jobs.learning_run import LearningRun
from mlip_autopipe.learning.training import Labelled, Lesson
from mlip_autopipe.potentials.base import FitReport, ForceField, Prediction
from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO
from mlip_autopipe.potentials.dataset import Configuration
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.registry import load_potential
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.schemas.otf import AuditError, ForceErrors, LeftOut, UsedLabel
from tests.learning.tiny import RICH, finished, run, tiny_plan


@pytest.fixture
def potential():
    return load_potential(BlobStore(finished().store).get(finished().learned.potential_sha256))


def written(potential: Any, judged: Judgement | None, **state: Any) -> Any:
    """The document of the finished run, had its state or its judgement been another."""
    plan = finished().system
    return otf_document(finished().state.model_copy(update=state), plan.otf, potential, judged)


class TestRandomArm:
    def test_it_gets_as_many_labels_beyond_the_seeds_as_the_loop(self):
        found = finished().learned.labels_by_origin
        beyond_seeds = sum(n for origin, n in found.items() if origin not in ("seed", "random", "held_out"))
        assert found["random"] == beyond_seeds > 10

    def test_both_are_judged_on_the_same_labels_that_neither_has_seen(self, monkeypatch):
        learned_by: dict[int, list[str]] = {}
        fit, add = PolymlpPotential.fit, PolymlpPotential.add

        def spy(method: Any) -> Any:
            def wrapped(self: PolymlpPotential, data: Any) -> Any:
                names = learned_by.setdefault(id(self), [])
                names.extend(one.label_id for one in data)
                kept.append(self)  # or another may get its number
                return method(self, data)

            return wrapped

        kept: list[PolymlpPotential] = []
        monkeypatch.setattr(PolymlpPotential, "fit", spy(fit))
        monkeypatch.setattr(PolymlpPotential, "add", spy(add))
        ran = run(tiny_plan(**{**RICH, "control_arm": "random"}))
        by_origin: dict[str, set[str]] = {}
        for one in ran.state.used:
            by_origin.setdefault(one.origin, set()).add(one.label_id)
        held_out = by_origin.pop("held_out")
        assert len(held_out) == ran.learned.held_out.labels == ran.learned.control.labels == 2
        assert all(not held_out & set(names) for names in learned_by.values())
        control = [set(names) for names in learned_by.values() if by_origin["random"] & set(names)]
        assert control == [by_origin["seed"] | by_origin["random"]]
        active = set().union(*(set(names) for names in learned_by.values() if set(names) not in control))
        assert active == set().union(*(names for origin, names in by_origin.items() if origin != "random"))
        assert len(active) == len(control[0])

    def test_its_potential_is_stored_and_its_errors_are_those_that_are_said(self):
        ran = finished()
        loop = LearningRun(ran.store, ran.system.run_id)
        held_out = loop.labelled([one for one in ran.state.used if one.origin == "held_out"])
        for name, said in (
            (ran.learned.potential_sha256, ran.learned.held_out),
            (ran.learned.control_potential_sha256, ran.learned.control),
        ):
            found = force_errors(load_potential(BlobStore(ran.store).get(name)), held_out)
            assert found.force_rmse_eV_per_A == pytest.approx(said.force_rmse_eV_per_A, rel=1e-6)
        potential = load_potential(BlobStore(ran.store).get(ran.learned.potential_sha256))
        inside = [
            np.linalg.norm(potential.predict(one.atoms).forces_eV_per_A - one.forces_eV_per_A, axis=1)
            <= GAUSSIAN_RATIO * potential.force_std(one.atoms)
            for one in (labelled.configuration for labelled in held_out)
        ]
        assert ran.learned.held_out.coverage_90 == pytest.approx(np.concatenate(inside).mean(), abs=1e-6)
        better = ran.learned.held_out.force_rmse_eV_per_A < ran.learned.control.force_rmse_eV_per_A
        assert ran.learned.active_beats_random is better

    def test_what_was_spent_after_the_last_training_is_written_down(self):
        ran = finished()
        (closing,) = documents_of(ran.store).find({"output.kind": "otf_closing"})
        assert {"refine", "held_out", "label", "evaluate"} == set(closing["output"]["wall_s"])
        assert all(seconds > 0 for seconds in closing["output"]["wall_s"].values())

    @pytest.mark.parametrize(("active", "random", "better"), [(0.01, 0.02, True), (0.02, 0.01, False)])
    def test_the_verdict_is_stored_and_a_loss_is_a_warning(self, potential, active, random, better):
        judged = Judgement(
            held_out=ForceErrors(labels=2, force_rmse_eV_per_A=active),
            control=ForceErrors(labels=2, force_rmse_eV_per_A=random),
        )
        document = written(potential, judged)
        assert document.active_beats_random is better
        assert any("random frames had smaller errors" in sentence for sentence in document.warnings) is not better

    def test_without_the_arm_there_is_no_verdict(self, potential):
        document = written(potential, Judgement(held_out=ForceErrors(labels=2, force_rmse_eV_per_A=0.01)))
        assert document.active_beats_random is None
        assert document.control is None

    def test_too_few_labels_for_it_are_said_and_no_unfair_comparison_is_made(self):
        ran = run(tiny_plan(**{**RICH, "control_arm": "random"}, max_reference_calculations=17))
        assert ran.learned.labels_by_origin["random"] < 9
        assert ran.learned.control is None
        assert ran.learned.active_beats_random is None
        assert any("the random arm got 3 of 9 labels" in sentence for sentence in ran.learned.missing)
        assert len(ran.computed) == 17

    def test_every_second_frame_that_judges_can_be_strained(self, potential):
        ran = finished()
        loop = LearningRun(ran.store, ran.system.run_id)
        plain = loop.settings.model_copy(update={"held_out": 4, "control_arm": "none"})
        before = loop.state.model_copy(update={"used": []})
        at_rest = samples(potential, plain, loop.starts, before)
        found = samples(potential, plain.model_copy(update={"held_out_strain": 0.05}), loop.starts, before)
        assert [one.structure == other.structure for one, other in zip(found, at_rest, strict=True)] == [
            True, False, True, False
        ]  # fmt: skip
        for one, other in zip(found[1::2], at_rest[1::2], strict=True):
            gradient = np.linalg.solve(other.structure["cell_A"], one.structure["cell_A"])
            strain = (gradient + gradient.T) / 2 - np.eye(3)
            assert 0.001 < np.abs(strain).max() <= 0.05 + 1e-9
            assert one.temperature_K == other.temperature_K

    def test_frames_at_random_times_come_from_all_temperatures_and_are_the_same_again(self, potential):
        ran = finished()
        loop = LearningRun(ran.store, ran.system.run_id)
        before = loop.state.model_copy(
            update={"used": [one for one in ran.state.used if one.origin not in ("random", "held_out")]}
        )
        found = samples(potential, loop.settings, loop.starts, before)
        assert [one.origin for one in found].count("held_out") == 2
        random = [one for one in found if one.origin == "random"]
        assert {one.temperature_K for one in random} == {300.0, 900.0}
        assert found == samples(potential, loop.settings, loop.starts, before)
        others = samples(potential, loop.settings.model_copy(update={"seed": 1}), loop.starts, before)
        assert all(a.structure != b.structure for a, b in zip(found, others, strict=True))


class Wrong(ForceField):
    """Says the same of every structure."""

    elements = ("Ni",)

    def predict(self, atoms: Atoms) -> Prediction:
        forces = np.ones((len(atoms), 3))
        forces[-1] = 100.0
        return Prediction(energy_eV=2.0, forces_eV_per_A=forces, stress_eV_per_A3=np.full(6, GPa))


def labelled(weights: list[float], **more: Any) -> Labelled:
    """A label of zeros."""
    n = len(weights)
    configuration = Configuration(
        Atoms(f"Ni{n}"), 0.0, np.zeros((n, 3)), np.zeros(6), force_weights=np.array(weights), **more
    )
    return Labelled(UsedLabel(label_id="a", generation=1, origin="held_out"), configuration)


class TestErrors:
    def test_masked_atoms_do_not_count(self):
        assert force_errors(Wrong(), [labelled([1, 1, 0])]).force_rmse_eV_per_A == 1.0
        assert force_errors(Wrong(), [labelled([1, 1, 1])]).force_rmse_eV_per_A > 50

    def test_energies_are_per_atom_and_stresses_in_GPa(self):
        found = force_errors(Wrong(), [labelled([1, 0]), labelled([1, 1, 1, 0])])
        assert found.energy_rmse_eV_per_atom == pytest.approx(np.sqrt((1.0 + 0.25) / 2))
        assert found.stress_rmse_GPa == pytest.approx(1.0)
        assert found.labels == 2

    def test_numbers_without_weight_are_left_out(self):
        found = force_errors(Wrong(), [labelled([1, 0], energy_weight=0.0, stress_weight=0.0)])
        assert found.energy_rmse_eV_per_atom is None
        assert found.stress_rmse_GPa is None


class TestDocument:
    def test_before_the_judgement_the_run_is_still_learning(self, potential):
        assert written(potential, None).state == "learning"
        assert written(potential, Judgement()).state == "done"
        assert written(potential, Judgement(), verdict=None).state == "not_enough_evidence"

    def test_what_is_wrong_is_said(self, potential):
        left_out = [LeftOut(label_id="b", generation=2, origin="audit", reason="the disk was on fire")]
        bad = AuditError(temperature_K=900, generation=3, force_rmse_eV_per_A=0.1, predicted_rms_eV_per_A=0.02)
        document = written(potential, Judgement(), left_out=left_out, audit_errors=[bad])
        text = " ".join(document.warnings)
        assert "at 900 K the newest audit had a force error of 100 meV/A, more than the target of 40" in text
        assert "no label judged the potential at 300 K" in text
        assert "the disk was on fire" in text
        assert finished().learned.warnings == []

    def test_only_labels_from_dynamics_count_against_its_steps(self, potential):
        found = finished().learned
        n = sum(found.labels_by_origin.get(origin, 0) for origin in ("trigger", "guard", "audit"))
        assert found.labelled_fraction_of_md == pytest.approx(n / found.md_steps)
        assert written(potential, None, md_steps=0).labelled_fraction_of_md is None

    def test_weights_are_kept_by_label(self, potential):
        used = [
            UsedLabel(label_id="a", generation=1, origin="seed"),
            UsedLabel(label_id="b", generation=2, origin="trigger", force_weights=[1.0, 0.0], energy_weight=0.0),
            UsedLabel(label_id="c", generation=2, origin="property", stress_weight=100.0),
        ]
        document = written(potential, None, used=used)
        assert document.force_weights == {"b": [1.0, 0.0]}
        assert document.energy_weights == {"b": 0.0}
        assert document.stress_weights == {"c": 100.0}

    def test_metrics_do_not_grow_with_the_generations(self, potential):
        lesson = Lesson(potential, FitReport("polymlp", "pair-4", 21, 9, 0.1, {"force": 0.01}), [])
        old = [LeftOut(label_id=str(k), generation=k, origin="audit", reason="no") for k in range(1, 50)]
        state = finished().state.model_copy(update={"left_out": old, "generation": 49})
        document = generation_document(state, lesson, state.used[-2:])
        assert [one.generation for one in document.left_out] == [49]
        assert sum(document.new_labels.values()) == 2
