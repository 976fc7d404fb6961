"""Phase diagrams as a table, as flat results and as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.cli.report_parts import Document, print_evidence

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 25
NEAR_eV = 0.03


def show_phase_diagram(console: Console, document: Document) -> None:
    """Print the phases on and near the hull with their probabilities, regions, temperatures and the evidence."""
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
    for line in _temperature_lines(document.get("temperature")):
        console.print(Text(line))
    print_evidence(console, document)


def flat_phase_diagram(document: Document) -> Document:
    """Return the document as it is: ``entries``, ``hull_vertices``, ``regions`` and ``temperature`` are flat already."""
    return {key: value for key, value in document.items() if key[0] != "@"}


def _share(entry: Document, symbol: str) -> float:
    from ase.formula import Formula

    counts = Formula(entry["formula"]).count()
    return float(counts.get(symbol, 0) / sum(counts.values()))
