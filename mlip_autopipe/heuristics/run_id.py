"""The name of a run: the same plan gives the same name, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mlip_autopipe.schemas.system import SystemConfig

_HASH_LENGTH = 8
# what explains, limits or arranges a run without changing its numbers
_NOT_HASHED = {"run_id", "reasons", "warnings", "estimate", "budget"}
_STRUCTURE_DECIMALS = 6
_SIGNIFICANT_DIGITS = 10


def plan_run_id(config: SystemConfig) -> str:
    """Return ``project_name-xxxxxxxx`` with eight hexadecimal digits of the plan's sha256.

    Budget, cores, batching, reasons and estimates do not enter: raising the budget resumes the same run.
    Numbers are rounded (structure 1e-6 A and 1e-6 of a lattice vector, others ten digits), so that the last bits of
    another machine's arithmetic do not matter.
    """
    data = config.model_dump(mode="json", exclude=_NOT_HASHED)
    # sections that the goal does not need, and the way that was the only one before, leave a run's name as it was
    data = {key: value for key, value in data.items() if value is not None and (key, value) != ("via", "reference")}
    data["material"]["structure"] = _canonical_structure(data["material"]["structure"])
    del data["reference"]["cheap"]
    # the content counts, not the place on this machine's disk
    files = data["reference"].pop("files")
    data["reference"]["parameters"] = _without_paths(data["reference"]["parameters"], files)
    text = json.dumps(_rounded(data), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    return f"{config.project_name}-{digest[:_HASH_LENGTH]}"


def _canonical_structure(structure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lattice_A": [[_fixed(x) for x in row] for row in structure["lattice"]["matrix"]],
        "species": [site["species"][0]["element"] for site in structure["sites"]],
        "positions": [[_fixed(_fixed(x) % 1.0) for x in site["abc"]] for site in structure["sites"]],
        "magmoms": [site.get("properties", {}).get("magmom") for site in structure["sites"]],
    }


def _without_paths(value: Any, files: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return files.get(value, value)
    if isinstance(value, Mapping):
        return {key: _without_paths(inner, files) for key, inner in value.items()}
    return [_without_paths(inner, files) for inner in value] if isinstance(value, list | tuple) else value


def _fixed(number: float) -> float:
    return round(number, _STRUCTURE_DECIMALS) + 0.0


def _rounded(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return f"{value + 0.0:.{_SIGNIFICANT_DIGITS}g}"
    if isinstance(value, Mapping):
        return {str(key): _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value]
