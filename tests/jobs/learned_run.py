"""A small potential with its labels, stored as a run leaves them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jobflow import JobStore

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.schemas.label import ReferenceLabel
from tests.potentials.helpers import emt_set

RUN_ID = "ni-20300101-000000-abcd"


@dataclass
class LearnedRun:
    """Eight nickel cells, the first with a masked atom; the last two held out."""

    @cached_property
    def configurations(self) -> list[Configuration]:
        names = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(8)]
        found = [replace(one, label_id=name) for name, one in zip(names, emt_set(8, 0), strict=True)]
        return [replace(found[0], force_weights=np.array([0.0, 1, 1, 1])), *found[1:]]

    @property
    def label_ids(self) -> list[str]:
        return [str(one.label_id) for one in self.configurations[:6]]

    @property
    def held_out_label_ids(self) -> list[str]:
        return [str(one.label_id) for one in self.configurations[6:]]

    @cached_property
    def potential(self) -> PolymlpPotential:
        potential = PolymlpPotential(largest=20)
        potential.fit(TrainingSet.of(self.configurations[:6]))
        for one in self.configurations[6:]:
            potential.observe(one)
        return potential

    def document(self, potential_sha256: str) -> dict[str, Any]:
        first = self.configurations[0]
        return {
            "kind": "otf",
            "run_id": RUN_ID,
            "potential_sha256": potential_sha256,
            "label_ids": self.label_ids,
            "held_out_label_ids": self.held_out_label_ids,
            "force_weights": {str(first.label_id): first.force_weights.tolist()},
        }


LEARNED = LearnedRun()


def store_learned_run(store: JobStore) -> None:
    """Store potential, labels and document in a connected JobStore."""
    sha256 = BlobStore(store).put(LEARNED.potential.save().data, "potential", RUN_ID)
    for one in LEARNED.configurations:
        label = {"uuid": one.label_id, "index": 1, "name": "reference label", "output": _label(one)}
        documents_of(store).insert_one(label)
    document = {"uuid": "learned", "index": 1, "completed_at": "2030", "output": LEARNED.document(sha256)}
    documents_of(store).insert_one(document)


def _label(one: Configuration) -> dict[str, Any]:
    assert one.forces_eV_per_A is not None
    assert one.stress_eV_per_A3 is not None
    return ReferenceLabel(
        label_id=str(one.label_id),
        settings_hash="settings",
        engine="ase",
        engine_version="3.0",
        state="done",
        structure={
            "cell_A": one.atoms.cell.array.tolist(),
            "numbers": one.atoms.numbers.tolist(),
            "positions_A": one.atoms.positions.tolist(),
            "pbc": [True, True, True],
            "magmoms": None,
        },
        energy_eV=one.energy_eV,
        forces_eV_per_A=one.forces_eV_per_A.tolist(),
        stress_eV_per_A3=one.stress_eV_per_A3.tolist(),
        wall_time_s=1,
        core_time_s=2,
    ).model_dump(mode="json")
