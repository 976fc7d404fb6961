"""What the reports of all goals share: the shape of a report, and the lines that every property document has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Document = dict[str, Any]

UNITS = ("_GPa", "_K", "_A", "_deg", "_A3_per_atom", "_g_per_cm3", "_eV_per_atom", "_per_K")
"""Ends of names, the unit of their value."""


@dataclass(frozen=True)
class GoalReport:
    """How the property document of one goal is shown.

    Attributes
    ----------
    show
        Print the document.
    flatten
        Return its content for ``results.json``.
    draw
        Draw it into a PNG file.
    figure
        Name of that file.
    more
        Return further files by name; None: there are none.
    """

    show: Callable[[Console, Document], None]
    flatten: Callable[[Document], Document]
    draw: Callable[[Document, Path], Path]
    figure: str
    more: Callable[[Document], dict[str, bytes]] | None = None


def print_title(console: Console, document: Document) -> None:
    """Print what the document is about."""
    from rich.markup import escape

    console.print(
        f"[bold]{escape(document['formula'])}[/], {escape(document['space_group'])} ({document['crystal_system']}), "
        f"run {escape(document['run_id'])}"
    )


def print_evidence(console: Console, document: Document) -> None:
    """Print gates, the number of reference calculations, what is missing, and warnings."""
    from rich.text import Text

    print_gates(console, document["gates"])
    console.print(
        f"{document['n_reference_calculations']} reference calculations, "
        f"{document['provenance']['reference_core_time_s']:.3g} core-seconds"
    )
    if document["state"] == "not_enough_evidence":
        console.print(Text("not enough evidence within the budget: the errors above are what was reached", "bold red"))
    for sentence in document.get("missing", []):
        console.print(Text(f"missing: {sentence}", style="red"))
    for warning in document["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def print_gates(console: Console, gates: list[Document], prefix: str = "") -> None:
    """Print one line per physics check."""
    from rich.text import Text

    for gate in gates:
        mark = Text("passed", style="green") if gate["passed"] else Text("FAILED", style="bold red")
        console.print(Text(f"{prefix}{gate['name']}: ") + mark + Text(f" ({gate['detail']})"))


def spread(name: str, estimate: Document) -> Document:
    """Return an estimate as ``X_unit`` and ``X_stderr_unit``, and the parts of its error where it has any."""
    stem, unit = split_unit(name)
    flat: Document = {name: estimate["value"], f"{stem}_stderr{unit}": estimate["stderr"]}
    if "stderr_parts" in estimate:
        flat[f"{stem}_stderr_parts{unit}"] = {k: v for k, v in estimate["stderr_parts"].items() if k[0] != "@"}
    return flat


def split_unit(name: str) -> tuple[str, str]:
    """Return a name without its unit, and the unit with its underscore."""
    for unit in sorted(UNITS, key=len, reverse=True):
        if name.endswith(unit):
            return name.removesuffix(unit), unit
    return name, ""
