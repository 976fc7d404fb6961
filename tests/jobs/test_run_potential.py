from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from jobflow import JobStore

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.jobs.blobs import BlobError, BlobStore
from mlip_autopipe.jobs.run_potential import (
    LabelWeights,
    MissingLabelError,
    dataset_of_run,
    model_card_of_run,
    potential_bytes,
    potential_of_run,
    training_data,
)
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.extxyz import read_extxyz, write_extxyz
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.reference.documents import documents_of
from tests.jobs.learned_run import LEARNED, RUN_ID, store_learned_run


@pytest.fixture
def live_jobstore(live_launchpad: Any) -> Iterator[JobStore]:
    store = jobstore_for(live_launchpad)
    store.connect()
    yield store
    store.close()


@pytest.fixture(params=["memory", pytest.param("live", marks=pytest.mark.live)])
def store(request: pytest.FixtureRequest) -> JobStore:
    found: JobStore = request.getfixturevalue(f"{request.param}_jobstore")
    store_learned_run(found)
    return found


def test_the_document_and_the_potential(store: JobStore) -> None:
    found = potential_of_run(store, RUN_ID)
    assert found.label_ids == LEARNED.label_ids
    assert found.held_out_label_ids == LEARNED.held_out_label_ids
    data = potential_bytes(store, found.potential_sha256)
    atoms = LEARNED.configurations[0].atoms
    again = PolymlpPotential.load(data, sha256=found.potential_sha256)
    assert again.predict(atoms).energy_eV == pytest.approx(LEARNED.potential.predict(atoms).energy_eV)


def test_the_newest_potential_counts(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    newer = {"run_id": RUN_ID, "kind": "otf", "potential_sha256": "f" * 64, "label_ids": []}
    others = {"b": {"potential_sha256": None}, "c": {"arm": "random"}, "d": {"kind": "otf_generation"}}
    documents = [("a", newer, "2031"), *((uuid, {**newer, **change}, "2032") for uuid, change in others.items())]
    for uuid, output, time in documents:
        document = {"uuid": uuid, "index": 1, "completed_at": time, "output": output}
        documents_of(memory_jobstore).insert_one(document)
    assert potential_of_run(memory_jobstore, RUN_ID).potential_sha256 == "f" * 64


def test_other_runs_have_none(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    with pytest.raises(InvalidInputError, match="run other has trained no potential"):
        potential_of_run(memory_jobstore, "other")


def test_the_dataset_carries_masks_and_parts(store: JobStore, tmp_path: Any) -> None:
    found = dataset_of_run(store, potential_of_run(store, RUN_ID))
    write_extxyz(tmp_path / "x.extxyz", found)
    again = {one.label_id: one for one in read_extxyz(tmp_path / "x.extxyz")}
    assert list(again) == [*LEARNED.label_ids, *LEARNED.held_out_label_ids]
    for name, ids in (("training", LEARNED.label_ids), ("held_out", LEARNED.held_out_label_ids)):
        assert all(again[label_id].atoms.info["split"] == name for label_id in ids)
    for true in LEARNED.configurations:
        one = again[true.label_id]
        assert np.allclose(one.forces_eV_per_A, true.forces_eV_per_A, atol=1e-7)
        assert np.array_equal(one.force_weights, true.force_weights)


def test_labels_with_a_mapping_of_weights(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    first, second = LEARNED.label_ids[:2]
    weights = LabelWeights({first: [0, 0.5, 1, 1]}, energy={first: 0.0}, stress={second: 4.0})
    found = training_data(memory_jobstore, [second, first], weights)
    assert [one.label_id for one in found] == [second, first]
    assert found.configurations[1].force_weights.tolist() == [0, 0.5, 1, 1]
    assert found.configurations[0].force_weights.tolist() == [1] * len(found.configurations[0].atoms)
    assert [one.energy_weight for one in found] == [1, 0]
    assert [one.stress_weight for one in found] == [4, 1]


def test_the_card_knows_labels_and_held_out_errors(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    found = potential_of_run(memory_jobstore, RUN_ID)
    card = model_card_of_run(memory_jobstore, found, created=datetime(2030, 1, 1, tzinfo=UTC))
    assert card.run_id == RUN_ID
    assert card.potential_sha256 == LEARNED.potential.save().sha256
    assert card.reference.engines == ["ase 3.0"]
    assert card.reference.settings_hashes == ["settings"]
    assert card.reference.core_time_s == 2 * len(LEARNED.configurations)
    assert card.training.label_ids == sorted(LEARNED.label_ids)
    assert card.training.masked_atoms == 1
    assert card.held_out.configurations == len(LEARNED.held_out_label_ids)
    assert card.errors_held_out.force_meV_per_A.rmse > 0


def test_what_is_missing_is_named(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    found = potential_of_run(memory_jobstore, RUN_ID)
    documents_of(memory_jobstore).delete_one({"uuid": found.label_ids[3]})
    with pytest.raises(MissingLabelError, match=f"label {found.label_ids[3][:12]}"):
        dataset_of_run(memory_jobstore, found)
    BlobStore(memory_jobstore)._files.delete_many({})
    with pytest.raises(BlobError, match=f"no blob {found.potential_sha256[:12]}"):
        model_card_of_run(memory_jobstore, found, created=datetime.now(UTC))


def test_failed_labels_are_left_out(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    failed = LEARNED.label_ids[0]
    documents_of(memory_jobstore).update_one({"uuid": failed}, {"$set": {"output.state": "failed"}})
    found = training_data(memory_jobstore, LEARNED.label_ids)
    assert isinstance(found, TrainingSet)
    assert failed not in [one.label_id for one in found]


def test_what_the_run_says_of_itself_is_in_the_card(memory_jobstore: JobStore) -> None:
    store_learned_run(memory_jobstore)
    documents = documents_of(memory_jobstore)

    def card(**more: Any) -> Any:
        documents.update_one({"uuid": "learned"}, {"$set": {f"output.{key}": value for key, value in more.items()}})
        return model_card_of_run(memory_jobstore, potential_of_run(memory_jobstore, RUN_ID), created=datetime.now(UTC))

    done = card(state="done", temperatures_K=[300, 1200, 600], warnings=["take care"])
    assert done.state == "done"
    assert done.validity.temperature_K == (300, 1200)
    assert "take care" in done.warnings
    assert any("still learning" in warning for warning in card(state="learning").warnings)
    failed = card(state="not_enough_evidence", missing=["10 more labels", "an hour"])
    assert (failed.state, failed.failure) == ("failed", "10 more labels; an hour")
