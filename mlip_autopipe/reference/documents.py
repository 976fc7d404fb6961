"""The collections behind a JobStore: its documents, and beside them what labels and budgets need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from jobflow import JobStore
    from pymongo.collection import Collection

Document = dict[str, Any]

LEDGER = "reference_ledger"


def documents_of(store: JobStore) -> Collection[Document]:
    """Return the collection in which a JobStore keeps its documents.

    Raises
    ------
    EnvironmentProblemError
        The JobStore is not kept in MongoDB, SecantusDB or memory.
    """
    from maggma.stores import MemoryStore, MongoStore

    docs = store.docs_store
    # stores on files derive from MemoryStore, but would not write labels to their file
    if not isinstance(docs, MongoStore) or (isinstance(docs, MemoryStore) and type(docs) is not MemoryStore):
        raise EnvironmentProblemError(
            f"labels cannot be kept in a {type(docs).__name__}; use a MongoStore or MemoryStore as JobStore"
        )
    collection: Collection[Document] = docs._collection
    return collection


def ledger_of(store: JobStore) -> Collection[Document]:
    """Return the collection of claims and budgets that belongs to a JobStore."""
    ledger: Collection[Document] = documents_of(store).database[LEDGER]
    return ledger
