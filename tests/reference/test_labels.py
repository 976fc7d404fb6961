from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from mlip_autopipe.errors import (
    BudgetExhaustedError,
    EnvironmentProblemError,
    ReferenceCalculationError,
    TransientError,
)
from mlip_autopipe.reference import labels as module
from mlip_autopipe.reference.base import EngineResult, LadderExhaustedError
from mlip_autopipe.reference.budget import BudgetLedger
from mlip_autopipe.reference.documents import ledger_of
from mlip_autopipe.reference.labels import LabelStore, label_id, structure_document
from mlip_autopipe.schemas.label import Attempt

from .fakes import failure, fake_engine

SETTINGS = "0" * 64


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "STORE_DELAYS_S", (0.0, 0.0))


@pytest.fixture
def nacl():
    return bulk("NaCl", "rocksalt", a=5.6)


class TestIdentity:
    def test_it_never_changes_silently(self, nacl):
        # every label in every database is found by this: whoever changes it throws them all away
        assert label_id(nacl, SETTINGS) == "014c14ad8c517905fabe3ecb6ef22aaf126dd0b874b95b845c2ec431d4bf00d5"

    def test_copies_and_negative_zeros_are_the_same(self, nacl):
        other = nacl.copy()
        other.positions[other.positions == 0.0] = -0.0
        other.cell[other.cell == 0.0] = -0.0
        assert np.signbit(other.cell.array).any()
        assert not np.signbit(structure_document(other)["cell_A"]).any()
        assert label_id(other, SETTINGS) == label_id(nacl, SETTINGS)

    @pytest.mark.parametrize(("shift_A", "same"), [(1e-10, True), (2e-8, False)])
    def test_lengths_are_rounded_to_1e_8(self, nacl, shift_A, same):
        moved, wider = nacl.copy(), nacl.copy()
        moved.positions[1, 2] += shift_A
        wider.cell[0, 1] += shift_A
        assert (label_id(moved, SETTINGS) == label_id(nacl, SETTINGS)) is same
        assert (label_id(wider, SETTINGS) == label_id(nacl, SETTINGS)) is same

    def test_atoms_in_another_order_have_forces_in_another_order(self, nacl):
        assert label_id(nacl[[1, 0]], SETTINGS) != label_id(nacl, SETTINGS)

    def test_species_moments_periodicity_and_settings_count(self, nacl):
        others = [nacl.copy() for _ in range(4)]
        others[0].numbers[1] = 9
        others[1].set_initial_magnetic_moments([1.0, 0.0])
        others[2].set_initial_magnetic_moments([0.0, 1.0])
        others[3].pbc = (True, True, False)
        ids = [label_id(a, SETTINGS) for a in (nacl, *others)] + [label_id(nacl, "1" * 64)]
        assert len(set(ids)) == 6

    def test_zero_moments_are_no_moments(self, nacl):
        other = nacl.copy()
        other.set_initial_magnetic_moments([0.0, -0.0])
        assert label_id(other, SETTINGS) == label_id(nacl, SETTINGS)

    def test_the_document_rebuilds_the_structure(self, nacl):
        nacl.set_initial_magnetic_moments([0.5, 0.0])
        document = structure_document(nacl)
        again = Atoms(
            numbers=document["numbers"],
            cell=document["cell_A"],
            positions=document["positions_A"],
            pbc=document["pbc"],
            magmoms=document["magmoms"],
        )
        assert label_id(again, SETTINGS) == label_id(nacl, SETTINGS)

    def test_the_engine_sees_what_the_id_knows_and_nothing_else(self, labels, nacl):
        nacl.set_constraint(FixAtoms([0]))
        nacl.set_initial_charges([1.0, -1.0])
        nacl.info["charge"] = 1
        nacl.set_initial_magnetic_moments([0.5, 0.0])
        engine = fake_engine()
        labels.get_or_compute(nacl, engine)
        (seen,) = engine.computed
        assert label_id(seen, SETTINGS) == label_id(nacl, SETTINGS)
        assert not seen.constraints
        assert not seen.info
        assert not seen.has("initial_charges")


class TestStoring:
    def test_a_label_is_computed_once(self, labels, nacl):
        engine = fake_engine()
        first = labels.get_or_compute(nacl, engine, run_id="run-1")
        second = labels.get_or_compute(nacl.copy(), engine, run_id="run-2")
        assert len(engine.computed) == 1
        assert first == second
        assert first.run_id == "run-1"
        assert first.energy_eV == pytest.approx(nacl.positions[:, 2].sum())
        assert first.stress_eV_per_A3 == (0, 1, 2, 3, 4, 5)

    def test_jobflow_reads_it_like_a_jobs_output(self, memory_jobstore, labels, nacl):
        label = labels.get_or_compute(nacl, fake_engine(), run_id="run-1")
        assert memory_jobstore.get_output(label.label_id) == label.model_dump(mode="json")
        document = memory_jobstore.query_one({"metadata.run_id": "run-1"}, load=True)
        assert document["uuid"] == label.label_id
        assert document["name"] == "reference label"
        assert document["index"] == 1
        assert document["completed_at"]
        assert {"hosts", "metadata", "output"} < set(document)

    def test_labels_of_a_run_include_failures(self, labels, nacl):
        labels.get_or_compute(nacl, fake_engine(), run_id="run-1")
        broken = fake_engine(depth=2)
        broken.fails = [failure()]
        with pytest.raises(ReferenceCalculationError):
            labels.get_or_compute(nacl, broken, run_id="run-1")
        labels.get_or_compute(nacl, fake_engine(depth=3), run_id="run-2")
        assert sorted(label.state for label in labels.labels_of_run("run-1")) == ["done", "failed"]

    def test_a_finished_label_is_never_overwritten(self, memory_jobstore, labels, nacl):
        done = labels.get_or_compute(nacl, fake_engine())
        worse = done.model_copy(update={"state": "failed", "energy_eV": None, "failure": "late"})
        other = done.model_copy(update={"energy_eV": -1.0})
        assert labels._put(worse) == done
        assert labels._put(other) == done
        assert labels.get(done.label_id) == done
        assert memory_jobstore.count({"uuid": done.label_id}) == 1

    def test_a_label_copied_from_another_store_is_found(self, memory_jobstore, labels, nacl):
        label = labels.get_or_compute(nacl, fake_engine())
        (document,) = memory_jobstore.query({"uuid": label.label_id})
        memory_jobstore.remove_docs({"uuid": label.label_id})
        document.pop("_id")
        memory_jobstore.update(document)
        engine = fake_engine()
        assert labels.get_or_compute(nacl, engine) == label
        assert not engine.computed

    def test_a_hiccup_of_the_database_does_not_lose_a_result(self, labels, nacl, monkeypatch):
        from pymongo.errors import AutoReconnect

        engine, update, hiccups = fake_engine(), labels._labels.update_one, [AutoReconnect("down")] * 2

        def flaky(*args, **kwargs):
            if hiccups:
                raise hiccups.pop()
            return update(*args, **kwargs)

        monkeypatch.setattr(labels._labels, "update_one", flaky)
        label = labels.get_or_compute(nacl, engine)
        assert labels.get(label.label_id) == label
        assert len(engine.computed) == 1

    def test_a_database_that_stays_away_is_an_error(self, labels, nacl, monkeypatch):
        from pymongo.errors import AutoReconnect

        def down(*args, **kwargs):
            raise AutoReconnect("down")

        monkeypatch.setattr(labels._labels, "update_one", down)
        with pytest.raises(AutoReconnect):
            labels.get_or_compute(nacl, fake_engine())

    def test_too_many_atoms_for_a_document(self, labels):
        with pytest.raises(ReferenceCalculationError, match="10001 atoms are too many"):
            labels.get_or_compute(Atoms("H10001", cell=[1, 1, 1], pbc=True), fake_engine())

    def test_stores_that_would_forget_labels_are_refused(self, clean_dir):
        from jobflow import JobStore
        from maggma.stores import JSONStore

        store = JobStore(JSONStore("docs.json", read_only=False))
        store.connect()
        with pytest.raises(EnvironmentProblemError, match="cannot be kept in a JSONStore; use a MongoStore"):
            LabelStore(store)


class TestFailure:
    def test_it_is_stored_with_its_reason_and_tried_again_with_the_attempts_appended(self, labels, nacl):
        engine = fake_engine()
        tried = [Attempt(step=s, converged=False, message="no", wall_time_s=0.0) for s in ("as planned", "gentler")]
        engine.fails = [failure("it blew up"), LadderExhaustedError("nothing helped", tried)]
        key = label_id(nacl, engine.settings_hash)
        with pytest.raises(ReferenceCalculationError, match="it blew up"):
            labels.get_or_compute(nacl, engine, run_id="run-1")
        stored = labels.get(key)
        assert (stored.state, stored.failure, stored.energy_eV) == ("failed", "it blew up", None)
        assert [(a.step, a.message) for a in stored.attempts] == [("as planned", "it blew up")]
        assert stored.tries == 1
        with pytest.raises(ReferenceCalculationError, match="nothing helped"):
            labels.get_or_compute(nacl, engine, run_id="run-1")
        label = labels.get_or_compute(nacl, engine, run_id="run-1")
        assert label == labels.get(key)
        assert label.state == "done"
        assert label.failure is None
        assert [(a.step, a.converged) for a in label.attempts] == [
            ("as planned", False),
            ("as planned", False),
            ("gentler", False),
            ("as planned", True),
        ]
        assert label.tries == len(engine.computed) == 3

    def test_the_second_try_is_the_harder_one(self, labels, nacl, monkeypatch):
        engine, harder = fake_engine(), []
        monkeypatch.setattr(engine, "compute_harder", lambda atoms: harder.append(1) or engine.compute(atoms))
        engine.fails = [failure("no"), failure("still no")]
        for _ in range(2):
            with pytest.raises(ReferenceCalculationError):
                labels.get_or_compute(nacl, engine)
        key = label_id(nacl, engine.settings_hash)
        assert [a.step for a in labels.get(key).attempts] == ["as planned", "once more"]
        assert labels.get_or_compute(nacl, engine).tries == 3
        assert len(harder) == 2

    @pytest.mark.parametrize(
        "result",
        [
            EngineResult(np.nan, np.zeros((2, 3)), np.zeros(6)),
            EngineResult(0.0, np.full((2, 3), np.inf), np.zeros(6)),
            EngineResult(0.0, np.zeros((2, 3)), np.array([0, 0, 0, 0, 0, np.nan])),
            EngineResult(0.0, np.zeros((2, 3)), np.zeros(6), magmoms=[0.0, np.nan]),
        ],
    )
    def test_no_number_that_is_not_finite_is_stored(self, labels, nacl, result):
        engine = fake_engine()
        engine.result = result
        with pytest.raises(ReferenceCalculationError, match="not finite"):
            labels.get_or_compute(nacl, engine)
        assert labels.get(label_id(nacl, engine.settings_hash)).state == "failed"

    @pytest.mark.parametrize(
        ("forces", "stress"), [(np.zeros((1, 3)), np.zeros(6)), (np.zeros((2, 3)), np.zeros((3, 3)))]
    )
    def test_numbers_of_the_wrong_shape_are_refused(self, labels, nacl, forces, stress):
        engine = fake_engine()
        engine.result = EngineResult(0.0, forces, stress)
        with pytest.raises(ReferenceCalculationError, match="for 2 atoms"):
            labels.get_or_compute(nacl, engine)

    def test_a_full_disk_leaves_neither_label_nor_claim(self, memory_jobstore, labels, nacl):
        engine = fake_engine()
        engine.fails = [OSError(28, "No space left on device")]
        with pytest.raises(OSError, match="No space left"):
            labels.get_or_compute(nacl, engine)
        assert labels.get(label_id(nacl, engine.settings_hash)) is None
        assert ledger_of(memory_jobstore).count_documents({}) == 0
        assert labels.get_or_compute(nacl, engine).state == "done"


class TestBudget:
    def _ledger(self, store, n=1, hours=1.0):
        return BudgetLedger(store, "run-1", max_reference_calculations=n, max_core_hours=hours)

    def test_only_what_is_computed_is_paid(self, memory_jobstore, labels, nacl):
        ledger, engine = self._ledger(memory_jobstore), fake_engine()
        labels.get_or_compute(nacl, engine, budget=ledger)
        labels.get_or_compute(nacl, engine, budget=ledger)
        assert ledger.spent()[0] == 1

    def test_nothing_is_computed_beyond_it_and_the_claim_is_free_again(self, memory_jobstore, labels, nacl):
        ledger, engine = self._ledger(memory_jobstore), fake_engine()
        labels.get_or_compute(nacl, engine, budget=ledger)
        nacl.positions[1] += 0.1
        with pytest.raises(BudgetExhaustedError):
            labels.get_or_compute(nacl, engine, budget=ledger)
        assert len(engine.computed) == 1
        assert labels.get_or_compute(nacl, engine).state == "done"

    def test_core_time_is_that_of_threads_and_programs_that_the_engine_ran(self, memory_jobstore, labels, nacl):
        ledger, engine = self._ledger(memory_jobstore), fake_engine()
        burn = "import time\nwhile time.process_time() < 0.2: pass"
        engine.before = lambda atoms: subprocess.run([sys.executable, "-c", burn], check=True) and None
        label = labels.get_or_compute(nacl, engine, budget=ledger)
        assert label.core_time_s >= 0.19
        assert ledger.spent()[1] == pytest.approx(label.core_time_s / 3600)

    def test_failures_cost_time(self, memory_jobstore, labels, nacl):
        ledger, engine = self._ledger(memory_jobstore), fake_engine()
        engine.fails = [failure()]
        engine.before = lambda atoms: sum(i * i for i in range(300_000)) and None
        with pytest.raises(ReferenceCalculationError):
            labels.get_or_compute(nacl, engine, budget=ledger)
        assert ledger.spent()[1] > 0


class TestConcurrency:
    def _race(self, store, nacl, engine, n=8):
        barrier = threading.Barrier(n)

        def work(_):
            barrier.wait()
            try:
                return LabelStore(store).get_or_compute(nacl, engine)
            except ReferenceCalculationError as error:
                return str(error)

        with ThreadPoolExecutor(n) as pool:
            return list(pool.map(work, range(n)))

    def test_many_threads_compute_a_label_once(self, memory_jobstore, nacl):
        engine = fake_engine()
        engine.before = lambda atoms: time.sleep(0.1)
        found = self._race(memory_jobstore, nacl, engine)
        assert len(engine.computed) == 1
        assert all(label == found[0] for label in found)
        assert ledger_of(memory_jobstore).count_documents({}) == 0

    def test_who_waited_for_a_failure_does_not_repeat_it(self, memory_jobstore, nacl):
        engine, started = fake_engine(), threading.Event()
        engine.fails = [failure("it blew up")] * 8

        def slowly(atoms):
            started.set()
            time.sleep(0.3)

        engine.before = slowly
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(LabelStore(memory_jobstore).get_or_compute, nacl, engine)
            started.wait()
            others = [pool.submit(LabelStore(memory_jobstore).get_or_compute, nacl, engine) for _ in range(3)]
            for future in (first, *others):
                with pytest.raises(ReferenceCalculationError, match="it blew up"):
                    future.result()
        assert len(engine.computed) == 1

    def test_different_labels_do_not_wait_for_each_other(self, memory_jobstore, nacl):
        engine, both = fake_engine(), threading.Barrier(2)
        engine.before = lambda atoms: both.wait(timeout=20) and None
        other = nacl.copy()
        other.positions[1] += 0.1
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda a: LabelStore(memory_jobstore).get_or_compute(a, engine), (nacl, other)))
        assert [label.state for label in done] == ["done", "done"]

    @pytest.mark.live
    def test_threads_on_a_server(self, live_jobstore, nacl):
        engine = fake_engine()
        engine.before = lambda atoms: time.sleep(0.1)
        found = self._race(live_jobstore, nacl, engine)
        assert len(engine.computed) == 1
        assert live_jobstore.get_output(found[0].label_id) == found[0].model_dump(mode="json")
        worse = found[0].model_copy(update={"state": "failed"})
        assert LabelStore(live_jobstore)._put(worse) == found[0]


class TestOutOfMemory:
    def test_it_may_go_away_and_after_three_times_it_is_a_failed_label(self, labels, nacl):
        engine = fake_engine()
        engine.fails = [MemoryError()] * 3
        for _ in range(3):
            with pytest.raises(TransientError, match="not enough memory to compute a label of 2 atoms"):
                labels.get_or_compute(nacl, engine)
        with pytest.raises(ReferenceCalculationError, match="the worker died 3 times"):
            labels.get_or_compute(nacl, engine)
        assert len(engine.computed) == 3

    def test_an_answer_in_between_clears_the_count(self, labels, nacl):
        engine = fake_engine()
        engine.fails = [MemoryError(), MemoryError(), failure("no"), MemoryError()]
        for expected in (TransientError, TransientError, ReferenceCalculationError, TransientError):
            with pytest.raises(expected):
                labels.get_or_compute(nacl, engine)
        assert labels.get_or_compute(nacl, engine).deaths == 1

    def test_a_spent_budget_is_no_reason_to_leave_a_killer_unnamed(self, memory_jobstore, labels, nacl):
        engine = fake_engine()
        engine.fails = [MemoryError()] * 3
        for _ in range(3):
            with pytest.raises(TransientError):
                labels.get_or_compute(nacl, engine)
        ledger = BudgetLedger(memory_jobstore, "run-1", max_reference_calculations=1, max_core_hours=1.0)
        ledger.reserve("another")
        with pytest.raises(ReferenceCalculationError, match="died 3 times"):
            labels.get_or_compute(nacl, engine, budget=ledger)
