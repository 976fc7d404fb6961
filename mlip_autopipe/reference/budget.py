"""What a run may spend on reference calculations, kept so that concurrent workers never exceed it by one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import BudgetExhaustedError
from mlip_autopipe.reference.documents import ledger_of

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.schemas.system import Budget

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Refusal:
    """Why a run was refused a calculation last.

    Attributes
    ----------
    name
        Of the limit, as in `Budget`.
    limit
        Its value then.
    """

    name: str
    limit: float

    def is_lifted_by(self, budget: Budget) -> bool:
        """Whether another budget allows more."""
        return bool(getattr(budget, self.name) > self.limit)


class BudgetLedger:
    """One counter document per run.

    A calculation is reserved by its label id before it starts; reserving the same label again costs nothing, so a job
    that was killed and resumes loses no budget. Core-hours are added when a calculation ends: those of
    calculations that still run, or were killed, are not seen, so this limit can be overrun by what runs when it is
    reached. The count rests on the database's atomic updates; a JobStore in memory has none and is for one thread.

    Parameters
    ----------
    store
        A connected JobStore.
    run_id
        The run that pays.
    max_reference_calculations, max_core_hours
        The limits.
    kept
        Calculations of the limit that are kept for what comes later.
    """

    def __init__(
        self, store: JobStore, run_id: str, *, max_reference_calculations: int, max_core_hours: float, kept: int = 0
    ) -> None:
        self._ledger = ledger_of(store)
        self._key = {"_id": f"budget:{run_id}"}
        self.max_reference_calculations = max_reference_calculations
        self.max_core_hours = max_core_hours
        self.kept = kept

    def spent(self) -> tuple[int, float]:
        """Return the number of reserved calculations and the core-hours used."""
        found: dict[str, Any] = self._ledger.find_one(self._key) or {}
        return int(found.get("n", 0)), float(found.get("core_s", 0.0)) / SECONDS_PER_HOUR

    def reserve(self, label: str) -> None:
        """Reserve one calculation.

        Raises
        ------
        BudgetExhaustedError
            A limit is reached; `refusal_of` says which.
        """
        self._start()
        reserved = self._ledger.update_one(
            {
                **self._key,
                "labels": {"$ne": label},
                "n": {"$lt": self.max_reference_calculations - self.kept},
                "core_s": {"$lt": self.max_core_hours * SECONDS_PER_HOUR},
            },
            {"$push": {"labels": label}, "$inc": {"n": 1}},
        )
        if reserved.matched_count:
            return
        calculations, hours = self.spent()
        if hours >= self.max_core_hours:
            self._refuse("max_core_hours", self.max_core_hours)
            raise BudgetExhaustedError(
                f"the budget of {self.max_core_hours:g} core-hours is spent ({hours:.3g} used); "
                "raise resources.max_core_hours and run the same input again"
            )
        if self._ledger.count_documents({**self._key, "labels": label}):
            return  # reserved before by a worker that was lost
        self._refuse("max_reference_calculations", self.max_reference_calculations)
        made = f"{calculations} made, {self.kept} kept for the end" if self.kept else f"{calculations} made"
        raise BudgetExhaustedError(
            f"the budget of {self.max_reference_calculations} reference calculations is spent ({made}); "
            "raise resources.max_reference_calculations and run the same input again"
        )

    def spend(self, core_time_s: float) -> None:
        """Add the core time of a calculation that ended."""
        self._start()
        self._ledger.update_one(self._key, {"$inc": {"core_s": float(core_time_s)}})

    def _refuse(self, name: str, limit: float) -> None:
        self._ledger.update_one(self._key, {"$set": {"refused": {"name": name, "limit": limit}}})

    def _start(self) -> None:
        """Make the counter document unless it is there."""
        from pymongo.errors import DuplicateKeyError

        with suppress(DuplicateKeyError):  # another worker was first
            self._ledger.update_one(self._key, {"$setOnInsert": {"n": 0, "core_s": 0.0, "labels": []}}, upsert=True)


def refusal_of(store: JobStore, run_id: str) -> Refusal | None:
    """Return at which limit a run was refused a calculation last, or None if it never was."""
    found = (ledger_of(store).find_one({"_id": f"budget:{run_id}"}) or {}).get("refused")
    return None if found is None else Refusal(**found)


def forget_refusal(store: JobStore, run_id: str) -> None:
    """Let a run that goes on with a larger budget have been refused nothing."""
    ledger_of(store).update_one({"_id": f"budget:{run_id}"}, {"$unset": {"refused": 1}})


def set_limits(store: JobStore, run_id: str, budget: Budget) -> None:
    """Let a run go by other limits than its jobs were planned with: the user raised them and resumed the run."""
    ledger_of(store).replace_one(
        {"_id": f"limits:{run_id}"}, {"_id": f"limits:{run_id}", **budget.model_dump()}, upsert=True
    )


def current_limits(store: JobStore, run_id: str, planned: Budget) -> Budget:
    """Return the limits that the user set last, or the planned ones."""
    found = ledger_of(store).find_one({"_id": f"limits:{run_id}"})
    return planned if found is None else planned.model_copy(update={k: v for k, v in found.items() if k != "_id"})
