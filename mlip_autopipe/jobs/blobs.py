"""Blobs beside the documents of a JobStore: potentials, checkpoints and card data, named by their content.

They lie in the additional store ``data`` in the layout of GridFS, so every GridFS reader finds them under their sha256.
The chunks of a blob have names that follow from its content. Two workers that store the same blob at once therefore
write the same documents, and what a killed worker left behind is completed by the next one; pymongo's own GridFS
writer would refuse both.

A blob says which runs have stored it. It is removed when the last of them has no more use for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection as Several
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from mlip_autopipe.errors import AutoPipeError, EnvironmentProblemError

if TYPE_CHECKING:
    from bson import ObjectId
    from jobflow import JobStore
    from pymongo.collection import Collection

Document = dict[str, Any]

DATA: Final = "data"
"""Name of the additional store."""
CHUNK_BYTES: Final = 255 * 1024
"""GridFS's own size."""
_CHUNKS_PER_WRITE = 64


class BlobError(AutoPipeError):
    """A blob is not in the JobStore, or not as it was stored."""


@dataclass(frozen=True)
class StoredBlob:
    """What is known of a blob without reading it."""

    sha256: str
    kind: str
    length: int
    put_at: datetime
    """When a run put it last; UTC."""


class BlobStore:
    """Content-addressed bytes in a connected JobStore.

    Parameters
    ----------
    store
        A JobStore whose additional store ``data`` is GridFS, MongoDB or memory. A JobStore in memory needs none.

    Raises
    ------
    EnvironmentProblemError
        The JobStore has no place for blobs.
    """

    def __init__(self, store: JobStore) -> None:
        self._files, self._chunks = _collections(store)

    def has(self, sha256: str) -> bool:
        """Return whether a blob was stored completely; `get` checks its content, too."""
        return self._files.find_one({"_id": sha256}, {"_id": 1}) is not None

    def get(self, sha256: str) -> bytes:
        """Return the bytes with this sha256.

        Raises
        ------
        BlobError
            The blob is missing or damaged.
        """
        record = self._files.find_one({"_id": sha256})
        if record is None:
            raise BlobError(
                f"there is no blob {sha256[:12]} in the JobStore (collection {self._files.name}); "
                "was it stored in another database, or deleted?"
            )
        data = self._read(sha256, record)
        if hashlib.sha256(data).hexdigest() != sha256:
            kind = record.get("metadata", {}).get("kind", "blob")
            raise BlobError(
                f"the {kind} {sha256[:12]} in the JobStore (collection {self._chunks.name}) is damaged: "
                f"{len(data)} of {record['length']} bytes, and not those that were stored; store it again"
            )
        return data

    def put(self, data: bytes, kind: str, run_id: str) -> str:
        """Store bytes, unless they are there already, and read them back.

        Parameters
        ----------
        data
            Any bytes.
        kind
            What they are, e.g. ``potential``; for people and messages.
        run_id
            The run that stores them; the same bytes of several runs are kept once, until the last of them removes them.

        Returns
        -------
        sha256, hexadecimal: the name under which `get` finds them

        Raises
        ------
        BlobError
            What was written does not read back.
        """
        from bson import ObjectId

        sha256 = hashlib.sha256(data).hexdigest()
        now = datetime.now(UTC)
        ours = {"$addToSet": {"metadata.runs": run_id}, "$set": {"put_at": now}}
        # first ours, then looked at: from here on no other run removes it
        if self._files.update_one({"_id": sha256}, ours).matched_count and self._is_sound(sha256):
            return sha256
        writing = ObjectId()
        self._write_chunks(sha256, data, writing)
        # last, as GridFS does: a blob whose chunks are not all there is not there
        record = {
            "filename": sha256,
            "length": len(data),
            "chunkSize": CHUNK_BYTES,
            "uploadDate": now,
            "metadata.kind": kind,
            "metadata.run_id": run_id,
        }
        whole = {"$setOnInsert": record, **ours, "$set": {"put_at": now, "writing": writing}}
        _insist(self._files, {"_id": sha256}, whole)
        self.get(sha256)
        return sha256

    def runs(self) -> list[str]:
        """Return the runs that have stored blobs."""
        return sorted(self._files.distinct("metadata.runs"))

    def stored_by(self, run_id: str, kinds: Several[str] = ()) -> list[StoredBlob]:
        """Return the blobs of a run; of all kinds unless some are named."""
        query: Document = {"metadata.runs": run_id}
        if kinds:
            query["metadata.kind"] = {"$in": list(kinds)}
        return [
            StoredBlob(one["_id"], one["metadata"]["kind"], one["length"], _utc(one["put_at"]))
            for one in self._files.find(query)
        ]

    def remove(self, sha256: str, run_id: str) -> None:
        """Let a run give a blob up; it is deleted unless another run has stored it, too.

        Killed in the middle, this leaves at most chunks without a blob, which `remove_leftovers` finds.
        """
        found = self._files.find_one({"_id": sha256}, {"writing": 1})
        if found is None:
            return
        # only as it was found: whoever stores it meanwhile keeps it
        known = {"_id": sha256, "writing": found.get("writing")}
        if not self._files.delete_one({**known, "metadata.runs": [run_id]}).deleted_count:
            self._files.update_one({"_id": sha256}, {"$pull": {"metadata.runs": run_id}})
            if not self._files.delete_one({**known, "metadata.runs": []}).deleted_count:
                return
        self._delete_chunks(sha256, found.get("writing"))

    def remove_leftovers(self, older_than: timedelta) -> int:
        """Delete blobs that no run has any more, and chunks that belong to no blob; return how many bytes.

        Parameters
        ----------
        older_than
            What was written since may be about to become a blob.
        """
        from bson import ObjectId

        before = ObjectId.from_datetime(datetime.now(UTC) - older_than)
        for one in self._files.find({"metadata.runs": [], "writing": {"$lt": before}}, {"writing": 1}):
            self._files.delete_one({"_id": one["_id"], "metadata.runs": [], "writing": one["writing"]})
        removed = 0
        for sha256 in self._chunks.distinct("files_id", {"writing": {"$lt": before}}):
            if self.has(sha256):
                continue
            orphans = {"files_id": sha256, "writing": {"$lt": before}}
            removed += sum(len(one["data"]) for one in self._chunks.find(orphans, {"data": 1}))
            self._chunks.delete_many(orphans)
        return removed

    def _delete_chunks(self, sha256: str, writing: ObjectId | None) -> None:
        """Delete what one writing left: chunks of the same names may be another worker's, who is about to finish."""
        self._chunks.delete_many({"files_id": sha256, "writing": writing})

    def _is_sound(self, sha256: str) -> bool:
        if not self.has(sha256):
            return False
        try:
            self.get(sha256)
        except BlobError:
            return False
        return True

    def _read(self, sha256: str, record: Document) -> bytes:
        count = -(-record["length"] // record["chunkSize"])
        chunks = self._chunks.find({"files_id": sha256, "n": {"$lt": count}}, {"data": 1}).sort("n", 1)
        return b"".join(bytes(chunk["data"]) for chunk in chunks)

    def _write_chunks(self, sha256: str, data: bytes, writing: ObjectId) -> None:
        from pymongo import ReplaceOne
        from pymongo.errors import BulkWriteError

        self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
        writes = []
        for n, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            name = f"{sha256}:{n}"
            part = data[start : start + CHUNK_BYTES]
            chunk = {"_id": name, "files_id": sha256, "n": n, "data": part, "writing": writing}
            writes.append(ReplaceOne({"_id": name}, chunk, upsert=True))
        for first in range(0, len(writes), _CHUNKS_PER_WRITE):
            some = writes[first : first + _CHUNKS_PER_WRITE]
            try:
                self._chunks.bulk_write(some, ordered=False)
            except BulkWriteError as error:
                if any(one["code"] != 11000 for one in error.details["writeErrors"]):
                    raise
                # another worker inserted the same chunk in the same instant; now it is there to be replaced
                self._chunks.bulk_write(some, ordered=False)


def _insist(collection: Collection[Document], where: Document, update: Document) -> None:
    """Update or insert; a duplicate means that another worker inserted it in the same instant."""
    from pymongo.errors import DuplicateKeyError

    try:
        collection.update_one(where, update, upsert=True)
    except DuplicateKeyError:
        collection.update_one(where, update)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _collections(store: JobStore) -> tuple[Collection[Document], Collection[Document]]:
    from maggma.stores import GridFSStore, MemoryStore, MongoStore

    data = store.additional_stores.get(DATA)
    if data is None and type(store.docs_store) is MemoryStore:
        data = store.docs_store
    if isinstance(data, GridFSStore):
        database = data._files_store._collection.database
    elif type(data) in (MongoStore, MemoryStore):  # stores on files derive from MemoryStore, but would not write there
        database = data._collection.database
    elif data is None:
        raise EnvironmentProblemError(
            f"the JobStore has no additional store {DATA!r}, in which potentials are kept; "
            "add a GridFSStore of that name to it"
        )
    else:
        raise EnvironmentProblemError(
            f"potentials cannot be kept in a {type(data).__name__}; let the additional store {DATA!r} be a GridFSStore"
        )
    prefix = data.collection_name
    return database[f"{prefix}.files"], database[f"{prefix}.chunks"]
