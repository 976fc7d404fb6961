"""``mlip-auto results``: a property document as a table, as ``results.json`` and as a figure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import EXIT_FAILED, EXIT_OK, EnvironmentProblemError, InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console

Document = dict[str, Any]

SHOWN_ERROR_GPA = 0.05


def show_results(run_name: str | None, launchpad: Path | None, out: Path | None, *, as_json: bool) -> int:
    """Print the property of a run (the latest one when none is named); return the exit code."""
    from mlip_autopipe.cli.db import open_database
    from mlip_autopipe.launch.runs import find_run, list_runs, result_document

    db = open_database(launchpad)
    runs = [] if db is None else list_runs(db)
    if db is None or (run_name is None and not runs):
        raise InvalidInputError("there is no run yet; `mlip-auto run input.yaml` starts one")
    run = runs[0] if run_name is None else find_run(db, run_name)
    document = result_document(db, run.run_id)
    if document is None:
        raise InvalidInputError(
            f"run {run.run_id} has no result (it is {run.state}); `mlip-auto status {run.run_id}` says more"
        )
    if as_json:
        if out is not None:
            write_files(document, out)
        print(json.dumps(flat_results(document), indent=2))
        return _exit_code(document)
    return report(document, out)


def report(document: Document, out: Path | None) -> int:
    """Print a property document; with a folder, also write ``results.json`` and the figure there.

    Returns
    -------
    int
        0, or 1 when a physics gate failed.
    """
    _print_elastic(document)
    if out is not None:
        print("wrote " + " and ".join(str(path) for path in write_files(document, out)))
    return _exit_code(document)


def write_files(document: Document, out: Path) -> list[Path]:
    """Write ``results.json`` and the figure into a folder; return their paths."""
    from mlip_autopipe.cli.figures import plot_elastic

    return [write_results(document, out), plot_elastic(document, out / "elastic.png")]


def write_results(document: Document, out: Path) -> Path:
    """Write ``results.json`` as a whole or not at all.

    Raises
    ------
    EnvironmentProblemError
        The folder cannot be written, for example because the disk is full.
    """
    target = out / "results.json"
    scratch = out / f".results.json.{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(flat_results(document), indent=2) + "\n", encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise EnvironmentProblemError(
            f"{target} cannot be written ({error.strerror}); the result is safe in the database: free some space, "
            f"then `mlip-auto results {document['run_id']} --out DIR` writes it"
        ) from None
    return target


def flat_results(document: Document) -> Document:
    """Return the document with its estimates spread into ``X`` and ``X_stderr`` keys.

    Constants become ``C11_GPa`` and ``C11_stderr_GPa``.
    """
    flat = {k: v for k, v in document.items() if k not in ("independent_constants_GPa", "moduli") and k[0] != "@"}
    for name, estimate in document["independent_constants_GPa"].items():
        flat[f"{name}_GPa"] = estimate["value"]
        flat[f"{name}_stderr_GPa"] = estimate["stderr"]
    for name, estimate in document["moduli"].items():
        stem, unit = _split_unit(name)
        flat[name] = estimate["value"]
        flat[f"{stem}_stderr{unit}"] = estimate["stderr"]
    return flat


def _split_unit(name: str) -> tuple[str, str]:
    for unit in ("_GPa", "_K"):
        if name.endswith(unit):
            return name.removesuffix(unit), unit
    return name, ""


def _exit_code(document: Document) -> int:
    return EXIT_OK if document["state"] == "done" else EXIT_FAILED


def _print_elastic(document: Document) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mlip_autopipe.analysis.published import published_elastic_constants

    console = Console(highlight=False)
    console.print(
        f"[bold]{document['formula']}[/], {document['space_group']} ({document['crystal_system']}), "
        f"run {document['run_id']}"
    )
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
    for gate in document["gates"]:
        mark = Text("passed", style="green") if gate["passed"] else Text("FAILED", style="bold red")
        console.print(Text(f"{gate['name']}: ") + mark + Text(f" ({gate['detail']})"))
    console.print(
        f"{document['n_reference_calculations']} reference calculations, "
        f"{document['provenance']['reference_core_time_s']:.3g} core-seconds"
    )
    for warning in document["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _print_moduli(console: Console, document: Document) -> None:
    from rich.table import Table

    moduli = Table(title="Polycrystal averages", title_justify="left", show_header=False)
    for name, estimate in document["moduli"].items():
        stem, unit = _split_unit(name)
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
