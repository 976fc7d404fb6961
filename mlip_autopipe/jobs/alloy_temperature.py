"""Temperature for alloys whose phases stay on one lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlip_autopipe.jobs.hull_doubt import HullDoubt
    from mlip_autopipe.jobs.hull_search import HullSearch, RelaxedCandidates


def temperature_part(
    search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt, fits: Sequence[int]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the T-x diagram and warnings."""
    return None, []
