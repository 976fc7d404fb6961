"""What a run is doing right now: a live table on a terminal, a line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from mlip_autopipe.cli.outlook import Outlook

if TYPE_CHECKING:
    from pymongo.database import Database
    from rich.table import Table

    from mlip_autopipe.schemas.system import SystemConfig

SYMBOLS = {"COMPLETED": "done", "RUNNING": "running", "FIZZLED": "failed", "READY": "ready", "WAITING": "waiting"}
REFRESH_S = 1.0
SAY_EVERY_S = 30.0
"""Where lines are printed: a sentence on how far the run has come."""


class Show(Protocol):
    """Bring a display up to date; ``final`` also when it was shown just now."""

    def __call__(self, *, final: bool = False) -> None:
        """Update the display if a second has passed since, or if this is the last time."""
        ...


@contextmanager
def progress(db: Database[dict[str, Any]], system: SystemConfig) -> Iterator[Show]:
    """Yield a function that brings the display up to date; call it as often as you like."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    started = time.monotonic()
    if not console.is_terminal:
        yield _line_printer(db, system, started)
        return
    with Live(console=console, auto_refresh=False) as live:
        last = 0.0
        outlook = Outlook(db, system.run_id)

        def show(*, final: bool = False) -> None:
            nonlocal last
            now = time.monotonic()
            if final or now - last >= REFRESH_S:
                last = now
                live.update(_table(db, system, started, outlook), refresh=True)

        yield show


def count_labels(db: Database[dict[str, Any]], run_id: str) -> int:
    """Return the number of finished labels that a run paid for."""
    return int(db["outputs"].count_documents({"output.run_id": run_id, "output.label_id": {"$exists": True}}))


def _jobs(db: Database[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
    fields = {"fw_id": 1, "name": 1, "state": 1, "_id": 0}
    return list(db["fireworks"].find({"spec.run_id": run_id}, fields).sort("fw_id", 1))


def _line_printer(db: Database[dict[str, Any]], system: SystemConfig, started: float) -> Show:
    seen: dict[int, str] = {}
    last, said, said_at = 0.0, "", started
    outlook = Outlook(db, system.run_id)

    def show(*, final: bool = False) -> None:
        nonlocal last, said, said_at
        if not final and time.monotonic() - last < REFRESH_S:
            return
        last = time.monotonic()
        for job in _jobs(db, system.run_id):
            state = job["state"]
            if state != seen.get(job["fw_id"]) and state in ("RUNNING", "COMPLETED", "FIZZLED"):
                seen[job["fw_id"]] = state
                labels = count_labels(db, system.run_id)
                print(
                    f"{_clock(started)}  {job['name']}: {SYMBOLS[state]}  ({labels} reference calculations so far)",
                    flush=True,
                )
        if last - said_at >= SAY_EVERY_S and (sentence := outlook.sentence()) not in (None, said):
            said, said_at = str(sentence), last
            print(f"{_clock(started)}  {sentence}", flush=True)

    return show


def _table(db: Database[dict[str, Any]], system: SystemConfig, started: float, outlook: Outlook) -> Table:
    from rich.table import Table

    labels = count_labels(db, system.run_id)
    table = Table(title=f"{system.run_id}  {_clock(started)}", title_justify="left", caption_justify="left")
    table.caption = f"{labels} of about {system.estimate.n_reference_calculations} reference calculations"
    if (sentence := outlook.sentence()) is not None:
        table.caption += f"\n{sentence}"
    table.add_column("job")
    table.add_column("state")
    colours = {"COMPLETED": "green", "RUNNING": "cyan", "FIZZLED": "red"}
    for job in _jobs(db, system.run_id):
        colour = colours.get(job["state"], "dim")
        table.add_row(job["name"], f"[{colour}]{SYMBOLS.get(job['state'], job['state'].lower())}[/]")
    return table


def _clock(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes:2d}:{seconds:02d}"
