from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bson import ObjectId
from jobflow import JobStore
from maggma.stores import JSONStore, MemoryStore

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.jobs.blobs import CHUNK_BYTES, DATA, BlobError, BlobStore
from mlip_autopipe.launch import jobstore

LENGTHS = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]


def some_bytes(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


@pytest.fixture
def live_jobstore(live_launchpad: Any) -> Iterator[JobStore]:
    store = jobstore.jobstore_for(live_launchpad)
    store.connect()
    yield store
    store.close()


@pytest.fixture(params=["memory", pytest.param("live", marks=pytest.mark.live)])
def store(request: pytest.FixtureRequest) -> JobStore:
    return request.getfixturevalue(f"{request.param}_jobstore")


def test_name_of_the_additional_store() -> None:
    assert DATA == jobstore.DATA


@pytest.mark.parametrize("length", LENGTHS)
def test_memory_gives_back_what_was_put(memory_jobstore: JobStore, length: int) -> None:
    check_round_trip(BlobStore(memory_jobstore), length)


@pytest.mark.live
def test_server_gives_back_what_was_put(live_jobstore: JobStore) -> None:
    for length in LENGTHS:
        check_round_trip(BlobStore(live_jobstore), length)


def check_round_trip(blobs: BlobStore, length: int) -> None:
    data = some_bytes(length)
    sha256 = blobs.put(data, "potential", "run-1")
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert blobs.has(sha256)
    assert blobs.get(sha256) == data


def test_the_same_bytes_are_stored_once(store: JobStore) -> None:
    blobs, data = BlobStore(store), some_bytes(2 * CHUNK_BYTES)
    assert blobs.put(data, "potential", "run-1") == blobs.put(data, "potential", "run-2")
    assert blobs._files.count_documents({}) == 1
    assert blobs._chunks.count_documents({}) == 2
    assert blobs._files.find_one({})["metadata"] == {
        "kind": "potential",
        "run_id": "run-1",
        "runs": ["run-1", "run-2"],
    }


def test_another_client_finds_them(store: JobStore) -> None:
    data = some_bytes(100)
    assert BlobStore(store).get(BlobStore(store).put(data, "potential", "run-1")) == data


def test_missing(store: JobStore) -> None:
    blobs = BlobStore(store)
    assert not blobs.has("a" * 64)
    with pytest.raises(BlobError, match="no blob aaaaaaaaaaaa in the JobStore"):
        blobs.get("a" * 64)


@pytest.mark.parametrize("damage", ["altered", "lost", "cut"])
def test_damage_is_found_and_mended_by_the_next_put(store: JobStore, damage: str) -> None:
    blobs, data = BlobStore(store), some_bytes(3 * CHUNK_BYTES)
    sha256 = blobs.put(data, "potential", "run-1")
    where = {"files_id": sha256, "n": 1}
    if damage == "lost":
        blobs._chunks.delete_one(where)
    else:
        bad = some_bytes(CHUNK_BYTES if damage == "altered" else 10, seed=1)
        blobs._chunks.update_one(where, {"$set": {"data": bad}})
    with pytest.raises(BlobError, match=f"potential {sha256[:12]} .* is damaged"):
        blobs.get(sha256)
    assert blobs.put(data, "potential", "run-1") == sha256
    assert blobs.get(sha256) == data
    assert blobs._chunks.count_documents({}) == 3


def test_a_writer_that_died_is_no_blob_and_no_obstacle(store: JobStore) -> None:
    blobs, data = BlobStore(store), some_bytes(3 * CHUNK_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    blobs._write_chunks(sha256, data, ObjectId())
    blobs._chunks.delete_one({"n": 2})
    assert not blobs.has(sha256)
    assert blobs.put(data, "potential", "run-1") == sha256
    assert blobs.get(sha256) == data


@pytest.mark.live
def test_eight_writers_of_one_blob_at_once(live_launchpad: Any) -> None:
    data = some_bytes(4 * CHUNK_BYTES + 3)
    stores = [jobstore.jobstore_for(live_launchpad) for _ in range(8)]
    for one in stores:
        one.connect()
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda one: BlobStore(one).put(data, "potential", "run-1"), stores))
    blobs = BlobStore(stores[0])
    assert set(names) == {hashlib.sha256(data).hexdigest()}
    assert blobs._files.count_documents({}) == 1
    assert blobs._chunks.count_documents({}) == 5
    assert blobs.get(names[0]) == data
    for one in stores:
        one.close()


@pytest.mark.live
def test_gridfs_reads_them_and_no_document_is_large(live_jobstore: JobStore, live_launchpad: Any) -> None:
    from bson import encode
    from gridfs import GridFS

    data = some_bytes(3_000_000)
    blobs = BlobStore(live_jobstore)
    sha256 = blobs.put(data, "potential", "run-1")
    assert GridFS(live_launchpad.db, jobstore.DATA).get(sha256).read() == data
    assert max(len(encode(document)) for document in blobs._chunks.find({})) < 1_000_000


@pytest.mark.live
def test_documents_of_jobs_in_the_same_store_stay_apart(live_jobstore: JobStore) -> None:
    blobs = BlobStore(live_jobstore)
    sha256 = blobs.put(b"blob", "potential", "run-1")
    live_jobstore.update([{"uuid": "u", "index": 1, "output": {"data": [1, 2]}, "name": "n"}], save={"data": ["data"]})
    assert live_jobstore.get_output("u", load=True) == {"data": [1, 2]}
    assert blobs.get(sha256) == b"blob"


def test_memory_needs_no_additional_store() -> None:
    store = JobStore(MemoryStore())
    store.connect()
    blobs = BlobStore(store)
    assert blobs.get(blobs.put(b"x", "potential", "run-1")) == b"x"


def test_stores_that_would_lose_blobs_are_refused(tmp_path: Path) -> None:
    on_file = JSONStore(str(tmp_path / "docs.json"), read_only=False)
    with pytest.raises(EnvironmentProblemError, match="no additional store 'data'"):
        BlobStore(JobStore(on_file))
    with pytest.raises(EnvironmentProblemError, match="cannot be kept in a JSONStore"):
        BlobStore(JobStore(MemoryStore(), additional_stores={"data": on_file}))


class TestRemoval:
    def test_nothing_is_left_of_it(self, store: JobStore) -> None:
        blobs = BlobStore(store)
        sha256 = blobs.put(some_bytes(2 * CHUNK_BYTES), "potential", "run-1")
        kept = blobs.put(some_bytes(10, seed=1), "potential", "run-1")
        blobs.remove(sha256, "run-1")
        assert not blobs.has(sha256)
        assert blobs._chunks.count_documents({"files_id": sha256}) == 0
        assert blobs.get(kept)
        blobs.remove(sha256, "run-1")  # again, as after a kill: nothing to do

    def test_another_run_keeps_the_same_bytes(self, store: JobStore) -> None:
        blobs, data = BlobStore(store), some_bytes(CHUNK_BYTES + 1)
        for run_id in ("run-1", "run-2", "run-1"):
            sha256 = blobs.put(data, "potential", run_id)
        blobs.remove(sha256, "run-1")
        assert blobs.get(sha256) == data
        assert [one.sha256 for one in blobs.stored_by("run-2")] == [sha256]
        assert blobs.stored_by("run-1") == []
        blobs.remove(sha256, "run-3")  # it never had it
        assert blobs.get(sha256) == data
        blobs.remove(sha256, "run-2")
        assert not blobs.has(sha256)

    def test_it_can_be_stored_again(self, store: JobStore) -> None:
        blobs, data = BlobStore(store), some_bytes(CHUNK_BYTES + 1)
        for _ in range(2):
            sha256 = blobs.put(data, "potential", "run-1")
            assert blobs.get(sha256) == data
            blobs.remove(sha256, "run-1")
        assert not blobs.has(sha256)

    @pytest.mark.parametrize("moment", ["find_one", "delete_one"])
    def test_who_stores_it_meanwhile_keeps_it(self, store: JobStore, monkeypatch, moment: str) -> None:
        blobs, data = BlobStore(store), some_bytes(2 * CHUNK_BYTES)
        sha256 = blobs.put(data, "potential", "run-1")
        original, calls = getattr(blobs._files, moment), []

        def then_another_run_stores_it(*arguments: Any) -> Any:
            found = original(*arguments)
            if not calls:
                calls.append(1)
                BlobStore(store).put(data, "potential", "run-2")
            return found

        with monkeypatch.context() as patch:
            patch.setattr(blobs._files, moment, then_another_run_stores_it)
            blobs.remove(sha256, "run-1")
        assert calls
        assert blobs.get(sha256) == data
        assert [one.sha256 for one in blobs.stored_by("run-2")] == [sha256]

    def test_a_kill_in_the_middle_leaves_chunks_that_are_found_when_they_are_old(self, store: JobStore) -> None:
        blobs, data = BlobStore(store), some_bytes(2 * CHUNK_BYTES)
        kept = blobs.put(some_bytes(CHUNK_BYTES, seed=1), "potential", "run-1")
        sha256 = blobs.put(data, "potential", "run-1")
        blobs._files.delete_one({"_id": sha256})
        assert blobs.remove_leftovers(timedelta(hours=1)) == 0
        assert blobs._chunks.count_documents({"files_id": sha256}) == 2
        assert blobs.remove_leftovers(timedelta(seconds=-2)) == len(data)
        assert blobs._chunks.count_documents({"files_id": sha256}) == 0
        assert blobs.get(kept)

    def test_what_no_run_has_any_more_is_a_leftover(self, store: JobStore) -> None:
        blobs = BlobStore(store)
        sha256 = blobs.put(some_bytes(10), "potential", "run-1")
        blobs._files.update_one({"_id": sha256}, {"$set": {"metadata.runs": []}})  # two runs gave it up at once
        assert blobs.remove_leftovers(timedelta(seconds=-2)) == 10
        assert not blobs.has(sha256)

    def test_blobs_of_a_run_by_kind(self, store: JobStore) -> None:
        blobs = BlobStore(store)
        one = blobs.put(b"one", "potential", "run-1")
        two = blobs.put(b"four", "checkpoint", "run-1")
        blobs.put(b"others", "potential", "run-2")
        assert {(b.sha256, b.kind, b.length) for b in blobs.stored_by("run-1")} == {
            (one, "potential", 3),
            (two, "checkpoint", 4),
        }
        assert [b.sha256 for b in blobs.stored_by("run-1", ["checkpoint"])] == [two]
        assert blobs.runs() == ["run-1", "run-2"]


@pytest.mark.live
def test_runs_that_store_and_remove_the_same_bytes_at_once_never_lose_them(live_launchpad: Any) -> None:
    data = some_bytes(3 * CHUNK_BYTES)
    stores = [jobstore.jobstore_for(live_launchpad) for _ in range(4)]
    for one in stores:
        one.connect()

    def work(number: int) -> None:
        blobs = BlobStore(stores[number])
        for _ in range(15):
            sha256 = blobs.put(data, "potential", f"run-{number}")
            assert blobs.get(sha256) == data
            blobs.remove(sha256, f"run-{number}")

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(work, range(len(stores))))
    blobs = BlobStore(stores[0])
    blobs.remove_leftovers(timedelta(seconds=-2))
    assert blobs._files.count_documents({}) == 0
    assert blobs._chunks.count_documents({}) == 0
    for one in stores:
        one.close()
