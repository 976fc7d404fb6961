"""``mlip-auto analyse hull``: numbers, files, figures, exit codes and sentences."""

import csv
import io
import json
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from mlip_autopipe.analysis.hull import convex_hull
from mlip_autopipe.analysis.hull_entries import read_entries
from mlip_autopipe.cli.analyse_hull import hull_document
from mlip_autopipe.cli.hull_figure import hull_figure, hull_page
from tests.browser import seen_in_a_browser

ELEMENTS = ("Al", "Cu", "Ni", "Zn")
FILES = {"hull.json", "hull.csv", "pymatgen_entries.json"}


@pytest.fixture
def table(tmp_path):
    """Write a table of entries with random energies over some elements."""

    def make(d=2, n=30, stderr_eV=None, extra=()):
        rng = np.random.default_rng(d)
        counts = rng.integers(0, 7, (n, d))
        counts[counts.sum(axis=1) == 0, 0] = 1
        counts = np.concatenate([np.eye(d, dtype=int), counts])
        x = counts / counts.sum(axis=1, keepdims=True)
        energies = x @ rng.normal(-4, 1, d) - 0.4 * (1 - (x**2).sum(axis=1)) + 0.1 * abs(rng.normal(size=len(x)))
        lines = ["formula,energy_eV" + ("" if stderr_eV is None else ",energy_stderr_eV")]
        for row, energy in zip(counts, energies, strict=True):
            formula = "".join(f"{name}{k}" for name, k in zip(ELEMENTS, row, strict=False) if k)
            error = "" if stderr_eV is None else f",{stderr_eV * int(row.sum())!r}"
            lines.append(f"{formula},{float(energy) * int(row.sum())!r}{error}")
        path = tmp_path / "entries.csv"
        path.write_text("\n".join([*lines, *extra]) + "\n")
        return path

    return make


def by_hand(tmp_path, text):
    path = tmp_path / "hand.csv"
    path.write_text(text)
    return path


def test_totals_of_formulas_by_hand(tmp_path, invoke):
    """Au4Cu12 is 16 atoms: -58.4 eV is -0.225 eV/atom from the elements, and its error 0.01 eV/atom."""
    text = "formula,energy_eV,energy_stderr_eV\nAu,-3.2,\nCu2,-7,0\nAu4Cu12,-58.4,0.16\nAuCu,-6.9,0.02\nAu,-3.1,0\n"
    outcome = invoke("analyse", "hull", by_hand(tmp_path, text), "--json", "--samples", 1000)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert [one["formula"] for one in document["entries"]] == ["Au", "Cu2", "Au4Cu12", "AuCu", "Au"]

    def column(name):
        return [one[name] for one in document["entries"]]

    assert column("energy_eV_per_atom") == pytest.approx([-3.2, -3.5, -3.65, -3.45, -3.1])
    assert column("energy_stderr_eV_per_atom") == [None, 0, pytest.approx(0.01), pytest.approx(0.01), 0]
    assert column("formation_energy_eV_per_atom") == pytest.approx([0, 0, -0.225, -0.1, 0.1])
    assert column("e_above_hull_eV_per_atom") == pytest.approx([0, 0, 0, 0.05, 0.1])
    assert column("formation_energy_stderr_eV_per_atom") == pytest.approx([0, 0, 0.01, 0.01, 0], rel=0.1)
    # of the entry and two thirds of the compound below it
    assert column("e_above_hull_stderr_eV_per_atom")[3] == pytest.approx(0.01 * np.sqrt(1 + 4 / 9), rel=0.1)
    assert column("probability_stable") == [1, 1, 1, 0, 0]
    assert column("stable") == [True, True, True, False, False]
    assert document["entries"][3]["decomposition"] == [
        {"entry": 0, "fraction": pytest.approx(1 / 3)},
        {"entry": 2, "fraction": pytest.approx(2 / 3)},
    ]
    assert document["hull_vertices"] == [0, 1, 2]
    assert [one["formulas"] for one in document["two_phase_regions"]] == [["Au", "Au4Cu12"], ["Cu2", "Au4Cu12"]]
    assert [one["entries"] for one in document["regions"]] == [[0, 2], [1, 2]]
    assert document["regions"][1]["chemical_potentials_eV"] == pytest.approx({"Au": -0.9, "Cu": 0})
    assert document["warnings"] == ["1 of 5 entries have no error bar and were taken as exact"]


def test_an_error_bar_makes_a_probability(tmp_path, invoke):
    """2 meV below the tie line of the elements with an error of 4 meV: stable with Phi(0.5) = 0.69."""
    path = by_hand(tmp_path, "formula,energy_eV,energy_stderr_eV\nAl,0,0\nNi,0,0\nAlNi,-0.004,0.008\n")
    found = [
        json.loads(invoke("analyse", "hull", path, "--json", "--samples", 800, *more).out)
        for more in ((), ("--seed", 1), ())
    ]
    probabilities = [one["entries"][2]["probability_stable"] for one in found]
    assert probabilities == pytest.approx([0.6915] * 3, abs=0.06)
    assert probabilities[0] == probabilities[2] != probabilities[1]


@pytest.mark.parametrize("d", [2, 3, 4])
def test_files_and_pymatgen(d, table, invoke, tmp_path):
    path, out = table(d, stderr_eV=0.01), tmp_path / "out"
    outcome = invoke("analyse", "hull", path, "--out", out, "--samples", 100)
    assert outcome.code == 0, outcome.err
    assert {file.name for file in out.iterdir()} == FILES | ({"hull.png", "hull.html"} if d < 4 else set())
    for words in ("above the hull", "otherwise", "and 12 more" if d == 2 else "more: --json", "wrote"):
        assert words in outcome.out
    assert ("figures are for two or three elements" in outcome.out) == (d == 4)
    document = json.loads((out / "hull.json").read_text())

    from monty.serialization import loadfn
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    entries = loadfn(out / "pymatgen_entries.json")
    diagram = PhaseDiagram(entries)
    assert [one["e_above_hull_eV_per_atom"] for one in document["entries"]] == pytest.approx(
        [diagram.get_e_above_hull(one) for one in entries], abs=1e-10
    )
    place = {id(one): k for k, one in enumerate(entries)}
    assert {place[id(one)] for one in diagram.stable_entries} == set(document["hull_vertices"])

    rows = list(csv.DictReader(io.StringIO((out / "hull.csv").read_text())))
    assert [float(one["probability_stable"]) for one in rows] == [
        one["probability_stable"] for one in document["entries"]
    ]
    # both can be given again
    for again in ("hull.csv", "pymatgen_entries.json"):
        once_more = json.loads(invoke("analyse", "hull", out / again, "--json", "--samples", 100).out)
        assert once_more["hull_vertices"] == document["hull_vertices"]
        assert [one["probability_stable"] for one in once_more["entries"]] == [
            one["probability_stable"] for one in document["entries"]
        ]


def test_without_error_bars(table, invoke):
    outcome = invoke("analyse", "hull", table(3), "--json")
    document = json.loads(outcome.out)
    assert document["n_samples"] == 0
    for index, one in enumerate(document["entries"]):
        assert one["probability_stable"] == float(index in document["hull_vertices"])
        assert one["e_above_hull_stderr_eV_per_atom"] is None
    assert "no entry has an error bar: the probabilities are 1 or 0" in document["warnings"][0]
    assert "warning: no entry has an error bar" in invoke("analyse", "hull", table(3)).out


def test_a_bad_row_does_not_cost_the_others(table, invoke, tmp_path):
    path = table(2, extra=["Al2Cu2,abc", "AlCu,nan"])
    outcome = invoke("analyse", "hull", path, "--json", "--out", tmp_path / "out")
    assert outcome.code == 2
    document = json.loads(outcome.out)
    assert document["n_entries"] == 32
    assert "line 34 has 'abc' as the energy" in document["warnings"][0]
    assert outcome.err.count("\n") == 1
    assert "1 more cannot be used (line 35). The result is that of the 32 other entries." in outcome.err
    assert {file.name for file in (tmp_path / "out").iterdir()} >= FILES


def test_one_element_is_ranked_and_refused(tmp_path, invoke):
    path = by_hand(tmp_path, "formula,energy_eV\nCu,-3.5\nCu2,-6.9\n")
    outcome = invoke("analyse", "hull", path, "--json", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err == f"error: {path} holds Cu only; a hull needs at least two elements\n"
    assert [one["e_above_hull_eV_per_atom"] for one in json.loads(outcome.out)["entries"]] == pytest.approx([0, 0.05])
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("formula,energy\nAu,1\n", "no column energy_eV"),
        ("formula,energy_eV\nAu,1\nAuCu,1\n", "no entry of pure Cu"),
        ("formula,energy_eV\nAu,inf\n", "line 2 has inf as the energy, which is not finite"),
    ],
)
def test_bad_input(text, words, tmp_path, invoke):
    outcome = invoke("analyse", "hull", by_hand(tmp_path, text), "--out", tmp_path / "out")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert invoke("analyse", "hull", tmp_path / "hand.csv", "--samples", 0).code == 2


def test_an_energy_per_atom_taken_for_a_total_is_noticed(tmp_path, invoke):
    path = by_hand(tmp_path, "formula,energy_eV\nAu,-30\nCu,-40\nAu4Cu12,-38\n")
    outcome = invoke("analyse", "hull", path)
    assert outcome.code == 0
    assert "warning: entry 2 (Au4Cu12) has a formation energy of 35.1 eV per atom" in outcome.out


def test_probabilities_are_not_rounded_to_certainty(tmp_path, invoke):
    text = "formula,energy_eV,energy_stderr_eV\nAl,0,0\nNi,0,0\nAlNi,-1,0\nAlNi,-0.99,0.004\n"
    outcome = invoke("analyse", "hull", by_hand(tmp_path, text), "--samples", 3000)
    assert "> 99 %" in outcome.out
    assert "< 1 %" in outcome.out
    assert "100 %" in outcome.out


def document_of(path):
    entries = read_entries(path)
    return hull_document(entries, convex_hull(entries.fractions, entries.energies_eV_per_atom), None)


@pytest.mark.parametrize("d", [2, 3])
def test_figures(d, table):
    document = document_of(table(d))
    png = hull_figure(document, "entries")
    assert imread(io.BytesIO(png)).shape[:2] == (975, 1350)
    assert png == hull_figure(document, "entries")
    document["entries"][document["hull_vertices"][-1]]["probability_stable"] = 0.5
    assert png != hull_figure(document, "entries")


@pytest.mark.parametrize("d", [2, 3])
def test_the_page_holds_every_entry_and_needs_no_network(d, table):
    pytest.importorskip("plotly")
    document = document_of(table(d, stderr_eV=0.01))
    document["entries"][3]["source"] = "reference"
    page = hull_page(document, "entries")
    assert not re.search(r"<(script|link)[^>]*(src|href)=[\"']https?:", page)
    traces = json.loads(re.search(r'Plotly\.newPlot\(\s*"hull",\s*(\[.*?\]),\s*\{"template"', page, re.DOTALL)[1])
    assert sum(len(trace.get("hovertext", ())) for trace in traces) == document["n_entries"]
    texts = [text for trace in traces for text in trace.get("hovertext", ())]
    assert sum("reference" in text for text in texts) == 1
    assert all("above the hull" in text and "meV/atom" in text for text in texts)
    lines = traces[0]
    if d == 2:
        assert lines["x"] == sorted(lines["x"])
        assert len(lines["x"]) == len(document["hull_vertices"])
    else:
        assert len(lines["a"]) == 3 * len(document["two_phase_regions"])


@pytest.mark.live
@pytest.mark.parametrize("d", [2, 3])
def test_a_browser_draws_the_page(d, table, tmp_path):
    pytest.importorskip("plotly")
    document = document_of(table(d, stderr_eV=0.01))
    page = tmp_path / "hull.html"
    page.write_text(hull_page(document, "entries"), encoding="utf-8")
    seen = seen_in_a_browser(page.as_uri(), tmp_path)
    drawing = seen[seen.index('id="hull"') :]
    # one mark for each entry
    assert len(re.findall(r'<path class="point', drawing)) >= document["n_entries"]
    assert "formation energy (eV/atom)" in drawing if d == 2 else all(f">{name}<" in drawing for name in ELEMENTS[:3])


def test_without_plotly_there_is_no_page_and_it_is_said(table, invoke, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    outcome = invoke("analyse", "hull", table(2), "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES | {"hull.png"}
    assert "hull.html needs plotly (pip install plotly)" in outcome.out.replace("\n", " ")


def test_only_elements_can_be_drawn(tmp_path):
    path = by_hand(tmp_path, "formula,energy_eV\nAu,-3\nCu,-4\n")
    with np.errstate(divide="raise", invalid="raise"):
        assert imread(io.BytesIO(hull_figure(document_of(path), "x"))).std() > 0
