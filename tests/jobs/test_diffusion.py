"""Production runs of the diffusion goal: under watch, in stretches, made longer, sent back to learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jobflow import CURRENT_JOB

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.analysis.viscosity import shear_viscosity
from mlip_autopipe.jobs.diffusion import _round, conclude_diffusion
from mlip_autopipe.jobs.diffusion_document import (
    _analysed,
    _described,
    _of_its_frames,
    at_temperature,
    lengthened,
)
from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
from mlip_autopipe.jobs.diffusion_relearning import PROGRESS, may_relearn, relearn, relearnings
from mlip_autopipe.jobs.diffusion_size import box_size
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.reference.labels import structure_document
from mlip_autopipe.schemas.diffusion import DiffusionDocument, DiffusionRun
from tests.learning.tiny import Ran, run, tiny_plan

DOUBLE = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
SMALL: dict[str, Any] = {
    "temperatures_K": [300.0, 600.0],
    "supercell": DOUBLE,
    "vacancies": 1,
    "frame_interval": 2,
    "lattice_steps": 40,
    "steps": 100,
    "replicas": 1,
    "model_runs": 1,
    "max_steps": 100,
    "min_hops": 5,
}


def plan(**diffusion: Any) -> Any:
    """Nickel in 8 sites: seven atoms that vibrate for a fifth of a picosecond."""
    base = tiny_plan("diffusion", others=[], held_out=0, temperatures_K=[300.0, 600.0])
    settings = base.diffusion.model_copy(update={**SMALL, **diffusion})
    return base.model_copy(update={"diffusion": settings})


def production(ran: Ran) -> DiffusionProduction:
    return DiffusionProduction(ran.store, ran.system.run_id)


@pytest.fixture(scope="module")
def learned() -> Ran:
    """A run whose loop has ended, without production; do not touch."""
    return run(plan())


def test_a_whole_run_ends_with_what_is_missing(clean_dir):
    ran = run(plan(), finish=None)
    document = ran.output
    assert isinstance(document, DiffusionDocument)
    assert document.temperatures_K == [300.0, 600.0]
    assert document.vacancy_fraction == 1 / 8
    assert [one.n_atoms for one in document.results] == [7, 7]
    assert [one.n_runs for one in document.results] == [1, 1]
    assert all(one.simulated_time_ps == pytest.approx(100 * ran.system.diffusion.time_step_fs / 1000)
               for one in document.results)  # fmt: skip
    assert document.state != "done"
    assert any("hops" in sentence for sentence in document.missing)
    for one in document.results:
        species = one.species["Ni"]
        assert species.D_cm2_s.stderr_parts.statistics is not None
        assert species.D_cm2_s.stderr_parts.model is not None
        assert len(species.curves.lags_ps) == len(species.curves.msd_A2)
    runs = production(ran).runs()
    assert {one.state for one in runs} == {"finished"}
    assert all(production(ran).positions(one).shape == (51, 7, 3) for one in runs)


def test_the_cell_has_the_mean_volume_of_its_lattice_stage_and_lacks_one_atom(learned, clean_dir):
    store, member = learned.store, (600.0, "mean", 0)
    runs = DiffusionProduction(store, learned.system.run_id)
    found = runs.go_on(member, 60, clean_dir)
    assert (found.state, found.stage) == ("finished", "production")
    cell = runs.cell(found)
    assert len(cell) == 7
    assert cell.get_volume() / 7 == pytest.approx(found.volume_A3_per_atom)
    assert found.volume_A3_per_atom > runs.crystal.volume_A3_per_atom
    np.testing.assert_allclose(runs.positions(found)[0], cell.positions, atol=1e-4)


def test_the_hottest_runs_come_first_since_they_are_the_likeliest_to_be_unsure(learned, monkeypatch):
    monkeypatch.setattr(CURRENT_JOB, "job", conclude_diffusion(learned.system.run_id, []))
    runs = production(learned)
    begin_anew(runs)
    names = [one.name for one in _round(learned.system.run_id, runs.runs()).jobs]
    assert names[:4] == [
        "diffusion: 600 K, run 1",
        "diffusion: 600 K, posterior sample 1",
        "diffusion: 300 K, run 1",
        "diffusion: 300 K, posterior sample 1",
    ]


def test_stretches_make_the_same_run(learned, clean_dir, monkeypatch):
    member = (300.0, "mean", 0)
    whole = DiffusionProduction(learned.store, learned.system.run_id)
    found = whole.go_on(member, 60, clean_dir)
    expected = whole.positions(found)
    whole.save(whole.run(*member).model_copy(update={"potential_sha256": "another"}))  # begin anew
    monkeypatch.setattr("mlip_autopipe.jobs.diffusion_production.STORE_EVERY_S", 0.0)
    again = DiffusionProduction(learned.store, learned.system.run_id)
    assert again.run(*member).step == 0
    (clean_dir / "other").mkdir()
    pieces = again.go_on(member, 60, clean_dir / "other")
    np.testing.assert_array_equal(again.positions(pieces), expected)


def test_replicas_and_samples_are_different_runs(learned, clean_dir):
    runs = DiffusionProduction(learned.store, learned.system.run_id)
    one, other = (runs.go_on((300.0, role, 0), 60, clean_dir) for role in ("mean", "draw"))
    assert not np.allclose(runs.positions(one), runs.positions(other))


def test_a_liquid_is_melted_then_brought_to_its_temperature_and_volume(learned, clean_dir):
    member = (600.0, "mean", 1)
    runs = DiffusionProduction(learned.store, learned.system.run_id)
    runs.settings = runs.settings.model_copy(update={"phase": "liquid", "vacancies": 0, "replicas": 2})
    begun = runs.run(*member)
    assert begun.stage == "melt"
    crystal = runs.cell(begun)
    assert runs._dynamics(begun).temperature_K == pytest.approx(1.6 * 600.0)
    found = runs.go_on(member, 60, clean_dir)
    assert (found.state, found.stage) == ("finished", "production")
    cell = runs.cell(found)
    assert len(cell) == 8
    assert cell.get_volume() / 8 == pytest.approx(found.volume_A3_per_atom)
    assert runs._dynamics(found).temperature_K == 600.0
    # production begins where the lattice stage ended, not in the crystal
    assert found.start_sha256 is not None
    np.testing.assert_allclose(runs.positions(found)[0], cell.positions, atol=1e-4)
    apart = cell.get_scaled_positions() - crystal.get_scaled_positions()
    assert np.abs(apart - np.round(apart)).max() > 0.01


def begin_anew(runs):
    for one in runs.runs():
        runs.save(one.model_copy(update={"potential_sha256": "another"}))


@pytest.fixture
def liquid(learned):
    """The runs as those of a liquid, not begun."""
    runs = production(learned)
    runs.settings = runs.settings.model_copy(update={"phase": "liquid", "vacancies": 0, "replicas": 2})
    begin_anew(runs)
    yield runs
    begin_anew(runs)


def test_a_liquid_keeps_its_pressures_in_stretches_as_in_one_and_a_solid_none(liquid, learned, clean_dir, monkeypatch):
    member, runs = (600.0, "mean", 1), liquid
    runs.settings = runs.settings.model_copy(update={"steps": 250})
    found = runs.go_on(member, 60, clean_dir)
    whole = runs.pressures_GPa(found)
    warmed = runs.transient_frames * runs.settings.frame_interval // runs.pressure_interval
    assert warmed > 0
    assert len(whole) == found.wanted_steps // runs.pressure_interval - warmed
    begin_anew(runs)
    monkeypatch.setattr("mlip_autopipe.jobs.diffusion_production.STORE_EVERY_S", 0.0)
    (clean_dir / "other").mkdir()
    again = runs.go_on(member, 60, clean_dir / "other")
    assert len(again.pressures_sha256) > 1
    np.testing.assert_array_equal(runs.pressures_GPa(again), whole)
    solid = production(learned)
    begin_anew(runs)
    assert solid.pressures_GPa(solid.go_on((600.0, "mean", 0), 60, clean_dir)).shape == (0, 6)


def test_a_longer_liquid_run_keeps_one_series_of_pressures_whoever_is_killed(liquid, learned, clean_dir, monkeypatch):
    member, runs, save = (600.0, "mean", 0), liquid, DiffusionProduction.save
    runs.settings = runs.settings.model_copy(update={"steps": 250})
    whole = runs.pressures_GPa(runs.go_on(member, 60, clean_dir))
    begin_anew(runs)
    runs.settings = runs.settings.model_copy(update={"steps": 130})  # off the anchors
    runs.go_on(member, 60, clean_dir)
    longer = runs.run(*member).model_copy(update={"wanted_steps": 250, "state": "running"})
    runs.save(longer)
    killed = []

    def dies_once(self, run):
        if not killed and run.step == 250:
            killed.append(run.step)
            raise KeyboardInterrupt  # its frames and pressures are stored, and nothing names them
        save(self, run)

    monkeypatch.setattr(DiffusionProduction, "save", dies_once)
    with pytest.raises(KeyboardInterrupt):
        runs.go_on(member, 60, clean_dir)
    again = production(learned)
    again.settings = runs.settings
    np.testing.assert_array_equal(again.pressures_GPa(again.go_on(member, 60, clean_dir)), whole)


class TestBox:
    """What the box takes from a liquid; the pressures are noise whose viscosity is known."""

    @pytest.fixture
    def runs(self, liquid, clean_dir):
        for number in (0, 1):
            liquid.go_on((600.0, "mean", number), 60, clean_dir)
        return liquid

    def test_coefficients_are_corrected_by_the_viscosity_of_the_same_runs(self, runs, monkeypatch):
        rng = np.random.default_rng(0)
        monkeypatch.setattr(type(runs), "pressures_GPa", lambda self, run: rng.normal(size=(3000, 6)))
        monkeypatch.setattr("mlip_autopipe.jobs.diffusion_size.MAX_OF_EXPECTED", np.inf)
        found = at_temperature(runs, 600.0)
        plain = found.combined["Ni"]
        described = _described(runs, found)
        cell = runs.cell(found.runs[0])
        # white noise of 1 GPa: V / kT times half of the time between records (the diagonal: a half of the sum of two)
        seconds = runs.pressure_interval * runs.settings.time_step_fs * 1e-15
        expected = 1e3 * cell.get_volume() * 1e-30 * 1e18 / (1.380649e-23 * 600.0) * seconds / 2
        eta = described.viscosity_mPa_s
        assert eta.value == pytest.approx(expected * (3 + 0.5 + 0.5) / 5, rel=0.1)
        assert eta.stderr < 0.1 * eta.value
        species = described.species["Ni"]
        added = species.size_correction_cm2_s
        length_m = cell.get_volume() ** (1 / 3) * 1e-10
        by_hand = 2.837297 * 1.380649e-23 * 600.0 / (6 * np.pi * eta.value * 1e-3 * length_m) * 1e4
        assert added.value == pytest.approx(by_hand, rel=0.03)  # the cell is not quite a cube
        assert species.D_cm2_s.value == pytest.approx(plain.D_cm2_s + added.value)
        assert species.D_cm2_s.stderr_parts.finite_size == added.stderr
        assert added.stderr / added.value == pytest.approx(eta.stderr / eta.value)
        assert "size of the box" not in " ".join(species.warnings)
        # the correction goes with volume and potential as the coefficient does
        growth = 1 + added.value / plain.D_cm2_s
        volumes = [4 * one.volume_stderr_A3_per_atom / one.volume_A3_per_atom for one in found.runs]
        by_volume = np.hypot(*volumes) / 2 * plain.D_cm2_s
        sampling = plain.statistics_cm2_s**2 - by_volume**2
        parts = species.D_cm2_s.stderr_parts
        assert parts.statistics == pytest.approx(np.sqrt(sampling + (growth * by_volume) ** 2), rel=1e-6)
        assert by_volume > 0

    def test_a_correction_beyond_all_expectation_is_refused(self, runs, monkeypatch):
        watery = ValueWithError(1e-3, 1e-5)
        monkeypatch.setattr("mlip_autopipe.analysis.viscosity.shear_viscosity", lambda *given: watery)
        monkeypatch.setattr(type(runs), "pressures_GPa", lambda self, run: np.zeros((3000, 6)))
        size = box_size(runs, at_temperature(runs, 600.0).runs, 1e-5)
        assert size.shift_cm2_s is None
        assert "Stokes and Einstein" in size.warning

    def test_runs_without_records_do_not_spoil_the_viscosity_of_others(self, runs, monkeypatch):
        """As when a run was finished by an earlier version."""
        first, second = at_temperature(runs, 600.0).runs
        noise = np.random.default_rng(1).normal(size=(3000, 6))
        given = {first.number: noise[:0], second.number: noise}
        monkeypatch.setattr(type(runs), "pressures_GPa", lambda self, run: given[run.number])
        alone = shear_viscosity(
            [noise],
            runs.pressure_interval * runs.settings.time_step_fs,
            runs.cell(second).get_volume(),
            600.0,
        )
        assert box_size(runs, [first, second], 1.0).viscosity_mPa_s == alone
        old = first.model_dump(mode="json")
        del old["pressures_sha256"]
        assert DiffusionRun.model_validate(old).pressures_sha256 == []

    def test_a_box_drawn_out_keeps_the_size_of_its_error(self, runs):
        drawn_out = runs.settings.model_copy(update={"supercell": ((1, 0, 0), (0, 1, 0), (0, 0, 8))})
        found = at_temperature(runs, 600.0)
        runs.settings = drawn_out
        assert box_size(runs, found.runs, 1e-5).unknown_share > 0

    def test_without_a_viscosity_the_whole_correction_is_an_error(self, runs):
        found = at_temperature(runs, 600.0)
        described = _described(runs, found)
        assert described.viscosity_mPa_s is None
        species, plain = described.species["Ni"], found.combined["Ni"]
        assert species.size_correction_cm2_s is None
        assert species.D_cm2_s.value == plain.D_cm2_s
        radius_share = 0.5 / len(runs.cell(found.runs[0])) ** (1 / 3)
        assert species.D_cm2_s.stderr_parts.finite_size == pytest.approx(2.84 * radius_share * plain.D_cm2_s, rel=0.03)
        assert any("600 K no correction for the size of the box" in sentence for sentence in species.warnings)

    def test_a_viscosity_that_is_hardly_known_corrects_nothing(self, runs, monkeypatch):
        unknown = ValueWithError(3.0, 1.6)
        monkeypatch.setattr("mlip_autopipe.analysis.viscosity.shear_viscosity", lambda *given: unknown)
        monkeypatch.setattr(type(runs), "pressures_GPa", lambda self, run: np.zeros((3000, 6)))
        size = box_size(runs, at_temperature(runs, 600.0).runs, 1e-5)
        assert (size.viscosity_mPa_s, size.shift_cm2_s) == (None, None)
        assert "3 +- 1.6 mPa s only" in size.warning


class TestLonger:
    def test_what_is_not_known_well_enough_goes_on_once_more_but_not_its_samples(self, clean_dir):
        ran = run(plan(max_steps=200, min_hops=1000), finish=None)
        by_role = {role: {one.wanted_steps for one in production(ran).runs() if one.role == role}
                   for role in ("mean", "draw")}  # fmt: skip
        assert by_role == {"mean": {200}, "draw": {100}}
        assert lengthened(production(ran)) == []

    def test_what_stands_still_is_judged_by_its_error(self, learned, clean_dir):
        runs = DiffusionProduction(learned.store, learned.system.run_id)
        runs.go_on((600.0, "mean", 0), 60, clean_dir)
        found = at_temperature(runs, 600.0)
        assert found.fastest == "Ni"
        assert at_temperature(runs, 300.0) is None or found.combined["Ni"].n_hops == 0


class TestRelearning:
    def test_an_unsure_frame_is_learned_and_all_runs_begin_anew(self, clean_dir, monkeypatch):
        watch = DiffusionProduction._watch

        def unsure_at_first(self: DiffusionProduction) -> Any:
            made = watch(self)
            if relearnings(self) == 0:
                made.threshold_eV_per_A = 1e-9
            return made

        monkeypatch.setattr(DiffusionProduction, "_watch", unsure_at_first)
        ran = run(plan(), finish=None)
        assert ran.output.relearnings == 1
        assert ran.learned.labels_by_origin["trigger"] >= 1
        assert {one.potential_sha256 for one in production(ran).runs()} == {ran.learned.potential_sha256}
        assert {one.state for one in production(ran).runs()} == {"finished"}
        sent = [one for one in ran.state.used if one.origin == "trigger"]
        assert {one.label_id for one in sent} <= set(ran.learned.label_ids)

    def test_what_was_nearly_unsure_is_learned_with_it_the_least_sure_first(self, learned, clean_dir):
        runs, trigger = production(learned), learned.system.otf.force_std_trigger_eV_per_A
        before, state = runs.runs(), runs.records.state()
        shares = {(300.0, "mean"): 0.9, (600.0, "mean"): 0.5, (300.0, "draw"): 1.2, (600.0, "draw"): 0.95}
        for one in before:
            cell = runs.cell(one)
            cell.rattle(0.01 * len(shares), seed=round(one.temperature_K) + (one.role == "draw"))
            share = shares[one.temperature_K, one.role]
            update = {
                "max_force_std_eV_per_A": share * trigger,
                "unsure_frame": structure_document(cell),
                "state": "triggered" if share > 1 else "finished",
            }
            runs.save(one.model_copy(update=update))
        changed = {(one.temperature_K, one.role): one.unsure_frame for one in runs.runs()}
        try:
            sent = relearn(learned.store, runs)
            assert sent.phase == "label"
            expected = [changed[300.0, "draw"], changed[600.0, "draw"], changed[300.0, "mean"]]
            assert [one.structure for one in sent.pending] == expected
            assert [one.origin for one in sent.pending] == ["trigger"] * 3
        finally:
            learned.records.save_state(state)
            runs.records.save(PROGRESS, {"kind": PROGRESS, "relearnings": 0, "sent_back": None})
            for one in before:
                runs.save(one)

    def test_a_run_remembers_its_least_sure_frame(self, learned, clean_dir):
        runs = production(learned)
        one = runs.go_on((300.0, "mean", 0), 60, clean_dir)
        assert one.state == "finished"
        found = runs.potential.force_std(atoms_of(one.unsure_frame)).max()
        assert found == pytest.approx(one.max_force_std_eV_per_A, rel=1e-6)

    def test_where_the_budget_is_spent_nothing_unsure_is_reported_as_a_result(self, clean_dir, monkeypatch):
        watch = DiffusionProduction._watch

        def never_sure(self: DiffusionProduction) -> Any:
            made = watch(self)
            made.threshold_eV_per_A = 1e-9
            return made

        monkeypatch.setattr(DiffusionProduction, "_watch", never_sure)
        ran = run(plan(max_relearnings=2), finish=None)
        assert ran.output.state == "not_enough_evidence"
        assert ran.output.results == []
        assert any("was unsure in production" in sentence for sentence in ran.output.missing)
        assert not may_relearn(production(ran))

    def test_the_other_runs_stop_for_it_only_while_something_can_come_of_it(self, learned, clean_dir):
        runs = DiffusionProduction(learned.store, learned.system.run_id)
        other = runs.run(300.0, "draw", 0)
        runs.save(other.model_copy(update={"state": "triggered"}))
        assert runs.is_in_vain()
        runs.records.save(PROGRESS, {"kind": PROGRESS, "relearnings": 1, "sent_back": runs.potential_sha256})
        assert not runs.is_in_vain()
        runs.records.save(PROGRESS, {"kind": PROGRESS, "relearnings": 0, "sent_back": None})
        runs.save(other)


def test_the_volume_of_a_liquid_run_is_in_its_error_and_not_of_a_crystal(learned, clean_dir):
    runs = production(learned)
    run = runs.go_on((600.0, "mean", 0), 60, clean_dir)
    unsure = run.model_copy(update={"volume_stderr_A3_per_atom": 0.05 * run.volume_A3_per_atom})
    solid = _analysed(runs, unsure).groups["Ni"]
    assert solid.D_stderr_cm2_s == _of_its_frames(runs, unsure).groups["Ni"].D_stderr_cm2_s
    runs.settings = runs.settings.model_copy(update={"phase": "liquid"})
    plain, liquid = (of(runs, unsure).groups["Ni"] for of in (_of_its_frames, _analysed))
    assert liquid.D_cm2_s == plain.D_cm2_s
    assert liquid.D_stderr_cm2_s**2 == pytest.approx(plain.D_stderr_cm2_s**2 + (4 * 0.05 * plain.D_cm2_s) ** 2)
