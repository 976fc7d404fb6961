"""From the user's few lines to the complete plan, each value with its reason and source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip_autopipe.heuristics.choices import missing_reasons
    from mlip_autopipe.heuristics.engine import HeuristicEngine

__all__ = ["HeuristicEngine", "missing_reasons"]


def __getattr__(name: str) -> Any:
    # imported on first use, so that importing a small module of this room stays light
    if name == "HeuristicEngine":
        from mlip_autopipe.heuristics.engine import HeuristicEngine

        return HeuristicEngine
    if name == "missing_reasons":
        from mlip_autopipe.heuristics.choices import missing_reasons

        return missing_reasons
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
