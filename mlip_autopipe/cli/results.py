"""``mlip-auto results``: a property document as a table, as ``results.json`` and as a figure."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mlip_autopipe.cli import diffusion_report, elastic_report, equilibrate_report, phase_report, potential_report
from mlip_autopipe.cli.report_parts import Document, GoalReport
from mlip_autopipe.errors import (
    EXIT_FAILED,
    EXIT_NOT_ENOUGH_EVIDENCE,
    EXIT_OK,
    EnvironmentProblemError,
    InvalidInputError,
)

REPORTS: dict[str, GoalReport] = {
    "diffusion": diffusion_report.REPORT,
    "elastic": elastic_report.REPORT,
    "equilibrate": equilibrate_report.REPORT,
    "phase_diagram": phase_report.REPORT,
    "potential": potential_report.REPORT,
}
"""How documents are shown, by their goal."""
EXIT_CODES = {"done": EXIT_OK, "not_enough_evidence": EXIT_NOT_ENOUGH_EVIDENCE}


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
        return exit_code(document)
    return report(document, out)


def report(document: Document, out: Path | None) -> int:
    """Print a property document; with a folder, also write ``results.json`` and the figure there.

    Returns
    -------
    int
        As of `exit_code`.
    """
    from rich.console import Console

    report_of(document).show(Console(highlight=False), document)
    if out is not None:
        print("wrote " + " and ".join(str(path) for path in write_files(document, out)))
    return exit_code(document)


def write_files(document: Document, out: Path) -> list[Path]:
    """Write ``results.json``, the figure and what else the goal gives into a folder; return their paths."""
    from mlip_autopipe.cli.files import write_all

    one = report_of(document)
    files = [write_results(document, out), one.draw(document, out / one.figure)]
    return files if one.more is None else [*files, *write_all(out, one.more(document))]


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
    """Return the document with its estimates spread into ``X`` and ``X_stderr`` keys, as ``results.json`` holds it."""
    return report_of(document).flatten(document)


def report_of(document: Document) -> GoalReport:
    """Return how a document is shown.

    Raises
    ------
    InvalidInputError
        Its goal is not known here.
    """
    goal = str(document.get("goal"))
    if goal not in REPORTS:
        raise InvalidInputError(
            f"results of goal {goal!r} cannot be shown by this version, which knows {', '.join(REPORTS)}; install the "
            "version that made them"
        )
    return REPORTS[goal]


def exit_code(document: Document) -> int:
    """Return 0 for a property that is done, 3 when the budget ended before the evidence was enough, else 1."""
    return EXIT_CODES.get(document["state"], EXIT_FAILED)
