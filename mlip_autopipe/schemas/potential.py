"""Documents of the potential goal."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel
from mlip_autopipe.schemas.model_card import ModelCard
from mlip_autopipe.schemas.otf import OTFDocument
from mlip_autopipe.schemas.property import Gate

POTENTIAL_VERSION: Final = 1


class PotentialDocument(StrictModel):
    """A potential with its model card, and whether it reached its target."""

    schema_version: Literal[1] = POTENTIAL_VERSION
    goal: Literal["potential"] = "potential"
    run_id: str
    project_name: str
    state: Literal["done", "failed", "not_enough_evidence"]
    formula: str
    potential_sha256: str
    force_rmse_eV_per_A: float | None = Field(description="On held-out labels; None when there are none.")
    target_force_error_eV_per_A: float
    learned: OTFDocument
    card: ModelCard
    gates: list[Gate]
    n_reference_calculations: int
    missing: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, Any]
