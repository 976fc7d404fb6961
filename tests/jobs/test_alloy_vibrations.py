"""Vibrations in goal phase_diagram in memory: EMT as the hidden truth."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.vibrations import phonons_of
from mlip_autopipe.cli.phase_report import show_phase_diagram
from mlip_autopipe.jobs.alloy_vibrations import (
    MOST_ENTRIES,
    RECORD,
    EntryVibrations,
    NEAR_eV,
    add_vibrations,
    hulls_of_free_energies,
    near_the_hull,
    vibrations_part,
)
from mlip_autopipe.jobs.phase_diagram_document import settled_hull
from mlip_autopipe.potentials.errors import PredictionError
from tests.analysis.test_vibrations import by_emt
from tests.jobs.test_learn import kill_once
from tests.jobs.test_phase_diagram import memory_store, run

pytest.importorskip("phonopy")

ASKED = {"phase_diagram.vibrations": "harmonic", "phase_diagram.vibration_temperatures_K": [500, 0, 250]}
KELVINS = [0.0, 250.0, 500.0]


@pytest.fixture(scope="module")
def store() -> Any:
    return memory_store()


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory, store: Any) -> Any:
    return run(tmp_path_factory.mktemp("vibrations"), store=store, **ASKED)


def test_free_energies_are_those_of_the_reference(shaken):
    document, search = shaken
    part = document.vibrations
    assert part["temperatures_K"] == KELVINS
    assert part["method"] == "harmonic"
    structures = {name: search.relaxed().structures[k] for k, name in enumerate(search.candidates.names)}
    checked = 0
    for one in part["entries"]:
        entry = document.entries[one["entry"]]
        assert one["name"] == entry.name
        if entry.source != "reference" or not one["dynamically_stable"]:
            continue
        true = phonons_of(structures[entry.name], by_emt)
        vibrational = np.array(one["free_energy_eV_per_atom"]) - entry.energy_eV_per_atom
        assert vibrational == pytest.approx(true.free_energy_eV_per_atom(KELVINS), abs=5e-3)
        assert one["zero_point_energy_eV_per_atom"] == pytest.approx(vibrational[0], abs=1e-6)
        assert all(0 < error < 0.05 for error in one["vibrational_stderr_eV_per_atom"])
        checked += 1
    assert checked >= 4


def test_hulls_are_those_of_the_listed_free_energies(shaken):
    document, _ = shaken
    entries = document.vibrations["entries"]
    for t, kelvin in enumerate(KELVINS):
        within = [one for one in entries if one["dynamically_stable"] or kelvin == 0]
        fractions = [[document.entries[one["entry"]].fractions[x] for x in document.elements] for one in within]
        hull = convex_hull(fractions, [one["free_energy_eV_per_atom"][t] for one in within])
        stored = document.vibrations["hulls"][t]
        assert stored["temperature_K"] == kelvin
        assert stored["hull_vertices"] == sorted(within[k]["entry"] for k in hull.vertices)
        above = [one["e_above_hull_eV_per_atom"][t] for one in within]
        assert above == pytest.approx(hull.e_above_hull_eV_per_atom.tolist(), abs=1e-6)
        for one in entries:
            assert (one["e_above_hull_eV_per_atom"][t] is None) is (one not in within)
            assert (one["probability_stable"][t] is None) is (one not in within)


def test_everything_near_the_hull_is_there_and_the_part_is_small(shaken):
    document, _ = shaken
    listed = {one["entry"] for one in document.vibrations["entries"]}
    near = {
        place
        for place, one in enumerate(document.entries)
        if one.e_above_hull_eV_per_atom < NEAR_eV or one.probability_stable > 0.05
    }
    assert set(document.hull_vertices) <= listed == near
    assert len(json.dumps(document.vibrations)) < 100_000 * len(listed) / MOST_ENTRIES
    assert any("no disorder and no liquid" in sentence for sentence in document.warnings)


def test_the_report_names_the_phases_of_each_temperature(shaken):
    document, _ = shaken
    console = Console(record=True, width=300)
    show_phase_diagram(console, document.model_dump(mode="json"))
    text = console.export_text()
    for hull in document.vibrations["hulls"]:
        (line,) = (one for one in text.splitlines() if f"at {hull['temperature_K']:g} K the hull holds" in one)
        assert all(document.entries[place].name in line for place in hull["hull_vertices"])


def test_without_the_option_there_is_nothing(tmp_path):
    document, search = run(tmp_path, labels=16)
    assert document.vibrations is None
    assert search.records.find(RECORD) is None


def test_a_killed_job_is_repeated(shaken, tmp_path, monkeypatch):
    expected, _ = shaken
    store = memory_store()
    with monkeypatch.context() as patch:
        kills = kill_once(patch, "mlip_autopipe.jobs.alloy_vibrations:hulls_of_free_energies", 1, "after")
        _, search = run(tmp_path, store=store, ensure=False, **ASKED)
        assert kills == [1]
        assert search.records.find(RECORD) is None
    document, _ = run(tmp_path, store=store, **ASKED)
    assert document.vibrations == expected.vibrations


class TestJobAlone:
    """The job repeated on the run that has ended."""

    @pytest.fixture
    def again(self, shaken, store):
        _, search = shaken
        relaxed, found, _ = settled_hull(store, search)
        saved = search.records.find(RECORD)
        yield search, relaxed, found
        search.records.save(RECORD, saved)

    def test_without_phonopy_the_remedy_is_named(self, again, monkeypatch):
        search, relaxed, found = again
        monkeypatch.setitem(sys.modules, "phonopy", None)
        add_vibrations(search, relaxed, found)
        part, said = vibrations_part(search, {})
        assert part is None
        assert said == ["no vibrations: vibrations need phonopy: pip install 'mlip-autopipe[phonons]'"]

    def test_what_the_potential_cannot_say_is_named(self, again, monkeypatch):
        search, relaxed, found = again
        places = {int(k): place for place, k in enumerate(found.kept)}
        lost = next(k for k in found.vertices if 0 < found.energies.fractions[k][0] < 1)
        numbers = relaxed.structures[lost].numbers
        predict = type(search.potential).predict

        def refuse(self: Any, atoms: Any) -> Any:
            if np.isclose((atoms.numbers == 79).mean(), (numbers == 79).mean()):
                raise PredictionError("not finite")
            return predict(self, atoms)

        monkeypatch.setattr(type(search.potential), "predict", refuse)
        add_vibrations(search, relaxed, found)
        part, said = vibrations_part(search, places)
        name = search.candidates.names[lost]
        assert any(f"{name}: not finite" in sentence for sentence in said)
        assert all(one["name"] != name for one in part["entries"])
        assert places[lost] not in part["hulls"][0]["hull_vertices"]

    def test_quasiharmonic_crystals_expand_and_are_lower(self, again, monkeypatch):
        search, relaxed, found = again
        places = {int(k): place for place, k in enumerate(found.kept)}
        harmonic = {one["candidate"]: one for one in search.records.find(RECORD)["entries"]}
        monkeypatch.setattr(search, "settings", search.settings.model_copy(update={"vibrations": "quasiharmonic"}))
        monkeypatch.setattr("mlip_autopipe.jobs.alloy_vibrations.near_the_hull", lambda found: near_the_hull(found)[:3])
        add_vibrations(search, relaxed, found)
        record = search.records.find(RECORD)
        assert record["method"] == "quasiharmonic"
        stable = [one for one in record["entries"] if one["dynamically_stable"]]
        assert len(stable) >= 2
        for one in stable:
            volumes = one["volume_A3_per_atom"]
            at_rest = relaxed.structures[one["candidate"]].get_volume() / len(relaxed.structures[one["candidate"]])
            assert at_rest < volumes[0] < volumes[1] < volumes[2] < 1.05 * at_rest
            gained = np.subtract(harmonic[one["candidate"]]["free_energy_eV_per_atom"], one["free_energy_eV_per_atom"])
            assert (gained > -1e-4).all()
            assert 1e-4 < gained[2] < 0.02
        assert vibrations_part(search, places)[0]["method"] == "quasiharmonic"


def entry(candidate: int, vibrational: list[float], *, stable: bool = True, changes: float = 0.0) -> EntryVibrations:
    phonons: Any = SimpleNamespace(dynamically_stable=stable)
    drawn = changes * np.array([[1.0], [-1.0]]) * np.ones(len(vibrational))
    return EntryVibrations(candidate, phonons, np.array(vibrational), drawn)


def energies(*eV: float) -> Any:
    """Candidates at x = 0, 1 and 1/2."""
    samples = np.tile(eV, (100, 1))
    fractions = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]][: len(eV)])
    return SimpleNamespace(energies=SimpleNamespace(energies_eV=np.array(eV), samples_eV=samples, fractions=fractions))


def test_the_soft_phase_wins_when_it_is_hot():
    found = energies(0.0, 0.0, -0.010, -0.009)
    entries = [entry(0, [0.0, 0.0]), entry(1, [0.0, 0.0]), entry(2, [0.0, 0.0]), entry(3, [0.0, -0.003], changes=0.004)]
    hulls, above, probability = hulls_of_free_energies(found, entries, [0.0, 600.0], ["A", "B"])
    assert [one["vertices"] for one in hulls] == [[0, 1, 2], [0, 1, 3]]
    assert above[2:] == pytest.approx(np.array([[0.0, 0.002], [0.001, 0.0]]))
    # of the two draws one brings it down by 4 meV, the other takes it up by as much
    assert probability[2:] == pytest.approx(np.array([[0.5, 0.5], [0.5, 0.5]]))


def test_draws_that_move_all_phases_alike_leave_no_doubt():
    found = energies(0.0, 0.0, -0.010, -0.009)
    entries = [entry(k, [0.0], changes=0.1) for k in range(4)]
    _, _, probability = hulls_of_free_energies(found, entries, [300.0], ["A", "B"])
    assert probability[:, 0].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_unstable_phases_are_in_the_hull_at_zero_temperature_only():
    found = energies(0.0, 0.0, -0.010)
    entries = [entry(0, [0.0, 0.0]), entry(1, [0.0, 0.0]), entry(2, [0.0, 0.0], stable=False)]
    hulls, above, _ = hulls_of_free_energies(found, entries, [0.0, 1.0], ["A", "B"])
    assert [one["vertices"] for one in hulls] == [[0, 1, 2], [0, 1]]
    assert np.isnan(above).tolist() == [[False, False], [False, False], [False, True]]


def test_without_an_element_there_is_no_hull():
    found = energies(0.0, 0.0, -0.010)
    entries = [entry(0, [0.0, 0.0]), entry(1, [0.0, np.nan]), entry(2, [0.0, 0.0])]
    hulls, above, _ = hulls_of_free_energies(found, entries, [0.0, 900.0], ["A", "B"])
    assert [one["lacking"] for one in hulls] == [[], ["B"]]
    assert np.isnan(above[:, 1]).all()


def test_the_nearest_come_first_and_no_more_than_some():
    above = np.linspace(0.03, 0.0, 100)
    likely = np.zeros(100)
    likely[0] = 0.5
    found: Any = SimpleNamespace(
        hull=SimpleNamespace(e_above_hull_eV_per_atom=above), hulls=SimpleNamespace(probability_stable=likely)
    )
    assert near_the_hull(found) == list(range(99, 99 - MOST_ENTRIES, -1))
    found.hull.e_above_hull_eV_per_atom = above + 0.015
    assert near_the_hull(found)[-1] == 0
