"""``mlip-auto init``: write an input file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.config import CRYSTAL_STRUCTURES, GOALS
from mlip_autopipe.schemas.loading import parse_user_config


def write_input(
    output: Path,
    *,
    name: str | None,
    elements: str | None,
    crystal_structure: str | None,
    structure: str | None,
    goal: str | None,
    calculator: str | None,
    force: bool,
) -> None:
    """Write a valid input file from flags; on a terminal, ask for what they leave open.

    Raises
    ------
    InvalidInputError
        The file exists, something needed is missing and nobody can be asked, or a value is wrong.
    """
    import yaml

    if output.exists() and not force:
        raise InvalidInputError(f"{output} exists; add --force to overwrite it, or --output to write another file")
    target: dict[str, Any] = {}
    if structure is not None:
        target["structure"] = structure
        material = Path(structure).stem
    else:
        symbols = elements or _ask("Elements (e.g. Al or Ga,As)", "--elements")
        target["elements"] = [s.strip() for s in symbols.replace(" ", ",").split(",") if s.strip()]
        material = "".join(target["elements"]).lower()
        prototype = crystal_structure or _ask(
            f"Crystal structure ({', '.join(CRYSTAL_STRUCTURES)}, or auto)", "--crystal-structure", "auto"
        )
        if prototype != "auto":
            target["crystal_structure"] = prototype
    goal = goal or _ask(f"Goal ({', '.join(GOALS)})", "--goal", "elastic")
    data: dict[str, Any] = {
        "project_name": name or _ask("Project name", "--name", f"{material}-{goal}"),
        "target_system": target,
        "simulation_goal": goal,
    }
    if calculator is not None:
        data["reference"] = {"engine": "ase", "calculator": calculator}
    parse_user_config(data, origin=str(output))
    try:
        output.write_text(yaml.safe_dump(data, sort_keys=False, default_flow_style=None), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}") from None
    print(f"wrote {output}; see the plan with `mlip-auto plan {output}`, run it with `mlip-auto run {output}`")


def _ask(question: str, flag: str, default: str | None = None) -> str:
    import typer

    if not sys.stdin.isatty():
        if default is not None:
            return default
        raise InvalidInputError(f"{flag} is missing and there is no terminal to ask on; add it")
    return str(typer.prompt(question, default=default))
