"""Goal phase_diagram in memory: candidates of four atoms and less, EMT as the hidden truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.heuristics import HeuristicEngine
from mlip_autopipe.jobs.hull_doubt import doubt
from mlip_autopipe.jobs.hull_energies import candidate_energies
from mlip_autopipe.jobs.hull_relearning import finished_labels, learn_candidates
from mlip_autopipe.jobs.hull_search import HullSearch
from mlip_autopipe.jobs.phase_diagram_document import settled_hull
from mlip_autopipe.learning.batch_relaxation import relax_structures
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.phase_diagram import PhaseDiagramDocument
from tests.jobs.test_learn import kill_once

pytest.importorskip("pypolymlp")
pytest.importorskip("icet")

SMALL = {
    "otf.segment_steps": 20,
    "otf.others": [],
    "otf.supercell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "otf.pool_labels": 8,
    "phase_diagram.parents": ["fcc"],
    "phase_diagram.prototypes": False,
    "phase_diagram.quasirandom_sites": 0,
    "phase_diagram.max_candidates": 32,
    "phase_diagram.structures_per_job": 12,
    "phase_diagram.temperatures_K": [],
    "phase_diagram.samples": 200,
}


def memory_store() -> JobStore:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


def run(
    folder: Any,
    labels: int = 60,
    store: JobStore | None = None,
    *,
    elements: tuple[str, ...] = ("Cu", "Au"),
    ensure: bool = True,
    **overrides: Any,
) -> tuple[PhaseDiagramDocument | None, HullSearch]:
    """Run the goal; without `ensure`, no document where a job was killed."""
    store = store or memory_store()
    user = {
        "project_name": "-".join(elements),
        "target_system": {"elements": list(elements)},
        "simulation_goal": "phase_diagram",
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
        "potential": {"kwargs": {"largest": 100}},
        "resources": {"max_reference_calculations": labels},
        "overrides": SMALL | overrides,
    }
    system = HeuristicEngine().expand(parse_user_config(user))
    flow = OTFMaker().make(system)
    run_locally(flow, store=store, log=False, ensure_success=ensure, create_folders=True, root_dir=folder)
    try:
        found = store.get_output(flow.output.uuid, which="last")
    except ValueError:  # there is none
        return None, HullSearch(store, system.run_id)
    document = None if found is None else PhaseDiagramDocument.model_validate(found)
    return document, HullSearch(store, system.run_id)


@pytest.fixture(scope="module")
def store() -> JobStore:
    return memory_store()


@pytest.fixture(scope="module")
def settled(
    tmp_path_factory: pytest.TempPathFactory, store: JobStore
) -> tuple[PhaseDiagramDocument, HullSearch]:
    return run(tmp_path_factory.mktemp("phases"), store=store)


class Truth:
    def calculator(self) -> Any:
        return EMT()


def test_every_vertex_rests_on_a_label_and_nothing_else_may_be_stable(settled):
    document, search = settled
    assert document.state == "done"
    assert document.missing == []
    assert document.n_candidates == search.progress().n_candidates <= 32
    assert {document.entries[k].source for k in document.hull_vertices} == {"reference"}
    threshold = search.settings.target_probability
    assert all(one.source == "reference" or one.probability_stable <= threshold for one in document.entries)
    assert document.n_reference_calculations <= 60
    assert document.rounds >= 1
    assert len(document.fresh_errors_eV_per_atom) >= len(document.hull_vertices)


def test_a_settled_hull_is_put_to_the_test_by_labels_at_random_once(settled, store):
    _, search = settled
    assert search.progress().checked
    relaxed = search.relaxed()
    energies = candidate_energies(search, relaxed, finished_labels(store, search)[0])
    untested = doubt(relaxed, energies, search.settings)
    assert untested.needed == []
    assert len(untested.audits) == search.settings.audits_per_round
    assert not energies.labelled[untested.audits].any()
    assert doubt(relaxed, energies, search.settings, checked=True).wanted == []


def test_the_hull_is_that_of_the_truth(settled):
    document, search = settled
    true = {
        name: one.energy_eV / len(one.atoms)
        for name, one in zip(
            search.candidates.names, relax_structures(search.candidates.structures, Truth()), strict=True
        )
    }
    for k in document.hull_vertices:
        one = document.entries[k]
        assert one.energy_eV_per_atom == pytest.approx(true[one.name], abs=1e-3)
    errors = [one.energy_eV_per_atom - true[one.name] for one in document.entries]
    assert np.sqrt(np.mean(np.square(errors))) < 0.01


def test_pymatgen_builds_the_same_hull_from_the_document(settled):
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    document, _ = settled
    entries = [PDEntry(Composition(one.formula), one.energy_eV_per_atom * one.n_atoms) for one in document.entries]
    diagram = PhaseDiagram(entries)
    for entry, one in zip(entries, document.entries, strict=True):
        assert diagram.get_e_above_hull(entry) == pytest.approx(one.e_above_hull_eV_per_atom, abs=1e-9)
        assert diagram.get_form_energy_per_atom(entry) == pytest.approx(one.formation_energy_eV_per_atom, abs=1e-9)
    assert len(document.regions) == len(document.hull_vertices) - 1  # of a binary system


def test_too_small_a_budget_is_no_answer_but_says_what_may_be_stable(tmp_path):
    document, _ = run(tmp_path, labels=16)
    assert document.state == "not_enough_evidence"
    assert document.n_reference_calculations <= 16
    assert any("may be stable" in sentence for sentence in document.missing)
    assert any(one.source == "potential" and one.probability_stable > 0.05 for one in document.entries)


def test_a_raised_budget_goes_on_with_what_was_learned(tmp_path):
    store = memory_store()
    before, _ = run(tmp_path, labels=20, store=store)
    assert before.state == "not_enough_evidence"
    paid = set(before.provenance["label_ids"])
    after, search = run(tmp_path, labels=60, store=store)
    assert after.run_id == before.run_id
    assert after.state == "done"
    assert paid < set(after.provenance["label_ids"])
    assert after.n_reference_calculations == len(set(after.provenance["label_ids"])) <= 60
    asked = [(one.candidate, one.predicted_eV_per_atom) for one in search.progress().labels]
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize(
    ("where", "call", "moment"),
    [
        ("mlip_autopipe.jobs.hull_search:HullSearch.relax", 2, "before"),
        ("mlip_autopipe.jobs.hull_relearning:learn_candidates", 1, "after"),
    ],
)
def test_a_killed_job_is_done_by_the_next_and_the_end_is_the_same(
    settled, tmp_path, monkeypatch, where, call, moment
):
    expected, _ = settled
    store = memory_store()
    with monkeypatch.context() as patch:
        kills = kill_once(patch, where, call, moment)
        run(tmp_path, store=store, ensure=False)
        assert kills == [call]
    assert_same(run(tmp_path, store=store)[0], expected)


def test_killed_between_state_and_progress_the_same_job_does_the_same_again(settled, tmp_path, monkeypatch):
    expected, undisturbed = settled
    store = memory_store()
    with monkeypatch.context() as patch:
        kill_once(patch, "mlip_autopipe.jobs.hull_search:HullSearch.save_progress", 3, "before")
        _, search = run(tmp_path, store=store, ensure=False)
    relaxed, found, _ = settled_hull(store, search)
    assert learn_candidates(store, search, relaxed, found) is not None
    asked = search.progress().labels
    assert {one.round for one in asked} == {0, 1}
    assert asked == [one for one in undisturbed.progress().labels if one.round < 2]
    assert_same(run(tmp_path, store=store)[0], expected)


def assert_same(document: PhaseDiagramDocument, expected: PhaseDiagramDocument) -> None:
    same = {"hull_vertices", "rounds", "n_reference_calculations", "fresh_errors_eV_per_atom", "state"}
    assert document.model_dump(include=same) == expected.model_dump(include=same)
    assert document.provenance["label_ids"] == expected.provenance["label_ids"]
    for one, other in zip(document.entries, expected.entries, strict=True):
        assert (one.name, one.energy_eV_per_atom) == (other.name, other.energy_eV_per_atom)
