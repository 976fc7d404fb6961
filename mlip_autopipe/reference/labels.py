"""Labels in the JobStore: found by what was computed, and never computed twice.

A label is an ordinary JobStore document whose ``uuid`` is the label id, so every store that jobflow can use will do.
Claims and budgets live in a sibling collection.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError, ReferenceCalculationError
from mlip_autopipe.reference.base import EngineResult, LadderExhaustedError, ReferenceEngine, sha256_of
from mlip_autopipe.schemas.label import ReferenceLabel

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore
    from pymongo.collection import Collection

    from mlip_autopipe.reference.budget import BudgetLedger

Document = dict[str, Any]

LABEL_NAME = "reference label"
LEDGER = "reference_ledger"
HEARTBEAT_S = 15.0
STALE_AFTER_S = 120.0
POLL_S = 0.2
POSITION_DECIMALS = 8
MAX_ATOMS = 10_000
"""Arrays of more atoms would make a document larger than 1 MB."""


def structure_document(atoms: Atoms) -> Document:
    """Return what identifies a structure, in JSON types; lengths in Angstrom rounded to 1e-8."""
    magmoms = atoms.get_initial_magnetic_moments()
    return {
        "numbers": atoms.numbers.tolist(),
        "cell_A": _rounded(atoms.cell.array),
        "positions_A": _rounded(atoms.positions),
        "pbc": [bool(p) for p in atoms.pbc],
        "magmoms": _rounded(magmoms) if np.any(magmoms) else None,
    }


def label_id(atoms: Atoms, settings_hash: str) -> str:
    """Return the id of the label of a structure under given settings: a sha256."""
    return sha256_of({"structure": structure_document(atoms), "settings": settings_hash})


class LabelStore:
    """Labels of a connected JobStore.

    Parameters
    ----------
    store
        A JobStore whose document store is a MongoDB collection (or an in-memory one).
    """

    def __init__(self, store: JobStore) -> None:
        self._labels = documents_of(store)
        self._claims = ledger_of(store)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"

    def get(self, label: str) -> ReferenceLabel | None:
        """Return the label with this id, or None."""
        found = self._labels.find_one({"uuid": label})
        return None if found is None else ReferenceLabel.model_validate(found["output"])

    def labels_of_run(self, run_id: str) -> list[ReferenceLabel]:
        """Return all labels that a run paid for, failed ones too."""
        found = self._labels.find({"output.run_id": run_id, "name": LABEL_NAME})
        return [ReferenceLabel.model_validate(document["output"]) for document in found]

    def get_or_compute(
        self, atoms: Atoms, engine: ReferenceEngine, *, budget: BudgetLedger | None = None, run_id: str | None = None
    ) -> ReferenceLabel:
        """Return the finished label of a structure, computing it if nobody has.

        When another worker is at it, wait for its answer. A label that failed before is tried again.

        Raises
        ------
        ReferenceCalculationError
            The calculation failed; the failure is stored with its reason.
        BudgetExhaustedError
            One more calculation would exceed the budget.
        """
        if len(atoms) > MAX_ATOMS:
            raise ReferenceCalculationError(f"{len(atoms)} atoms are too many for one label (at most {MAX_ATOMS})")
        key = label_id(atoms, engine.settings_hash)
        while True:
            known = self.get(key)
            if known is not None and known.state == "done":
                return known
            if self._claim(key):
                break
            time.sleep(POLL_S)
        with self._keeping(key, beat=not engine.cheap):
            known = self.get(key)
            if known is not None and known.state == "done":
                return known
            if budget is not None:
                budget.reserve(key)
            label = _compute(atoms, key, engine, run_id, known)
            if budget is not None:
                budget.spend(label.core_time_s)
            self._put(label)
        if label.state == "failed":
            raise ReferenceCalculationError(label.failure or "the reference calculation failed without a reason")
        return label

    def _put(self, label: ReferenceLabel) -> None:
        """Store a label; a finished one is never overwritten."""
        from pymongo.errors import DuplicateKeyError

        document = {
            "_id": label.label_id,
            "uuid": label.label_id,
            "index": 1,
            "name": LABEL_NAME,
            "output": label.model_dump(mode="json"),
            "metadata": {"run_id": label.run_id},
            "hosts": [],
        }
        try:
            self._labels.replace_one(
                {"_id": label.label_id, "output.state": {"$ne": "done"}}, document, upsert=True
            )
        except DuplicateKeyError:
            return  # it is finished already

    def _claim(self, key: str) -> bool:
        """Try to become the one who computes a label; take over from an owner that is dead."""
        from pymongo.errors import DuplicateKeyError

        claim = {"_id": f"claim:{key}", "owner": self._owner, "heartbeat": time.time()}
        try:
            self._claims.insert_one(claim)
        except DuplicateKeyError:
            other = self._claims.find_one({"_id": claim["_id"]})
            if other is None or not _is_dead(other):
                return False
            exactly = {"_id": claim["_id"], "owner": other["owner"], "heartbeat": other["heartbeat"]}
            return bool(self._claims.replace_one(exactly, claim).matched_count)
        return True

    @contextmanager
    def _keeping(self, key: str, *, beat: bool) -> Iterator[None]:
        """Hold a claim while computing (with a heartbeat if that takes long), and release it."""
        mine = {"_id": f"claim:{key}", "owner": self._owner}
        stop = threading.Event()

        def heartbeat() -> None:
            from pymongo.errors import PyMongoError

            while not stop.wait(HEARTBEAT_S):
                try:
                    self._claims.update_one(mine, {"$set": {"heartbeat": time.time()}})
                except PyMongoError:
                    continue  # a hiccup: the next beat comes before the claim is stale

        thread = threading.Thread(target=heartbeat, daemon=True) if beat else None
        if thread is not None:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread is not None:
                thread.join()
            self._claims.delete_one(mine)


def documents_of(store: JobStore) -> Collection[Document]:
    """Return the collection in which a JobStore keeps its documents.

    Raises
    ------
    EnvironmentProblemError
        The JobStore is not kept in MongoDB, SecantusDB or memory.
    """
    collection: Collection[Document] | None = getattr(store.docs_store, "_collection", None)
    if collection is None:
        raise EnvironmentProblemError(
            f"labels cannot be kept in a {type(store.docs_store).__name__}; use a MongoStore or MemoryStore as JobStore"
        )
    return collection


def ledger_of(store: JobStore) -> Collection[Document]:
    """Return the collection of claims and budgets that belongs to a JobStore."""
    ledger: Collection[Document] = documents_of(store).database[LEDGER]
    return ledger


def _compute(
    atoms: Atoms, key: str, engine: ReferenceEngine, run_id: str | None, before: ReferenceLabel | None
) -> ReferenceLabel:
    wall, core = time.perf_counter(), time.process_time()
    result: EngineResult | None = None
    failure: str | None = None
    attempts = list(before.attempts) if before is not None else []
    try:
        result = engine.compute(atoms)
        attempts += result.attempts
    except ReferenceCalculationError as error:
        failure = str(error)
        attempts += error.attempts if isinstance(error, LadderExhaustedError) else []
    return ReferenceLabel(
        label_id=key,
        settings_hash=engine.settings_hash,
        engine=engine.name,
        engine_version=engine.version,
        state="failed" if result is None else "done",
        structure=structure_document(atoms),
        energy_eV=None if result is None else result.energy_eV,
        forces_eV_per_A=None if result is None else [_vector(f) for f in result.forces_eV_per_A],
        stress_eV_per_A3=None if result is None else _voigt(result.stress_eV_per_A3),
        magmoms=None if result is None else result.magmoms,
        failure=failure,
        warnings=[] if result is None else result.warnings,
        attempts=attempts,
        wall_time_s=time.perf_counter() - wall,
        core_time_s=time.process_time() - core,
        run_id=run_id,
    )


def _is_dead(claim: Document) -> bool:
    host, pid, _ = str(claim["owner"]).split(":")
    if host == socket.gethostname():
        import psutil

        # the same process may hold a claim in another thread; a process that is gone holds nothing
        return not psutil.pid_exists(int(pid))
    return time.time() - float(claim["heartbeat"]) > STALE_AFTER_S


def _rounded(array: Any) -> Any:
    # adding zero turns -0.0 into 0.0, which would hash differently
    return (np.round(np.asarray(array, dtype=float), POSITION_DECIMALS) + 0.0).tolist()


def _vector(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _voigt(values: Any) -> tuple[float, float, float, float, float, float]:
    xx, yy, zz, yz, xz, xy = (float(v) for v in values)
    return xx, yy, zz, yz, xz, xy
