"""Label candidates: those that are there are found, the others computed within the budget, failures recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlip_autopipe.errors import BudgetExhaustedError, ReferenceCalculationError
from mlip_autopipe.jobs.context import cores_of_this_job

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore

    from mlip_autopipe.reference.base import ReferenceEngine
    from mlip_autopipe.reference.budget import BudgetLedger
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.schemas.label import ReferenceLabel
    from mlip_autopipe.schemas.system import SystemConfig

TRIES = 2
"""As planned, and once more by harder means."""


@dataclass(frozen=True, eq=False)
class Labelling:
    """What became of one structure.

    Attributes
    ----------
    state
        ``done``, ``failed`` (recorded, with its reason) or ``no_budget`` (nothing was computed).
    """

    label_id: str
    state: Literal["done", "failed", "no_budget"]
    label: ReferenceLabel | None = None
    reason: str = ""


class Labeller:
    """Labels structures for a run.

    Parameters
    ----------
    labels, engine, budget, run_id
        Where labels are kept, who computes, what may be spent, who pays.
    """

    def __init__(self, labels: LabelStore, engine: ReferenceEngine, budget: BudgetLedger, run_id: str) -> None:
        self._labels = labels
        self._engine = engine
        self._budget = budget
        self._run_id = run_id

    def name_of(self, atoms: Atoms) -> str:
        """Return the id that the label of a structure has."""
        from mlip_autopipe.reference.labels import label_id

        return label_id(atoms, self._engine.settings_hash)

    def label(self, atoms: Atoms) -> Labelling:
        """Compute a label unless it is there; after a failure once more, on a harder ladder.

        Neither a failed calculation nor an exhausted budget raises.
        """
        name = self.name_of(atoms)
        reason = ""
        for _ in range(TRIES):
            known = self._labels.get(name)
            if known is not None and self._is_given_up(known):
                reason = known.failure or ""
                break
            try:
                label = self._labels.get_or_compute(atoms, self._engine, budget=self._budget, run_id=self._run_id)
            except BudgetExhaustedError as error:
                return Labelling(name, "no_budget", reason=str(error))
            except ReferenceCalculationError as error:
                reason = str(error)
            else:
                return Labelling(name, "done", label)
        return Labelling(name, "failed", self._labels.get(name), reason)

    def find(self, atoms: Atoms) -> Labelling:
        """Return what is known of a structure, computing nothing."""
        name = self.name_of(atoms)
        label = self._labels.get(name)
        if label is None:
            return Labelling(name, "no_budget", reason="it was not computed: the budget is spent")
        if label.state == "done":
            return Labelling(name, "done", label)
        return Labelling(name, "failed", label, label.failure or "")

    def _is_given_up(self, label: ReferenceLabel) -> bool:
        """Whether this run has tried often enough; where another run failed, the harder way is tried once."""
        return label.state == "failed" and label.run_id == self._run_id and label.tries >= TRIES


@contextmanager
def labeller(store: JobStore, system: SystemConfig, *, reserve: int = 0) -> Iterator[Labeller]:
    """Yield a labeller with the run's engine and budget, and close the engine afterwards.

    Parameters
    ----------
    store
        A connected JobStore.
    system
        The plan.
    reserve
        Calculations that must be left for what comes later.
    """
    from mlip_autopipe.jobs.wall_time import end_of_job
    from mlip_autopipe.reference.budget import BudgetLedger, current_limits
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.reference.registry import make_engine

    limits = current_limits(store, system.run_id, system.budget)
    engine = make_engine(system.reference, cores=cores_of_this_job())
    budget = BudgetLedger(
        store,
        system.run_id,
        max_reference_calculations=limits.max_reference_calculations,
        max_core_hours=limits.max_core_hours,
        kept=reserve,
    )
    try:
        yield Labeller(LabelStore(store, ends_at=end_of_job()), engine, budget, system.run_id)
    finally:
        engine.close()
