"""Labels computed by several processes on a server: once, whoever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ase.build import bulk

from mlip_autopipe.reference.documents import ledger_of
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.system import ReferenceSettings

from .fakes import WritingEngine

SETTINGS = "0" * 64


WORKER = """
import sys
from ase.build import bulk
from jobflow import JobStore
from maggma.stores import MongoStore
from mlip_autopipe.reference.labels import LabelStore
from tests.reference.fakes import WritingEngine
from mlip_autopipe.schemas.system import ReferenceSettings

host, port, name = sys.argv[1:]
store = JobStore(MongoStore(name, "outputs", host=host, port=int(port)))
store.connect()
engine = WritingEngine(ReferenceSettings(engine="fake", parameters={}, cheap=False))
for a in (5.5, 5.6, 5.7):
    print(LabelStore(store).get_or_compute(bulk("NaCl", "rocksalt", a=a), engine).label_id)
"""


@pytest.mark.live
def test_processes_compute_a_label_once(live_launchpad, live_jobstore, clean_dir, monkeypatch):
    log, root = clean_dir / "computed", Path(__file__).parents[2]
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", str(root))
    address = [live_launchpad.host, str(live_launchpad.port), live_launchpad.name]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, *address], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0])) == 3
    assert len(log.read_text().split()) == 3
    assert all(live_jobstore.get_output(key)["state"] == "done" for key in outputs[0])


KILLED = """
import os, signal
from tests.reference import fakes

engine_compute = fakes.WritingEngine.compute

def die(self, atoms):
    engine_compute(self, atoms)
    os.kill(os.getpid(), signal.SIGKILL)

fakes.WritingEngine.compute = die
""" + WORKER


@pytest.mark.live
def test_the_claim_of_a_killed_process_is_taken_over_at_once(live_launchpad, live_jobstore, clean_dir, monkeypatch):
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(clean_dir / "computed"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    address = [live_launchpad.host, str(live_launchpad.port), live_launchpad.name]
    killed = subprocess.Popen([sys.executable, "-c", KILLED, *address])
    ledger = ledger_of(live_jobstore)
    deadline = time.monotonic() + 60
    while psutil.Process(killed.pid).status() != psutil.STATUS_ZOMBIE:  # not reaped: a zombie holds nothing either
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (claim,) = ledger.find({})
    assert claim["owner"]["pid"] == killed.pid
    monkeypatch.setattr("mlip_autopipe.reference.claims.STALE_AFTER_S", 1e6)
    engine = WritingEngine(ReferenceSettings(engine="fake", parameters={}, cheap=False))
    label = LabelStore(live_jobstore).get_or_compute(bulk("NaCl", "rocksalt", a=5.5), engine)
    assert claim["_id"] == f"claim:{label.label_id}"
    assert label.state == "done"
    assert ledger.count_documents({}) == 0
    killed.wait()


DEADLY = """
import os, sys, time
from ase.build import bulk
from jobflow import JobStore
from maggma.stores import MongoStore
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.reference.registry import make_engine
from mlip_autopipe.schemas.system import ReferenceSettings

host, port, name, a, ends_in = sys.argv[1:]
store = JobStore(MongoStore(name, "outputs", host=host, port=int(port)))
store.connect()
parameters = {"calculator": "tests.reference.calculators.Deadly", "kwargs": {}}
engine = make_engine(ReferenceSettings(engine="ase", parameters=parameters, cheap=True), cores=1)
ends_at = time.time() + float(ends_in) if float(ends_in) else None
atoms = bulk("Cu", a=float(a))
try:
    label = LabelStore(store, ends_at=ends_at).get_or_compute(atoms, engine, run_id="run-1")
    print(label.state, label.deaths, label.tries)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.live
class TestDeadlyCalculations:
    """Calculations that take their process with them, in processes of their own on a server."""

    LARGE = 4.0

    @pytest.fixture
    def begin(self, live_launchpad, clean_dir, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        monkeypatch.setenv("DEADLY_LOG", str(clean_dir / "begun"))
        monkeypatch.setenv("DEADLY_VOLUMES", f"{self.LARGE**3 / 4:.4f}")
        address = [live_launchpad.host, str(live_launchpad.port), live_launchpad.name]

        def worker(how: str, *, a: float = self.LARGE, ends_in: float = 0.0) -> subprocess.Popen:
            monkeypatch.setenv("DEADLY_HOW", how)
            command = [sys.executable, "-c", DEADLY, *address, str(a), str(ends_in)]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        return worker

    @staticmethod
    def begun(folder):
        log = folder / "begun"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def test_after_three_deaths_it_is_a_failed_label_and_others_are_computed(self, begin, clean_dir, live_jobstore):
        for how in ("exit", "segfault", "exit"):
            worker = begin(how)
            worker.communicate(timeout=60)
            assert worker.returncode != 0
        assert self.begun(clean_dir) == 3
        assert LabelStore(live_jobstore).labels_of_run("run-1") == []
        said, _ = begin("exit").communicate(timeout=60)
        assert said.startswith("ReferenceCalculationError the worker died 3 times while computing it")
        assert self.begun(clean_dir) == 3, "it was not begun again"
        (label,) = LabelStore(live_jobstore).labels_of_run("run-1")
        assert (label.state, label.deaths, label.tries) == ("failed", 3, 3)
        assert "the worker died 3 times" in label.failure
        assert ledger_of(live_jobstore).count_documents({}) == 0
        assert begin("exit", a=3.6).communicate(timeout=60)[0].split() == ["done", "0", "1"]
        # whoever mends the cause and asks again gets an answer
        assert begin("live").communicate(timeout=60)[0].split() == ["done", "0", "4"]

    def test_stops_in_order_and_the_queue_s_limit_do_not_count(self, begin, clean_dir, live_jobstore):
        begin("exit").communicate(timeout=60)
        for n, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGTERM), start=2):
            worker = begin("sleep")
            wait_for(lambda n=n: self.begun(clean_dir) == n)
            stop(worker, number)
            assert worker.returncode in (-number, 1)
        begin("exit", ends_in=5.0).communicate(timeout=60)  # as if the queue had killed it
        assert self.begun(clean_dir) == 5
        said, _ = begin("live").communicate(timeout=60)
        assert said.split() == ["done", "1", "1"], "the first one only"


def stop(worker, number, attempts=10):
    """Ask until it goes: on a busy machine Python can drop what a signal raises while an object is being deleted."""
    for _ in range(attempts):
        worker.send_signal(number)
        try:
            worker.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            continue
        return
    raise AssertionError(f"it did not stop after {attempts} signals")


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
