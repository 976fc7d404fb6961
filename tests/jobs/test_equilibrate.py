"""Goal equilibrate with jobflow alone: nickel by EMT, learned and measured in memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from jobflow import Flow, JobStore, run_locally

from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.jobs.equilibrate import equilibrate, npt_run
from mlip_autopipe.jobs.equilibrate_check import VolumeCheck, check_volume
from mlip_autopipe.jobs.equilibrate_document import build_equilibrate_document
from mlip_autopipe.jobs.labelling import labeller
from mlip_autopipe.jobs.npt_production import NPTProduction
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.learning.npt_production import npt_settings
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.equilibrate import EquilibrateDocument
from mlip_autopipe.schemas.system import SystemConfig
from tests.learning.calculators import WatchedEMT
from tests.learning.tiny import Ran, memory_store, run, tiny_plan

SETTINGS: dict[str, Any] = {
    "supercell": [[-2, 2, 2], [2, -2, 2], [2, 2, -2]],
    "steps": 200,
    "frame_interval": 5,
    "temperatures_K": [200.0, 300.0],
    "expansion_at_K": [300.0],
    "target_length_error": 1e-3,
    "max_extensions": 2,
    "draws": 2,
    "check_labels": 2,
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Ran:
    """A whole run; look, do not touch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("measured"))
        return run(small_plan(), finish=None)


def small_plan(**more: Any) -> SystemConfig:
    settings = {f"equilibrate.{key}": value for key, value in SETTINGS.items()}
    return tiny_plan("equilibrate", overrides=settings, **more)


@pytest.fixture(scope="module")
def document(measured) -> EquilibrateDocument:
    return measured.flow.output.resolve(measured.store)


@pytest.fixture
def production(measured) -> NPTProduction:
    return NPTProduction(measured.store, measured.system.run_id)


def progresses(production: NPTProduction) -> list:
    return [production.progress(kelvin) for kelvin in production.settings.temperatures_K]


def rebuilt(production: NPTProduction, store: Any, runs: list, checks: list | None = None) -> EquilibrateDocument:
    with labeller(store, production.system) as labels:
        checks = checks or [check_volume(production, one, labels) for one in runs]
    return build_equilibrate_document(production, runs, checks, LabelStore(store))


def test_the_output_of_the_first_job_is_the_document(document, measured):
    assert document.run_id == measured.system.run_id
    assert document.temperatures_K == [200.0, 300.0]
    assert document.temperature_K == 300.0
    assert document.space_group == "Fm-3m"
    assert document.state == "done", [gate for gate in document.all_gates() if not gate.passed]


def test_the_lattice_constant_is_that_of_the_reference(document):
    # EMT nickel itself in the same cell of 32 atoms, 36 ps per temperature, errors 1e-4 A
    for kelvin, truth_A in ((200.0, 3.4968), (300.0, 3.5019)):
        found = document.equilibria[document.temperatures_K.index(kelvin)].lattice_parameters["a_A"]
        parts = found.stderr_parts
        assert abs(found.value - truth_A) < 3 * np.hypot(parts.statistics, np.hypot(parts.model, parts.check)) + 2e-4


def test_cell_volume_and_density_agree(document):
    one = document.at_temperature()
    a = one.lattice_parameters["a_A"]
    assert one.volume_A3_per_atom.value == pytest.approx(a.value**3 / 4, rel=1e-4)
    assert one.density_g_per_cm3.value == pytest.approx(58.6934 / 0.602214076 / one.volume_A3_per_atom.value, rel=1e-4)
    assert document.structure["lattice"]["a"] == pytest.approx(a.value)
    assert len(document.structure["sites"]) == 4
    volume = one.volume_A3_per_atom
    assert a.stderr / a.value == pytest.approx(volume.stderr / volume.value / 3, rel=0.02)


def test_all_parts_of_the_error_are_measured(document):
    for one in document.equilibria:
        parts = one.volume_A3_per_atom.stderr_parts
        assert min(parts.statistics, parts.model, parts.check, parts.finite_size) > 0
    parts = document.thermal_expansion.volumetric_per_K.stderr_parts
    assert min(parts.statistics, parts.model, parts.check, parts.finite_size) > 0


def test_checks_are_labels_that_were_never_trained_on(document, measured):
    checks = document.provenance["check_label_ids"]
    assert len(set(checks)) == 4
    assert not set(checks) & set(measured.learned.label_ids)
    assert document.n_reference_calculations == measured.learned.n_reference_calculations + 4
    assert document.provenance["potential"]["potential_sha256"] == measured.learned.potential_sha256


def test_documents_stay_small(measured, document):
    sizes = [len(json.dumps(one["output"], default=str)) for one in documents_of(measured.store).find({})]
    assert max(sizes) < 1_000_000
    assert len(document.model_dump_json()) < 100_000


def test_a_run_that_is_killed_again_and_again_is_the_same_run(production, measured, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def save_and_die(name, output):
        kept.update({name: output})
        if output["state"] == "running":
            raise KilledError

    kept: dict[str, Any] = {}
    other = NPTProduction(measured.store, measured.system.run_id)
    monkeypatch.setattr(other.records, "find", kept.get)
    monkeypatch.setattr(other.records, "save", save_and_die)
    monkeypatch.setattr("mlip_autopipe.jobs.npt_production.npt_settings", with_near_anchors)
    monkeypatch.setattr("mlip_autopipe.jobs.npt_production.STORE_EVERY_S", 0.0)
    progress, deaths = None, 0
    while progress is None:
        folder = tmp_path / str(deaths)
        folder.mkdir()
        try:
            progress = other.go_on(300.0, 600.0, folder)
        except KilledError:
            deaths += 1
    uninterrupted = production.progress(300.0)
    assert deaths == uninterrupted.step // 40
    assert len(progress.series_sha256) == deaths
    one, two = production.series(uninterrupted), other.series(progress)
    for name in ("steps", "cells_A", "kept", "positions_A"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert progress.check_frames == uninterrupted.check_frames


def with_near_anchors(*arguments: Any) -> MDSettings:
    return npt_settings(*arguments).model_copy(update={"anchor_interval": 40})


def test_without_time_nothing_is_done(measured, tmp_path, monkeypatch):
    other = NPTProduction(measured.store, measured.system.run_id)
    monkeypatch.setattr(other.records, "find", lambda name: None)
    progress = other.go_on(300.0, 0.0, tmp_path)
    assert (progress.state, progress.step) == ("running", 0)


def test_a_finished_run_is_not_run_again(production, tmp_path):
    before = production.progress(300.0)
    assert production.go_on(300.0, 100.0, tmp_path) == before
    assert list(tmp_path.iterdir()) == []


def test_extensions_go_on_until_the_target_or_their_number(measured, monkeypatch, tmp_path):
    one = NPTProduction(measured.store, measured.system.run_id)
    one.settings = one.settings.model_copy(update={"target_length_error": 1e-9, "max_extensions": 1, "steps": 100})
    kept: dict[str, Any] = {}
    monkeypatch.setattr(one.records, "find", lambda name: kept.get(name))
    monkeypatch.setattr(one.records, "save", lambda name, output: kept.update({name: output}))
    progress = one.go_on(300.0, 600.0, tmp_path)
    assert (progress.state, progress.step, progress.extensions) == ("finished", 200, 1)
    side, _ = progresses(NPTProduction(measured.store, measured.system.run_id))
    found = rebuilt(one, measured.store, [side, progress])
    assert found.state == "not_enough_evidence"
    assert "raise equilibrate.steps" in " ".join(found.missing)


def test_a_side_run_that_a_guard_stopped_is_left_out_and_said(production, measured):
    side, asked = progresses(production)
    side = side.model_copy(update={"state": "stopped", "step": 40, "reason": "the temperature ran away"})
    found = rebuilt(production, measured.store, [side, asked])
    assert found.state == "failed"
    assert found.temperatures_K == [300.0]
    assert found.thermal_expansion is None
    (gate,) = [gate for gate in found.gates if gate.name == "all_runs_finished"]
    assert not gate.passed
    assert "200 K: the temperature ran away" in gate.detail


def test_without_the_asked_run_there_is_no_result(production, measured):
    side, asked = progresses(production)
    asked = asked.model_copy(update={"state": "stopped", "step": 40, "reason": "the temperature ran away"})
    with pytest.raises(AnalysisError, match="300 K was stopped at step 40: the temperature ran away"):
        rebuilt(production, measured.store, [side, asked])


def test_a_loop_without_enough_evidence_shows_in_the_state(production, measured, monkeypatch):
    learned_ = measured.learned.model_copy(update={"state": "not_enough_evidence", "missing": ["more labels"]})
    monkeypatch.setattr(RunRecords, "learned", lambda self: learned_)
    found = rebuilt(production, measured.store, progresses(production))
    assert found.state == "not_enough_evidence"
    assert "more labels" in found.missing


def test_an_unsure_potential_fails_its_gate(production, measured):
    side, asked = progresses(production)
    asked = asked.model_copy(update={"max_force_std_eV_per_A": [0.01] * 8 + [9.0] * 2})
    found = rebuilt(production, measured.store, [side, asked])
    assert found.state == "failed"
    assert "unsure in 2 of 10 frames at 300 K" in " ".join(found.warnings)
    nearly = asked.model_copy(update={"max_force_std_eV_per_A": [0.01] * 9 + [9.0]})
    assert rebuilt(production, measured.store, [side, nearly]).state == "done"


def test_a_reference_that_fails_leaves_its_part_unmeasured(production, measured, monkeypatch):
    runs = progresses(production)
    # frames that were not labelled before
    for one in runs:
        for frame in one.check_frames:
            frame["positions_A"][0][0] += 0.01
    monkeypatch.setattr(WatchedEMT, "trouble", staticmethod(lambda atoms: True))
    found = rebuilt(production, measured.store, runs)
    assert found.state == "not_enough_evidence"
    assert found.at_temperature().volume_A3_per_atom.stderr_parts.check is None
    assert found.thermal_expansion.volumetric_per_K.stderr_parts.check is None
    assert "did not settle" in " ".join(found.missing)


def test_a_spent_budget_leaves_the_part_unmeasured(production, measured):
    runs = progresses(production)
    checks = [VolumeCheck(None, [], ["the budget is spent"]) for _ in runs]
    found = rebuilt(production, measured.store, runs, checks)
    assert found.state == "not_enough_evidence"
    assert "the budget is spent" in " ".join(found.missing)


def test_a_job_without_time_leaves_itself_behind(measured, clean_dir, monkeypatch):
    store, run_id = copied(measured.store), measured.system.run_id
    documents_of(store).delete_many({"uuid": f"{run_id}:npt:300"})
    times = iter([0.0, 0.0])
    monkeypatch.setattr("mlip_autopipe.jobs.wall_time.seconds_left", lambda: next(times, None))
    flow = Flow([one := npt_run(run_id, 300.0)], output=one.output)
    run_locally(flow, store=store, log=False, ensure_success=True)
    assert documents_of(store).count_documents({"uuid": one.uuid}) == 3
    assert flow.output.resolve(store) == NPTProduction(measured.store, run_id).progress(300.0)


def test_an_expensive_reference_labels_each_frame_in_a_job_of_its_own(measured, clean_dir):
    store = copied(measured.store)
    records = RunRecords(store, measured.system.run_id)
    plan = small_plan(cheap=False, label_max_atoms=8)
    records.save_plan(plan.model_copy(update={"run_id": measured.system.run_id}))
    documents_of(store).delete_many({"name": {"$regex": "^npt"}})
    flow = Flow([finisher := equilibrate(measured.system.run_id)], output=finisher.output)
    run_locally(flow, store=store, log=False, ensure_success=True)
    jobs = [one["name"] for one in documents_of(store).find({"name": {"$regex": "^label check frame"}})]
    assert len(set(jobs)) == len(jobs) == 4
    provenance = flow.output.resolve(store).provenance
    # frames of the cell of learning: those of the runs are too large for this reference
    labels = [LabelStore(store).get(name) for name in provenance["check_label_ids"]]
    assert [len(label.structure["numbers"]) for label in labels] == [4] * 4


def copied(store: JobStore) -> JobStore:
    """Return a JobStore in memory with the same contents."""
    other = memory_store()
    blobs = store.additional_stores["data"], other.additional_stores["data"]
    for old, new in ((store.docs_store, other.docs_store), blobs):
        source, target = old._collection.database, new._collection.database
        for name in source.list_collection_names():
            if found := list(source[name].find({})):
                target[name].insert_many(found)
    return other
