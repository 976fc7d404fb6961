"""A run's own documents in the JobStore, under names that follow from the run: written whole, read by any job.

Jobs hand each other the run's name only; what they need stands here: the plan, the state of the learning loop, one
document of metrics per generation, and what was learned.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from mlip_autopipe.errors import AutoPipeError
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.schemas.otf import Arm, ClosingDocument, GenerationDocument, LearningState, OTFDocument

if TYPE_CHECKING:
    from jobflow import JobStore
    from pydantic import BaseModel

    from mlip_autopipe.schemas.system import SystemConfig

    Model = TypeVar("Model", bound=BaseModel)


class RecordError(AutoPipeError):
    """A document that the run needs is not in its JobStore."""


class RunRecords:
    """The documents of one run.

    Parameters
    ----------
    store
        A connected JobStore.
    run_id
        The run.
    """

    def __init__(self, store: JobStore, run_id: str) -> None:
        self._documents = documents_of(store)
        self.run_id = run_id
        self._revisions: dict[Arm, int | None] = {}

    def save_plan(self, system: SystemConfig) -> None:
        """Keep the plan."""
        self._put("plan", "plan", {"kind": "plan", "run_id": self.run_id, "plan": system.model_dump(mode="json")})

    def plan(self) -> SystemConfig:
        """Return the plan; raises `RecordError` when there is none."""
        from mlip_autopipe.schemas.system import SystemConfig

        return SystemConfig.model_validate(self._get("plan")["plan"])

    def state(self, arm: Arm = "active") -> LearningState | None:
        """Return where the loop stands, or None before it began."""
        found = self._read(f"state:{arm}")
        self._revisions[arm] = None if found is None else int(found.get("revision", 0))
        return None if found is None else LearningState.model_validate(found["output"])

    def save_state(self, state: LearningState) -> None:
        """Keep where the loop stands.

        Raises
        ------
        RecordError
            Another job has written it since it was read here: one that had to take this one for dead goes on.
        """
        from pymongo.errors import DuplicateKeyError

        uuid, arm = self._uuid(f"state:{state.arm}"), state.arm
        document = self._document("learning state", state.model_dump(mode="json"))
        if arm not in self._revisions:  # whatever is there
            found = self._documents.find_one({"uuid": uuid, "index": 1}, {"revision": 1})
            self._revisions[arm] = None if found is None else int(found.get("revision", 0))
        known = self._revisions[arm]
        document["revision"] = 1 if known is None else known + 1
        if known is None:
            try:
                self._documents.insert_one({"_id": uuid, "uuid": uuid, "index": 1, **document})
            except DuplicateKeyError:
                raise _taken_over(self.run_id) from None
        else:
            as_read = {"uuid": uuid, "index": 1, "revision": known if known else {"$in": [0, None]}}
            if not self._documents.update_one(as_read, {"$set": document}).matched_count:
                raise _taken_over(self.run_id)
        self._revisions[arm] = document["revision"]

    def save_generation(self, document: GenerationDocument) -> None:
        """Keep a generation's metrics; the same generation again replaces them."""
        name = f"generation:{document.arm}:{document.generation}"
        self._put(name, "learning metrics", document.model_dump(mode="json"))

    def generation(self, number: int, arm: Arm = "active") -> GenerationDocument | None:
        """Return the metrics of one generation, or None."""
        found = self._find(f"generation:{arm}:{number}")
        return None if found is None else GenerationDocument.model_validate(found)

    def generations(self, arm: Arm = "active") -> list[GenerationDocument]:
        """Return the metrics of all generations, in order."""
        query = {"output.run_id": self.run_id, "output.kind": "otf_generation", "output.arm": arm}
        found = [GenerationDocument.model_validate(one["output"]) for one in self._documents.find(query)]
        return sorted(found, key=lambda one: one.generation)

    def save_closing(self, document: ClosingDocument) -> None:
        """Keep what the loop spent after its last training."""
        self._put("closing", "learning metrics", document.model_dump(mode="json"))

    def save_learned(self, document: OTFDocument) -> None:
        """Keep what was learned."""
        self._put(f"learned:{document.arm}", "learned potential", document.model_dump(mode="json"))

    def learned(self, arm: Arm = "active") -> OTFDocument:
        """Return what was learned; raises `RecordError` before the loop has ended."""
        return OTFDocument.model_validate(self._get(f"learned:{arm}"))

    def save(self, name: str, output: dict[str, Any]) -> None:
        """Keep any other small document of the run."""
        self._put(name, name.partition(":")[0], {"run_id": self.run_id, **output})

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a document of `save`, or None."""
        return self._find(name)

    def _get(self, name: str) -> dict[str, Any]:
        found = self._find(name)
        if found is None:
            raise RecordError(
                f"run {self.run_id} has no document {name!r} in this JobStore; was it submitted to another database?"
            )
        return found

    def _find(self, name: str) -> dict[str, Any] | None:
        document = self._read(name)
        return None if document is None else dict(document["output"])

    def _read(self, name: str) -> dict[str, Any] | None:
        return self._documents.find_one({"uuid": self._uuid(name), "index": 1})

    def _put(self, name: str, title: str, output: dict[str, Any]) -> None:
        uuid = self._uuid(name)
        self._documents.update_one(
            {"uuid": uuid, "index": 1},
            {"$set": self._document(title, output), "$setOnInsert": {"_id": uuid}},
            upsert=True,
        )

    def _uuid(self, name: str) -> str:
        return f"{self.run_id}:{name}"

    def _document(self, title: str, output: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": title,
            "output": output,
            "completed_at": datetime.now(UTC).isoformat(),
            "metadata": {"run_id": self.run_id},
            "hosts": [],
        }


def _taken_over(run_id: str) -> RecordError:
    return RecordError(
        f"another job advances the learning loop of run {run_id}: it had to take this one for dead, which ends here"
    )
