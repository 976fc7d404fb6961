"""Phase diagrams as a table, as flat results and as figures."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.cli.report_parts import Document, GoalReport, print_evidence

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 25
NEAR_eV = 0.03
SURE = 0.995
DRAWN_ELEMENTS = (2, 3)
COLUMNS = (
    "name",
    "kind",
    "source",
    "formation_energy_eV_per_atom",
    "formation_energy_stderr_eV_per_atom",
    "e_above_hull_eV_per_atom",
    "e_above_hull_stderr_eV_per_atom",
    "probability_stable",
    "volume_A3_per_atom",
)
EXTXYZ_KEYS = ("name", "source", "e_above_hull_eV_per_atom", "probability_stable")


def show_phase_diagram(console: Console, document: Document) -> None:
    """Print the phases on and near the hull with their probabilities, regions, what temperature does, the evidence."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    entries = document["entries"]
    console.print(
        f"[bold]{'-'.join(document['elements'])}[/], {document['n_candidates']} candidates, "
        f"{document['rounds']} rounds of labels for the hull, run {escape(document['run_id'])}"
    )
    table = Table(title="Phases on and near the hull", title_justify="left")
    for column in ("phase", "formula", "formation (meV/atom)", "above hull (meV/atom)", "stable", "by"):
        table.add_column(column, justify="left" if column in ("phase", "formula", "by") else "right")
    vertices = set(document["hull_vertices"])
    near = [k for k, one in enumerate(entries) if k in vertices or one["e_above_hull_eV_per_atom"] < NEAR_eV]
    for k in sorted(near[:SHOWN], key=lambda k: _share(entries[k], document["elements"][-1])):
        one = entries[k]
        style = "bold" if k in vertices else ""
        table.add_row(
            escape(one["name"]),
            escape(one["formula"]),
            f"{1e3 * one['formation_energy_eV_per_atom']:.1f} ± {1e3 * one['formation_energy_stderr_eV_per_atom']:.1f}",
            f"{1e3 * one['e_above_hull_eV_per_atom']:.1f}",
            f"{100 * one['probability_stable']:.0f} %",
            one["source"],
            style=style,
        )
    console.print(table)
    if len(near) > SHOWN:
        console.print(f"and {len(near) - SHOWN} more within {1e3 * NEAR_eV:g} meV; results.json has all")
    for region in document["regions"]:
        console.print(Text(" + ".join(region["names"]) + " coexist"))
    for line in [*_temperature_lines(document.get("temperature")), *_vibration_lines(document.get("vibrations"))]:
        console.print(Text(line))
    print_evidence(console, document)


def flat_phase_diagram(document: Document) -> Document:
    """Return the document without the marks of its classes and without structures: its lists are flat already."""
    found: Document = _unmarked(document)
    for one in found["entries"]:
        one.pop("structure", None)  # phases.extxyz has them
    return found


def _temperature_lines(part: Document | None) -> list[str]:
    """Say what is known over temperature."""
    if part is None:
        return []
    expansion = part["expansion"]
    lines = [
        f"cluster expansion on {part['parent']}: {expansion['structures']} structures, cross-validation error "
        f"{1e3 * expansion['cross_validation_error_eV_per_atom']:.1f} meV/atom, ordering energy "
        f"{1e3 * expansion['ordering_energy_eV_per_atom']:.1f} meV/atom"
    ]
    for one in part["diagram"]["order_disorder"]:
        kelvin = one.get("temperature_K")
        if kelvin is not None:
            lines.append(f"{one['phase']} disorders at {kelvin['value']:.0f} ± {kelvin['stderr']:.0f} K")
    peak = part["diagram"]["consolute_temperature_K"]
    if peak is not None:
        lines.append(f"the miscibility gap closes at {peak['value']:.0f} ± {peak['stderr']:.0f} K")
    return lines


def _vibration_lines(part: Document | None) -> list[str]:
    """Say which phases have the lowest free energies, with the probability where it is not sure."""
    if part is None:
        return []
    known = {one["entry"]: one for one in part["entries"]}
    lines = [f"free energies of {len(known)} phases with {part['method']} vibrations:"]
    for t, hull in enumerate(part["hulls"]):
        named = []
        for one in (known[place] for place in hull["hull_vertices"]):
            probability = one["probability_stable"][t]
            named.append(one["name"] + (f" ({100 * probability:.0f} %)" if probability < SURE else ""))
        lines.append(f"  at {hull['temperature_K']:g} K the hull holds {', '.join(named) or 'nothing that is known'}")
    shaken = [one for one in part["entries"] if not one["dynamically_stable"]]
    if shaken:
        named = [f"{one['name']} ({one['worst_imaginary_THz']:.1f} THz)" for one in shaken]
        lines.append(f"  dynamically unstable: {', '.join(named)}")
    return lines


def draw_hull(document: Document, path: Path) -> Path:
    """Draw the hull, or for four elements and more the probabilities, into a PNG file."""
    from mlip_autopipe.cli.figures import remark
    from mlip_autopipe.cli.files import write_all
    from mlip_autopipe.cli.hull_figure import hull_figure

    title = f"{'-'.join(document['elements'])}{remark(document)}"
    if len(document["elements"]) in DRAWN_ELEMENTS:
        write_all(path.parent, {path.name: hull_figure(document, title)})
        return path
    return _draw_probabilities(document, path, title)


def further_files(document: Document) -> dict[str, bytes]:
    """Return the hull as a page for a browser, the entries as CSV and as pymatgen's, and the structures."""
    from monty.json import MontyEncoder
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core import Composition

    from mlip_autopipe.cli.hull_figure import hull_page
    from mlip_autopipe.cli.phase_figure import phase_figure, phase_page

    entries = document["entries"]
    made = [
        PDEntry(Composition(one["formula"]), one["energy_eV_per_atom"] * one["n_atoms"], name=one["name"])
        for one in entries
    ]
    files = {"hull.csv": _table(entries).encode(), "pymatgen_entries.json": json.dumps(made, cls=MontyEncoder).encode()}
    if any(one.get("structure") for one in entries):
        files["phases.extxyz"] = _structures(entries).encode()
    if len(document["elements"]) in DRAWN_ELEMENTS:
        page = hull_page(document, "-".join(document["elements"]))
        if page is not None:
            files["hull.html"] = page.encode()
    diagram = (document.get("temperature") or {}).get("diagram")
    if diagram and diagram["slices"]:
        title = f"{'-'.join(document['elements'])} on {document['temperature']['parent']}"
        files["phase_diagram.png"] = phase_figure(diagram, title)
        page = phase_page(diagram, title)
        if page is not None:
            files["phase_diagram.html"] = page.encode()
        if document["temperature"].get("tdb"):
            files[f"{'-'.join(document['elements'])}.tdb"] = document["temperature"]["tdb"].encode()
    return files


REPORT = GoalReport(
    show=show_phase_diagram,
    flatten=flat_phase_diagram,
    draw=draw_hull,
    figure="hull.png",
    more=further_files,
)


def _table(entries: list[Document]) -> str:
    """Return the entries in the columns that ``mlip-auto analyse hull`` reads, and more."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["formula", "energy_eV", *COLUMNS])
    for one in entries:
        rows.writerow([one["formula"], one["energy_eV_per_atom"] * one["n_atoms"], *(one[name] for name in COLUMNS)])
    return text.getvalue()


def _structures(entries: list[Document]) -> str:
    """Return the relaxed structures nearest the hull, with what ``mlip-auto analyse hull`` reads."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from mlip_autopipe.potentials.dataset import atoms_of

    frames = []
    for one in (one for one in entries if one.get("structure")):
        atoms = atoms_of(one["structure"])
        atoms.calc = SinglePointCalculator(atoms, energy=one["energy_eV_per_atom"] * one["n_atoms"])
        atoms.info |= {name: one[name] for name in EXTXYZ_KEYS}
        frames.append(atoms)
    text = io.StringIO()
    write(text, frames, format="extxyz")
    return text.getvalue()


def _draw_probabilities(document: Document, path: Path, title: str) -> Path:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from mlip_autopipe.cli.figures import save_figure

    likely = sorted(document["entries"], key=lambda one: -one["probability_stable"])[:SHOWN]
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    axes.barh([f"{one['formula']} ({one['name']})" for one in likely], [one["probability_stable"] for one in likely])
    axes.invert_yaxis()
    axes.set(xlabel="probability of being stable", title=title)
    return save_figure(figure, path, document["run_id"])


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unmarked(inner) for key, inner in value.items() if key[0] != "@"}
    return [_unmarked(inner) for inner in value] if isinstance(value, list) else value


def _share(entry: Document, symbol: str) -> float:
    return float(entry["fractions"][symbol])
