"""Labels in the JobStore: found by what was computed, and never computed twice.

A label is an ordinary JobStore document whose ``uuid`` is the label id, so every store that jobflow can use will do.
Claims and budgets live in a sibling collection.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.errors import ReferenceCalculationError, TransientError
from mlip_autopipe.reference.base import EngineResult, LadderExhaustedError, ReferenceEngine, sha256_of
from mlip_autopipe.reference.claims import Claims
from mlip_autopipe.reference.documents import Document, documents_of, ledger_of
from mlip_autopipe.schemas.label import Attempt, ReferenceLabel

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore

    from mlip_autopipe.reference.budget import BudgetLedger

LABEL_NAME = "reference label"
POLL_S = 0.2
STORE_DELAYS_S = (1.0, 4.0, 16.0)
"""Pauses between attempts to store a label: a result of hours is not lost to a hiccup of the database."""
MAX_DEATHS = 3
"""After so many workers died at a calculation in a row it is a failed label and not begun again."""
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
    ends_at
        Unix time at which the queue ends this process: what it kills then is not held against a calculation.
    """

    def __init__(self, store: JobStore, *, ends_at: float | None = None) -> None:
        self._labels = documents_of(store)
        self._claims = Claims(ledger_of(store), ends_at=ends_at)

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

        When another worker is at it, wait for its answer. A label that failed before is tried again, on a harder
        ladder; one at which `MAX_DEATHS` workers died in a row fails without being begun.

        Raises
        ------
        ReferenceCalculationError
            The calculation failed; the failure is stored with its reason.
        BudgetExhaustedError
            One more calculation would exceed the budget.
        TransientError
            The calculation ran out of memory, which counts as a death.
        """
        if len(atoms) > MAX_ATOMS:
            raise ReferenceCalculationError(f"{len(atoms)} atoms are too many for one label (at most {MAX_ATOMS})")
        key = label_id(atoms, engine.settings_hash)
        at_first = known = self.get(key)
        while known is None or known.state != "done":
            try:
                with self._claims.holding(key) as mine:
                    if mine:
                        known = self.get(key)
                        if known == at_first:
                            known = self._compute(atoms, key, engine, budget, run_id, known)
                        # else: whoever held the claim while we waited has just finished, or failed
                        return _finished(known)
            except MemoryError as error:
                raise TransientError(
                    f"not enough memory to compute a label of {len(atoms)} atoms; free some, or give the job more"
                ) from error
            time.sleep(POLL_S)
            known = self.get(key)
        return known

    def _compute(
        self,
        atoms: Atoms,
        key: str,
        engine: ReferenceEngine,
        budget: BudgetLedger | None,
        run_id: str | None,
        before: ReferenceLabel | None,
    ) -> ReferenceLabel:
        deaths = self._claims.deaths(key)
        if deaths >= MAX_DEATHS:
            return self._put(_killer(atoms, key, engine, run_id, before, deaths))
        if budget is not None:
            budget.reserve(key)
        label = _compute(atoms, key, engine, run_id, before, deaths)
        stored = self._put(label)
        if budget is not None:
            budget.spend(label.core_time_s)
        return stored

    def _put(self, label: ReferenceLabel) -> ReferenceLabel:
        """Store a label and return what is stored: a finished one is never overwritten."""
        from pymongo.errors import AutoReconnect, DuplicateKeyError

        document = {
            "name": LABEL_NAME,
            "output": label.model_dump(mode="json"),
            "completed_at": datetime.now(UTC).isoformat(),
            "metadata": {"run_id": label.run_id},
            "hosts": [],
        }
        for delay_s in (*STORE_DELAYS_S, None):
            try:
                self._labels.update_one(
                    {"uuid": label.label_id, "index": 1, "output.state": {"$ne": "done"}},
                    {"$set": document, "$setOnInsert": {"_id": label.label_id}},
                    upsert=True,
                )
            except DuplicateKeyError:  # it is finished already
                return self.get(label.label_id) or label
            except AutoReconnect:
                if delay_s is None:
                    raise
                time.sleep(delay_s)
            else:
                break
        return label


def _compute(
    atoms: Atoms, key: str, engine: ReferenceEngine, run_id: str | None, before: ReferenceLabel | None, deaths: int
) -> ReferenceLabel:
    wall, core = time.perf_counter(), _core_seconds()
    result: EngineResult | None = None
    failure: str | None = None
    attempts = list(before.attempts) if before is not None else []
    failed_before = before is not None and before.state == "failed"
    try:
        compute = engine.compute_harder if failed_before else engine.compute
        result = compute(_identified(atoms))
        _require_numbers(result, len(atoms), engine)
        attempts += result.attempts
    except ReferenceCalculationError as error:
        result, failure = None, str(error) or f"{engine.name} gave no reason"
        if isinstance(error, LadderExhaustedError):
            attempts += error.attempts
        else:
            took_s = time.perf_counter() - wall
            step = "once more" if failed_before else "as planned"
            attempts.append(Attempt(step=step, converged=False, message=failure, wall_time_s=took_s))
    return _label(
        atoms,
        key,
        engine,
        result,
        failure=failure,
        attempts=attempts,
        tries=_tries(before) + 1,
        deaths=deaths,
        wall_time_s=time.perf_counter() - wall,
        core_time_s=max(0.0, _core_seconds() - core),
        run_id=run_id,
    )


def _killer(
    atoms: Atoms, key: str, engine: ReferenceEngine, run_id: str | None, before: ReferenceLabel | None, deaths: int
) -> ReferenceLabel:
    """Return the failed label of a calculation that none of its workers survived."""
    reason = f"the worker died {deaths} times while computing it (not enough memory, or a crash of the engine)"
    lost = Attempt(step="in workers that died", converged=False, message=reason, wall_time_s=0.0)
    return _label(
        atoms,
        key,
        engine,
        None,
        failure=reason,
        attempts=[*(before.attempts if before is not None else []), lost],
        tries=_tries(before) + deaths,
        deaths=deaths,
        wall_time_s=0.0,
        core_time_s=0.0,
        run_id=run_id,
    )


def _label(
    atoms: Atoms, key: str, engine: ReferenceEngine, result: EngineResult | None, **more: Any
) -> ReferenceLabel:
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
        warnings=[] if result is None else result.warnings,
        **more,
    )


def _tries(label: ReferenceLabel | None) -> int:
    return 0 if label is None else label.tries


def _finished(label: ReferenceLabel | None) -> ReferenceLabel:
    if label is None or label.state == "failed":
        raise ReferenceCalculationError((label and label.failure) or "the reference calculation left no label")
    return label


def _identified(atoms: Atoms) -> Atoms:
    """Return what a label's id knows of the atoms: nothing else (constraints, charges, info) may decide its numbers."""
    from ase import Atoms as Plain

    magmoms = atoms.get_initial_magnetic_moments()
    return Plain(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        magmoms=magmoms if np.any(magmoms) else None,
    )


def _require_numbers(result: EngineResult, n_atoms: int, engine: ReferenceEngine) -> None:
    forces, stress = np.asarray(result.forces_eV_per_A), np.asarray(result.stress_eV_per_A3)
    if forces.shape != (n_atoms, 3) or stress.shape != (6,):
        raise ReferenceCalculationError(
            f"engine {engine.name} returned forces of shape {forces.shape} and a stress of shape {stress.shape} "
            f"for {n_atoms} atoms"
        )
    numbers = [np.array([result.energy_eV]), forces, stress, np.array(result.magmoms or [0.0])]
    if not all(np.isfinite(n).all() for n in numbers):
        raise ReferenceCalculationError(f"engine {engine.name} returned a number that is not finite")


def _core_seconds() -> float:
    """Return the core time of this process (all threads) and of the programs it has run."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _rounded(array: Any) -> Any:
    # adding zero turns -0.0 into 0.0, which would hash differently
    return (np.round(np.asarray(array, dtype=float), POSITION_DECIMALS) + 0.0).tolist()


def _vector(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _voigt(values: Any) -> tuple[float, float, float, float, float, float]:
    xx, yy, zz, yz, xz, xy = (float(v) for v in values)
    return xx, yy, zz, yz, xz, xy
