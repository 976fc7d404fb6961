"""The book in which the heuristic engine writes every choice, its reason and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from mlip_autopipe.heuristics.overrides import PARAMETERS, Overrides
from mlip_autopipe.schemas.system import Reason, SystemConfig

T = TypeVar("T")

BOOKKEEPING = frozenset({"schema_version", "project_name", "run_id", "goal", "reasons", "warnings", "estimate"})
"""Top-level fields of `SystemConfig` that are no choices."""

USER_REASON = "set by the user"
OVERRIDES_SOURCE = "input.yaml: overrides"


@dataclass
class Choices:
    """Values chosen so far; the user's overrides win over every rule.

    Attributes
    ----------
    overrides
        What the user set.
    reasons
        By dotted path.
    warnings
        Sentences for the user.
    """

    overrides: Overrides
    reasons: dict[str, Reason] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def choose(self, path: str, value: T, reason: str, source: str) -> T:
        """Record a rule's value, or the user's, and return the one that holds."""
        if path in self.overrides:
            self.reasons[path] = Reason(reason=USER_REASON, source=OVERRIDES_SOURCE)
            chosen: T = self.overrides[path]
            return chosen
        self.reasons[path] = Reason(reason=reason, source=source)
        return value

    def choose_parameters(self, chosen: Mapping[str, tuple[Any, Reason]]) -> dict[str, Any]:
        """Record an engine's parameters with the user's values in place, and return them."""
        parameters = self.overrides.apply_to_parameters({key: value for key, (value, _) in chosen.items()})
        for key, (_, reason) in chosen.items():
            if key in self.overrides.parameters:
                reason = Reason(reason=USER_REASON, source=OVERRIDES_SOURCE)
            self.reasons[f"{PARAMETERS}.{key}"] = reason
        return parameters

    def warn(self, sentence: str | None) -> None:
        """Add a sentence for the user, once."""
        if sentence and sentence not in self.warnings:
            self.warnings.append(sentence)


def leaf_paths(config: SystemConfig) -> list[str]:
    """Return the dotted paths of all choices in a plan; every engine parameter is one."""
    return [
        path
        for name in type(config).model_fields
        if name not in BOOKKEEPING
        for path in _leaves(getattr(config, name), name)
    ]


def missing_reasons(config: SystemConfig) -> list[str]:
    """Return the paths of choices without a reason; a complete plan has none."""
    return [path for path in leaf_paths(config) if path not in config.reasons]


def _leaves(value: Any, path: str) -> list[str]:
    if value is None and "." not in path:
        return []  # a section that the goal does not need
    if isinstance(value, BaseModel):
        return [leaf for name in type(value).model_fields for leaf in _leaves(getattr(value, name), f"{path}.{name}")]
    if path == PARAMETERS:
        return [f"{path}.{key}" for key in value]
    return [path]
