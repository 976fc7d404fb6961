"""The learning flow: how it is wired, a hundred generations of it, and rockets that are killed on the way."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import bson
import numpy as np
import pytest
from jobflow import Job

from mlip_autopipe.flows.build import build_flow
from mlip_autopipe.flows.otf import FINISHERS, OTFMaker, reserved_labels
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.launch import runs
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.pool import RocketPool
from mlip_autopipe.launch.workflow import to_workflow
from mlip_autopipe.schemas.otf import OTFDocument
from mlip_autopipe.schemas.potential import PotentialDocument
from mlip_autopipe.schemas.system import EquilibrateSettings, SystemConfig
from tests.learning.tiny import RICH, Ran, memory_store, run, tiny_plan

LOGGED = "tests.learning.calculators.LoggedEMT"


class TestWiring:
    def test_one_job_begins_and_its_output_is_the_flow_s(self):
        flow = build_flow(tiny_plan())
        (start,) = flow.jobs
        assert start.name == "learn: seeds"
        assert flow.output.uuid == start.uuid

    @pytest.mark.parametrize("name", FINISHERS.values())
    def test_every_goal_has_a_last_job_that_takes_the_run_s_name(self, name):
        module, _, function = name.partition(":")
        assert isinstance(getattr(importlib.import_module(module), function)("run-1"), Job)

    @pytest.mark.parametrize(("finish", "expected"), [(None, FINISHERS["potential"]), ("", None), ("a:b", "a:b")])
    def test_the_last_job_can_be_chosen(self, finish, expected):
        (start,) = OTFMaker(finish=finish).make(tiny_plan()).jobs
        assert start.function_args[1] == expected

    def test_labels_of_the_last_job_are_reserved(self):
        assert reserved_labels(tiny_plan()) == 0
        elastic = tiny_plan("elastic")
        assert reserved_labels(elastic) == len(elastic.elastic_check.strains) == 2
        (start,) = OTFMaker().make(elastic).jobs
        assert start.function_args[2] == 2
        equilibrate = EquilibrateSettings(
            temperatures_K=[300.0, 400.0, 500.0],
            expansion_at_K=[400.0],
            supercell=((2, 0, 0), (0, 2, 0), (0, 0, 2)),
            time_step_fs=1.0,
            steps=1,
            frame_interval=1,
            target_length_error=1.0,
            max_extensions=0,
            check_labels=4,
            draws=2,
            seed=0,
        )
        assert reserved_labels(tiny_plan().model_copy(update={"equilibrate": equilibrate})) == 12


def submit(launchpad: Any, system: SystemConfig) -> str:
    """Store a run; return the uuid of the job whose output is the flow's."""
    flow = build_flow(system)
    labels = {"project_name": system.project_name, "goal": system.goal, "formula": system.material.formula}
    runs.submit(launchpad, to_workflow(flow, run_id=system.run_id, **labels))
    return str(flow.jobs[0].uuid)


class Recorder:
    """Counts what the loop reads from its JobStore, generation by generation."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from mlip_autopipe.jobs.blobs import BlobStore
        from mlip_autopipe.reference.labels import LabelStore

        self.read: list[Counter[str]] = [Counter()]
        save = RunRecords.save_generation
        patch.setattr(LabelStore, "get", self.counting("labels", LabelStore.get))
        patch.setattr(BlobStore, "get", self.counting("blobs", BlobStore.get, len))
        patch.setattr(RunRecords, "_read", self.counting("records", RunRecords._read, size_of))
        patch.setattr(RunRecords, "save_generation", lambda *all_: self.read.append(Counter()) or save(*all_))

    def counting(self, what: str, method: Callable[..., Any], size: Callable[[Any], int] = lambda found: 0) -> Any:
        def wrapped(*arguments: Any) -> Any:
            found = method(*arguments)
            self.read[-1][what] += 1
            self.read[-1][f"bytes of {what}"] += 0 if found is None else size(found)
            return found

        return wrapped


def size_of(document: dict[str, Any]) -> int:
    return len(bson.encode(document))


# threads that say that a launch is alive do not go with a database in memory
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
class TestAHundredGenerations:
    GENERATIONS = 100
    PER_WORKFLOW = 20

    @pytest.fixture(scope="class")
    def finished(self, tmp_path_factory):
        """LaunchPad, JobStore and record of reading after such a run; look, do not touch."""
        import mongomock
        import mongomock.gridfs
        from fireworks.core import launchpad as fireworks_launchpad
        from fireworks.core.fworker import FWorker
        from fireworks.core.rocket import Rocket

        from mlip_autopipe.launch import continuation, firetask
        from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad

        store = memory_store()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("hundred"))
            mongomock.gridfs.enable_gridfs_integration()
            patch.setattr(fireworks_launchpad, "MongoClient", mongomock.MongoClient)
            patch.setattr(firetask, "jobstore_for", lambda launchpad: store)
            patch.setattr(continuation, "MAX_FIREWORKS", self.PER_WORKFLOW)
            launchpad = AutoPipeLaunchPad(name="hundred", strm_lvl="CRITICAL")
            launchpad.initialise()
            recorder = Recorder(patch)
            uuid = submit(launchpad, self.plan())
            while launchpad.run_exists(FWorker()):
                Rocket(launchpad, FWorker(), None).run()
        return SimpleNamespace(launchpad=launchpad, store=store, read=recorder.read, uuid=uuid)

    def plan(self) -> SystemConfig:
        return tiny_plan(
            segment_steps=2,
            check_every=1,
            audits_per_temperature=self.GENERATIONS - 1,
            max_segments_per_temperature=self.GENERATIONS,
            generations_per_job=1,
            seed_structures=2,
            held_out=0,
            max_reference_calculations=1000,
            max_generations=1000,
        )

    def test_they_come_to_the_end(self, finished):
        assert finished.launchpad.fireworks.distinct("state") == ["COMPLETED"]
        learned = RunRecords(finished.store, self.plan().run_id).learned()
        assert learned.generations >= self.GENERATIONS
        document = finished.store.get_output(finished.uuid, which="last")
        assert PotentialDocument.model_validate(document).potential_sha256 == learned.potential_sha256

    def test_one_firework_each_and_no_workflow_is_large(self, finished):
        fireworks = finished.launchpad.fireworks.count_documents({})
        # and at the end one that looks for the next thing to do, and the goal's own
        assert fireworks <= RunRecords(finished.store, self.plan().run_id).learned().generations + 2
        workflows = list(finished.launchpad.workflows.find())
        assert max(len(workflow["nodes"]) for workflow in workflows) <= self.PER_WORKFLOW
        assert len(workflows) == -(-fireworks // self.PER_WORKFLOW)

    def test_to_users_it_is_one_run(self, finished):
        (found,) = runs.list_runs(finished.launchpad.db)
        assert (found.run_id, found.state) == (self.plan().run_id, "done")
        assert found.jobs == {"COMPLETED": finished.launchpad.fireworks.count_documents({})}
        assert finished.launchpad.fireworks.distinct("spec.run_id") == [found.run_id]

    def test_specs_carry_the_run_s_name_and_little_else(self, finished):
        for document in finished.launchpad.fireworks.find().sort("fw_id", 1).skip(1):
            assert size_of(document) < 10_000
            arguments = document["spec"]["_tasks"][0]["job"]["function_args"]
            assert arguments[0] == self.plan().run_id
            assert all(one is None or isinstance(one, str | int) for one in arguments)
        for collection in ("fireworks", "workflows", "launches"):
            assert max(size_of(document) for document in finished.launchpad.db[collection].find()) < 100_000

    def test_no_stored_document_is_large(self, finished):
        assert max(size_of(document) for document in finished.store.docs_store._collection.find({})) < 100_000

    def test_a_generation_reads_as_much_as_any_other(self, finished):
        early, late = finished.read[10:30], finished.read[70:100]
        for what in ("labels", "blobs", "records"):
            assert median(one[what] for one in late) == median(one[what] for one in early), what
        # only where the model is chosen again are all labels read, which happens ever more rarely
        again = [n for n, one in enumerate(finished.read) if one["labels"] > 10]
        assert 2 <= len(again) < 20
        gaps = np.diff(again)
        assert gaps[-1] > 2 * gaps[0]

    def test_what_it_reads_hardly_grows(self, finished):
        for what in ("bytes of blobs", "bytes of records"):
            early, late = (median(one[what] for one in finished.read[part]) for part in (slice(10, 30), slice(70, 100)))
            per_label = (late - early) / 65
            assert per_label < 2000, what


@pytest.mark.live
class TestRockets:
    """Workers in processes of their own, on a real server."""

    @pytest.fixture(autouse=True)
    def _logged(self, clean_dir, monkeypatch):
        monkeypatch.setenv("EMT_LOG", str(clean_dir / "computed"))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    @pytest.fixture(scope="class")
    def undisturbed(self, tmp_path_factory) -> Ran:
        """The same plan by jobflow alone."""
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp("undisturbed")
            patch.chdir(folder)
            patch.setenv("EMT_LOG", str(folder / "computed"))
            return run(tiny_plan(calculator=LOGGED, **RICH), finish=None)

    @pytest.fixture
    def store(self, live_launchpad):
        found = jobstore_for(live_launchpad)
        found.connect()
        yield found
        found.close()

    def test_a_killed_rocket_is_followed_by_another_and_the_end_is_the_same(
        self, live_launchpad, store, undisturbed, clean_dir, monkeypatch
    ):
        monkeypatch.setenv("EMT_SECONDS", "0.2")
        plan = undisturbed.system
        uuid = submit(live_launchpad, plan)
        with RocketPool(live_launchpad.location, 1, plan.run_id) as pool:
            for after in (2, 6):
                wait_for(lambda after=after: pool.poll() and len(calculations(clean_dir)) >= after)
                os.kill(pool.pids[0], signal.SIGKILL)
            drain(pool)
            assert sum("killed by signal 9" in event for event in pool.events) == 2
        found = runs.find_run(live_launchpad.db, plan.run_id)
        assert (found.state, found.jobs) == ("done", {"COMPLETED": len(found.fw_ids)})
        assert_same(RunRecords(store, plan.run_id).learned(), undisturbed.learned)
        # each kill loses at most what was under way, from its start until it is stored
        n = undisturbed.learned.n_reference_calculations
        assert n <= len(calculations(clean_dir)) <= n + 2
        document = PotentialDocument.model_validate(store.get_output(uuid, which="last"))
        assert document.potential_sha256 == undisturbed.learned.potential_sha256
        assert runs.result_document(live_launchpad.db, plan.run_id)["potential_sha256"] == document.potential_sha256
        for name in ("fireworks", "launches", "workflows", "outputs"):
            assert max(size_of(one) for one in live_launchpad.db[name].find()) < 100_000, name

    def test_rockets_label_side_by_side(self, live_launchpad, store, undisturbed, clean_dir, monkeypatch):
        monkeypatch.setenv("EMT_SECONDS", "1")
        plan = undisturbed.system
        plan = plan.model_copy(update={"reference": plan.reference.model_copy(update={"cheap": False})})
        uuid = submit(live_launchpad, plan)
        with RocketPool(live_launchpad.location, 2, plan.run_id) as pool:
            drain(pool)
        learned = RunRecords(store, plan.run_id).learned()
        assert_same(learned, undisturbed.learned)
        assert {label.walker for label in RunRecords(store, plan.run_id).state().used} == {None, 0, 1}
        computed = calculations(clean_dir)
        assert len(computed) == learned.n_reference_calculations
        together = [
            (one, other)
            for one in computed
            for other in computed
            if one.pid != other.pid and one.began < other.began < one.ended
        ]
        assert together, "two processes labelled at the same time"
        labelling = list(live_launchpad.fireworks.find({"name": {"$regex": "^label "}}))
        assert len(labelling) == learned.n_reference_calculations
        assert {document["state"] for document in labelling} == {"COMPLETED"}
        # each of them waits for the job that asked for it only, and one job waits for all of a round
        (workflow,) = live_launchpad.workflows.find()
        seeds = [document["fw_id"] for document in labelling if "generation 1)" in document["name"]]
        (asked,) = {parent for parent, children in workflow["links"].items() if set(seeds) & set(children)}
        (waits,) = {tuple(workflow["links"][str(fw_id)]) for fw_id in seeds}
        assert set(workflow["links"][asked]) == set(seeds)
        assert len(waits) == 1
        assert PotentialDocument.model_validate(store.get_output(uuid, which="last"))


def assert_same(found: OTFDocument, expected: OTFDocument) -> None:
    assert found.label_ids == expected.label_ids
    assert found.potential_sha256 == expected.potential_sha256
    assert found.md_steps == expected.md_steps


def calculations(folder: Path) -> list[SimpleNamespace]:
    """What worker processes computed: by whom, from when, until when."""
    log = folder / "computed"
    lines = log.read_text().splitlines() if log.exists() else []
    fields = (line.split() for line in lines)
    return [SimpleNamespace(pid=int(pid), began=float(a), ended=float(b)) for pid, a, b in fields]


def drain(pool: RocketPool) -> None:
    wait_for(lambda: not pool.poll())


def wait_for(condition: Callable[[], Any], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
