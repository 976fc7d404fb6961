"""``mlip-auto plan``: the full plan with its reasons, and nothing run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobflow import Flow

    from mlip_autopipe.schemas.system import SystemConfig


def make_plan(input_file: Path) -> SystemConfig:
    """Read an input file and expand it.

    Raises
    ------
    InvalidInputError
        The input is wrong or asks for what is not possible.
    """
    from mlip_autopipe.heuristics.engine import HeuristicEngine
    from mlip_autopipe.schemas.loading import load_user_config

    return HeuristicEngine().expand(load_user_config(input_file))


def show_plan(input_file: Path, *, as_json: bool) -> None:
    """Print the plan of an input file, as tables or as JSON."""
    from mlip_autopipe.flows.build import build_flow

    system = make_plan(input_file)
    flow = build_flow(system)
    if as_json:
        print(system.model_dump_json(indent=2))
        return
    _print_tables(system, flow)


def _print_tables(system: SystemConfig, flow: Flow) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(f"[bold]{system.project_name}[/]: {system.goal} of {system.material.formula}, run {system.run_id}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("value", overflow="fold")
    table.add_column("", overflow="fold")
    table.add_column("why (source)", overflow="fold", ratio=1)
    for path, reason in system.reasons.items():
        why = Text.assemble(reason.reason, (f" ({reason.source})", "dim"))
        table.add_row(Text(path), Text(_short(_value_at(system, path))), why)
    console.print(table)

    console.print("[bold]Jobs[/]")
    for line in job_graph(flow):
        console.print(Text(f"  {line}"))
    estimate = system.estimate
    console.print(
        f"[bold]Cost[/]: about {estimate.n_reference_calculations} reference calculations and "
        f"{estimate.core_hours:.2g} core-hours ({estimate.basis}); at most "
        f"{system.budget.max_reference_calculations} and {system.budget.max_core_hours:g}",
        highlight=False,
    )
    for warning in system.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))


def job_graph(flow: Flow) -> list[str]:
    """Return one line per job: its number, its name and the numbers of the jobs it waits for."""
    numbered: dict[str, int] = {}
    lines = []
    for number, (job, parents) in enumerate(flow.iterflow(), start=1):
        numbered[job.uuid] = number
        after = ", ".join(str(n) for n in sorted(numbered[p] for p in parents))
        lines.append(f"{number:3d}  {job.name}" + (f"  <- {after}" if after else ""))
    return lines


def _value_at(system: SystemConfig, path: str) -> Any:
    value: Any = system.model_dump()
    for part in path.split("."):
        value = value[part]
    return value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and "lattice" in value:
        lattice = value["lattice"]
        lengths, angles = (", ".join(f"{lattice[k]:.4g}" for k in keys) for keys in ("abc", ("alpha", "beta", "gamma")))
        return f"{len(value['sites'])} atoms, a b c = {lengths} A, angles {angles}"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)) and any(isinstance(v, (list, tuple)) for v in value):
        return "\n".join(_short(v) for v in value)
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(_short(v) for v in value) + ")"
    return str(value)
