"""The phases of the loop one by one: what each leaves in the JobStore, and what may enter training and calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.learning_run import LearningRun, atoms_of_candidate
from mlip_autopipe.jobs.records import RecordError, RunRecords
from mlip_autopipe.learning.candidates import NOT_TRAINED, candidate
from mlip_autopipe.learning.starts import primitive_atoms
from mlip_autopipe.potentials.registry import load_potential
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.schemas.otf import LearningState, Walker
from tests.learning.tiny import RICH, finished, memory_store, run, tiny_plan, uninterrupted

FRESH = {"trigger", "guard", "audit"}


@pytest.fixture
def loop() -> Callable[..., LearningRun]:
    """Make a loop that has not begun; called again with the same store it is that of the next job."""

    def make(store: Any = None, **otf: Any) -> LearningRun:
        plan, store = tiny_plan(**otf), store or memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        return LearningRun(store, plan.run_id)

    return make


def stored(run: LearningRun) -> LearningState:
    """What the next job would find."""
    state = RunRecords(run.store, run.state.run_id).state()
    assert state is not None
    return state


def taught(run: LearningRun) -> LearningRun:
    """Label the seeds and train on them."""
    run.label(compute=True)
    run.train()
    return run


class TestPhases:
    def test_it_begins_with_the_seeds_which_other_jobs_find_at_once(self, loop):
        run = loop()
        assert run.state.phase == "label"
        assert [one.origin for one in run.state.pending] == ["seed"] * 3
        assert stored(run) == run.state

    def test_a_run_without_plan_says_where_to_look(self):
        with pytest.raises(RecordError, match=r"run nobody has no document 'plan'.*another database"):
            LearningRun(memory_store(), "nobody")

    def test_labels_are_taken_in_order_and_wait_no_longer(self, loop):
        run = loop()
        names = [run_label(run, one) for one in run.state.pending]
        run.label(compute=True)
        assert [one.label_id for one in stored(run).used] == names
        assert stored(run).pending == []
        assert stored(run).phase == "train"

    def test_a_training_is_stored_as_potential_metrics_and_state(self, loop):
        run = taught(loop())
        state = stored(run)
        assert (state.phase, state.generation, state.trained) == ("explore", 1, 3)
        data = BlobStore(run.store).get(state.potential_sha256)
        assert load_potential(data).elements == ("Ni",)
        (metrics,) = run.records.generations()
        assert metrics.potential_sha256 == state.potential_sha256
        assert metrics.new_labels == {"seed": 3}
        assert metrics.fresh_errors == []
        assert metrics.coverage_90 is None
        assert not metrics.calibration_ready
        assert run.records.learned().state == "learning"
        # the next generation's clock starts at zero
        assert state.wall_s == state.core_s == {}
        assert set(metrics.wall_s) == {"label", "train"}

    def test_a_training_without_news_changes_nothing_but_the_walkers(self, loop):
        run = taught(loop())
        before = stored(run)
        run.train()
        assert stored(run).potential_sha256 == before.potential_sha256
        assert stored(run).generation == 1
        assert len(run.records.generations()) == 1

    def test_exploration_ends_with_one_candidate_per_walker(self, loop):
        run = taught(loop(walkers=3))
        assert run.explore()
        state = stored(run)
        assert state.phase == "label"
        assert [one.walker for one in state.pending] == [0, 1, 2]
        assert [one.origin for one in state.pending] == ["audit"] * 3
        assert state.md_steps == state.stretch_steps == 3 * 20
        frames = [np.array(one.structure["positions_A"]) for one in state.pending]
        assert np.abs(frames[0] - frames[1]).max() > 1e-3, "they are independent"

    def test_exploration_without_time_is_stored_and_goes_on(self, loop):
        run = taught(loop(walkers=2))
        assert not run.explore(0.0)
        state = stored(run)
        assert state.phase == "explore"
        assert state.md_steps == 0
        later = loop(run.store, walkers=2)
        assert later.state == state
        assert later.explore(1000.0)
        undisturbed = taught(loop(walkers=2))
        undisturbed.explore()
        assert stored(later).pending == stored(undisturbed).pending

    def test_a_walker_that_waits_for_its_label_does_not_move(self, loop):
        run = taught(loop(walkers=2))
        run.state.pending = [candidate(run.starts[0].primitive, "trigger", walker=0)]
        assert run.explore()
        assert [walker.step for walker in stored(run).walkers] == [0, 20]
        assert len(stored(run).pending) == 2

    def test_a_walker_at_the_end_rests(self, loop):
        run = taught(loop())
        run.state.walkers = [Walker(index=0, temperature_index=1, segment_end=20)]
        assert run.explore()
        assert stored(run).phase == "train"
        run.train()
        assert stored(run).phase == "refine"

    def test_the_next_temperature_begins_where_the_last_one_ended(self, loop):
        from mlip_autopipe.dynamics.checkpoint import from_bytes

        run = taught(loop(temperatures_K=[300.0, 600.0]))
        run.explore()
        end = from_bytes(run.blobs.get(stored(run).walkers[0].checkpoint_sha256)).stop
        run.label(compute=True)
        run.train()
        (walker,) = stored(run).walkers
        assert (walker.temperature_index, walker.step, walker.checkpoint_sha256) == (1, 0, None)
        start = run._start_of(walker)
        np.testing.assert_array_equal(start.positions, end.positions)
        assert not start.get_velocities().any(), "velocities are drawn for the new temperature"

    def test_after_enough_generations_exploration_ends(self, loop):
        run = taught(loop(max_generations=1))
        assert stored(run).phase == "refine"
        assert "max_generations" in stored(run).stop_reason

    def test_a_known_structure_counts_once(self, loop):
        run = loop()
        run.state.pending *= 2
        run.label(compute=True)
        assert len(stored(run).used) == 3

    def test_labels_that_other_jobs_did_not_make_stop_the_loop_and_computing_is_not_tried(self, loop, monkeypatch):
        run = taught(loop())
        run.explore()
        monkeypatch.setattr("mlip_autopipe.reference.ase_engine.ASEEngine.compute", None)
        run.label(compute=False)
        assert "the budget is spent" in stored(run).stop_reason
        run.train()
        assert stored(run).phase == "refine"

    def test_a_label_that_has_vanished_is_named(self, loop):
        run = loop()
        run.label(compute=True)
        name = run.state.used[1].label_id
        documents_of(run.store).delete_one({"uuid": name})
        with pytest.raises(RecordError, match=f"label {name[:12]} of run .* is not in the JobStore any more"):
            run.train()


def run_label(run: LearningRun, one: Any) -> str:
    """Return the id that a candidate's label will have."""
    from mlip_autopipe.jobs.labelling import labeller

    with labeller(run.store, run.system) as labels:
        return labels.name_of(atoms_of_candidate(one))


class TestRefinement:
    def test_forces_within_their_target_end_the_loop(self, loop):
        run = taught(loop())
        while run.state.phase != "refine":
            advance(run)
        run.refine()
        assert stored(run).phase == "held_out"
        assert stored(run).verdict.is_enough
        run.hold_out()
        assert (stored(run).phase, stored(run).after_label) == ("label", "evaluate")
        assert [one.origin for one in stored(run).pending] == ["held_out"] * 2

    @pytest.mark.parametrize("cheap", [True, False])
    def test_very_many_frames_that_judge_are_labelled_in_rounds(self, monkeypatch, clean_dir, cheap):
        plan = tiny_plan(held_out=5, control_arm="random", cheap=cheap)
        expected = run(plan)
        monkeypatch.setattr("mlip_autopipe.jobs.learning_run.MAX_PENDING_ATOMS", 8)
        most: list[int] = []
        save = RunRecords.save_state
        monkeypatch.setattr(
            RunRecords, "save_state", lambda self, state: most.append(len(state.pending)) or save(self, state)
        )
        ran = run(plan)
        assert max(most[1:]) == 2  # two cells of four atoms; the first round are the seeds
        assert ran.learned == expected.learned
        assert ran.learned.labels_by_origin["held_out"] == 5
        assert ran.learned.control is not None

    def test_a_frame_beyond_every_limit_still_gets_its_label(self, monkeypatch, clean_dir):
        monkeypatch.setattr("mlip_autopipe.jobs.learning_run.MAX_PENDING_ATOMS", 1)
        assert run(tiny_plan()).learned.labels_by_origin["held_out"] == 2

    def test_frames_of_every_origin_are_cut_to_what_the_reference_can_take(self, loop, monkeypatch):
        cut: list[str] = []

        def small_enough(one: Any, settings: Any, potential: Any, generation: int) -> Any:
            cut.append(one.origin)
            return one

        monkeypatch.setattr("mlip_autopipe.jobs.learning_run.small_enough", small_enough)
        run = taught(loop(control_arm="random"))
        while run.state.phase != "refine":
            advance(run)
        run.refine()
        run.hold_out()
        assert set(cut) == {"audit", "held_out", "random"}
        assert len(cut) == 1 + len(stored(run).pending)

    def test_forces_beyond_their_target_are_explored_once_more(self, loop):
        run = taught(loop(target_force_error_eV_per_A=1e-6, max_segments_per_temperature=1))
        while run.state.phase != "refine":
            advance(run)
        run.refine()
        state = stored(run)
        assert (state.phase, state.refinements) == ("explore", 1)
        assert [(walker.attempt, walker.step) for walker in state.walkers] == [(1, 0)]
        while run.state.phase != "refine":
            advance(run)
        run.refine()
        assert stored(run).phase == "held_out"
        assert "max_refinements" in stored(run).stop_reason
        assert "raise" in stored(run).missing[0]

    def test_a_property_gets_labels_of_its_own_and_they_weigh_more(self):
        plan = tiny_plan("elastic")
        store = memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        run = LearningRun(store, plan.run_id)
        while run.state.phase != "refine":
            advance(run)
        run.refine()
        state = stored(run)
        assert (state.phase, state.after_label, state.refinements) == ("label", "train", 1)
        assert {one.origin for one in state.pending} == {"property"}
        assert {one.stress_weight for one in state.pending} == {plan.otf.property_stress_weight}
        assert {len(one.structure["numbers"]) for one in state.pending} == {1}
        covered = len(run.potential.calibration.coverage)
        advance(run)
        advance(run)
        assert stored(run).used[-1].origin == "property"
        assert stored(run).used[-1].stress_weight == plan.otf.property_stress_weight
        assert len(run.potential.calibration.coverage) == covered, "they say nothing of forces along dynamics"


def advance(run: LearningRun) -> None:
    """Do the phase that is next."""
    if run.state.phase == "label":
        run.label(compute=True)
    elif run.state.phase == "train":
        run.train()
    elif run.state.phase == "explore":
        run.explore()
    else:
        run.refine()


class TestCalibration:
    def test_fresh_labels_are_predicted_before_they_are_learned_and_others_not_at_all(self, monkeypatch):
        from mlip_autopipe.potentials.polymlp import PolymlpPotential

        order: list[tuple[str, str]] = []
        observe, fit, add = PolymlpPotential.observe, PolymlpPotential.fit, PolymlpPotential.add

        def learned(configurations: Any) -> None:
            order.extend(("learned", one.label_id) for one in configurations)

        monkeypatch.setattr(
            PolymlpPotential,
            "observe",
            lambda self, one, **more: order.append(("observed", one.label_id)) or observe(self, one, **more),
        )
        monkeypatch.setattr(
            PolymlpPotential, "fit", lambda self, data: learned(data.configurations) or fit(self, data)
        )
        monkeypatch.setattr(PolymlpPotential, "add", lambda self, data: learned(data) or add(self, data))
        plan, store = tiny_plan(**RICH), memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        run = LearningRun(store, plan.run_id)
        while run.state.phase != "refine":
            advance(run)
        fresh = [one.label_id for one in run.state.used if one.origin in FRESH]
        assert [name for what, name in order if what == "observed"] == fresh
        for name in fresh:
            assert order.index(("observed", name)) < order.index(("learned", name))

    def test_every_fresh_label_is_in_the_record_of_coverage_once(self):
        run = finished()
        fresh = [one for one in run.state.used if one.origin in FRESH]
        others = [one for one in run.state.used if one.origin not in FRESH]
        assert len(fresh) > 10
        assert others
        data = BlobStore(run.store).get(run.learned.potential_sha256)
        coverage = load_potential(data).calibration.coverage
        assert [one.label_id for one in coverage] == [one.label_id for one in fresh]
        # the generation whose training learned the label
        assert [one.generation for one in coverage] == [one.generation for one in fresh]
        assert [one.ready for one in coverage] == [k >= 10 for k in range(len(fresh))]
        assert run.state.coverage == [(one.covered, one.atoms) for one in coverage if one.ready]
        assert run.learned.coverage_labels == len(fresh) - 10

    def test_coverage_grows_with_the_labels_of_each_generation(self):
        run = finished()
        for one in run.generations:
            new = [label for label in run.state.used if label.generation == one.generation and label.origin in FRESH]
            assert [error.label_id for error in one.fresh_errors] == [label.label_id for label in new]
            if new:
                covered = sum(round(error.covered_fraction * error.atoms) for error in one.fresh_errors)
                assert one.coverage_90 == pytest.approx(covered / sum(error.atoms for error in one.fresh_errors))

    def test_calibration_outlives_the_choice_of_another_model(self):
        models = [one.model for one in uninterrupted().generations]
        factors = [one.calibration_factor for one in uninterrupted().generations]
        assert len(models) > 2
        assert factors[0] == 1.0
        assert factors[-1] != 1.0


class TestTraining:
    def test_labels_that_judge_are_never_learned(self):
        run = finished()
        judges = {one.label_id for one in run.state.used if one.origin in NOT_TRAINED}
        assert len(judges) > 2
        assert not judges & set(run.learned.label_ids)
        assert not judges & {one.label_id for generation in run.generations for one in generation.fresh_errors}
        assert {one.label_id for one in run.state.used} == judges | set(run.learned.label_ids)

    def test_learning_bit_by_bit_equals_learning_all_at_once(self):
        from mlip_autopipe.jobs.run_potential import training_data
        from mlip_autopipe.potentials.polymlp import PolymlpPotential

        run = uninterrupted()
        loaded = load_potential(BlobStore(run.store).get(run.learned.potential_sha256))
        all_at_once = PolymlpPotential(**run.system.otf.potential)
        all_at_once.fit(training_data(run.store, run.learned.label_ids))
        assert all_at_once.describe().model == loaded.describe().model
        atoms = primitive_atoms(run.system.material.structure) * (2, 2, 1)
        atoms.rattle(0.05)
        # noise levels were found with less data, which changes forces by far less than they are known to
        difference = loaded.predict(atoms).forces_eV_per_A - all_at_once.predict(atoms).forces_eV_per_A
        assert np.abs(difference).max() < 0.01


def test_a_magnetic_crystal_keeps_its_moments():
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5] * 3], site_properties={"magmom": [2, 2]})
    atoms = primitive_atoms(structure.as_dict())
    assert atoms.get_initial_magnetic_moments().tolist() == [2, 2]
    assert atoms_of_candidate(candidate(atoms, "seed")).get_initial_magnetic_moments().tolist() == [2, 2]
