"""Blobs beside the documents of a JobStore: potentials, checkpoints and card data, named by their content.

They lie in the additional store ``data`` in the layout of GridFS, so every GridFS reader finds them under their sha256.
The chunks of a blob have names that follow from its content. Two workers that store the same blob at once therefore
write the same documents, and what a killed worker left behind is completed by the next one; pymongo's own GridFS
writer would refuse both.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mlip_autopipe.errors import AutoPipeError, EnvironmentProblemError

if TYPE_CHECKING:
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
            The run that stores them. When several runs store the same bytes, the first one is kept.

        Returns
        -------
        sha256, hexadecimal: the name under which `get` finds them

        Raises
        ------
        BlobError
            What was written does not read back.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if self._is_sound(sha256):
            return sha256
        self._write_chunks(sha256, data)
        # last, as GridFS does: a blob whose chunks are not all there is not there
        record = {
            "filename": sha256,
            "length": len(data),
            "chunkSize": CHUNK_BYTES,
            "uploadDate": datetime.now(UTC),
            "metadata": {"kind": kind, "run_id": run_id},
        }
        _insist(self._files, {"_id": sha256}, {"$setOnInsert": record})
        self.get(sha256)
        return sha256

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

    def _write_chunks(self, sha256: str, data: bytes) -> None:
        from pymongo import ReplaceOne
        from pymongo.errors import BulkWriteError

        self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
        writes = []
        for n, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            name = f"{sha256}:{n}"
            chunk = {"_id": name, "files_id": sha256, "n": n, "data": data[start : start + CHUNK_BYTES]}
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
