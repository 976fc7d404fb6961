"""Elastic constants as tables and as flat results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.cli.figures import plot_elastic
from mlip_autopipe.cli.report_parts import Document, GoalReport, print_evidence, print_title, split_unit, spread

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_ERROR_GPA = 0.05


def show_elastic(console: Console, document: Document) -> None:
    """Print tensor, independent constants beside published ones, and polycrystal averages."""
    from rich.table import Table
    from rich.text import Text

    from mlip_autopipe.analysis.published import published_elastic_constants

    print_title(console, document)
    tensor = Table(title="Elastic tensor (GPa), input orientation", title_justify="left", show_header=False)
    tensor.caption = f"errors below {SHOWN_ERROR_GPA} GPa are not shown"
    tensor.caption_justify = "left"
    for row, errors in zip(document["elastic_tensor_GPa"], document["elastic_tensor_stderr_GPa"], strict=True):
        tensor.add_row(*(_cell(c, e) for c, e in zip(row, errors, strict=True)))
    console.print(tensor)

    published = published_elastic_constants(document["formula"], document["space_group"])
    constants = Table(title="Independent constants (GPa), IEEE orientation", title_justify="left")
    constants.add_column("")
    constants.add_column("this run")
    for entry in published:
        constants.add_column(entry.method)
        constants.add_column("difference", justify="right")
    for name, estimate in document["independent_constants_GPa"].items():
        cells = [name, _pm(estimate)]
        for entry in published:
            value = entry.constants_GPa.get(name)
            cells += ["", ""] if value is None else [f"{value:.1f}", f"{100 * (estimate['value'] / value - 1):+.1f} %"]
        constants.add_row(*cells)
    console.print(constants)
    for entry in published:
        console.print(Text(f"  {entry.method}: {entry.source}"))

    if document["born_stable"]:  # averages of an unstable crystal mean nothing
        _print_moduli(console, document)
    print_evidence(console, document)


def flat_elastic(document: Document) -> Document:
    """Return the document with constants and moduli spread into ``C11_GPa``, ``C11_stderr_GPa`` and so on."""
    flat = {k: v for k, v in document.items() if k not in ("independent_constants_GPa", "moduli") and k[0] != "@"}
    for name, estimate in document["independent_constants_GPa"].items():
        flat |= spread(f"{name}_GPa", estimate)
    for name, estimate in document["moduli"].items():
        if name[0] != "@":
            flat |= spread(name, estimate)
    return flat


REPORT = GoalReport(show=show_elastic, flatten=flat_elastic, draw=plot_elastic, figure="elastic.png")


def _print_moduli(console: Console, document: Document) -> None:
    from rich.table import Table

    moduli = Table(title="Polycrystal averages", title_justify="left", show_header=False)
    for name, estimate in document["moduli"].items():
        stem, unit = split_unit(name)
        moduli.add_row(stem.replace("_", " "), f"{_pm(estimate)} {unit.removeprefix('_')}".strip())
    console.print(moduli)


def _cell(value: float, stderr: float) -> str:
    """Fit a constant and its error into a sixth of a terminal line; what symmetry makes zero is a bare 0."""
    if abs(value) < 0.005 and stderr < 0.005:
        return "0"
    return f"{value:.1f}±{stderr:.1f}" if stderr >= SHOWN_ERROR_GPA else f"{value:.1f}"


def _pm(estimate: Document) -> str:
    value, stderr = estimate["value"], estimate["stderr"]
    digits = 2 if abs(value) >= 10 else 3
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"
