"""A run at constant pressure between jobs, and at its end."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel

NPT_VERSION: Final = 1


class NPTProgress(StrictModel):
    """Where the run at one temperature stands; its frames are blobs."""

    schema_version: Literal[1] = NPT_VERSION
    kind: Literal["npt_run"] = "npt_run"
    run_id: str
    temperature_K: float = Field(gt=0)
    potential_sha256: str | None = Field(None, description="That moves the atoms; a run with another begins anew.")
    state: Literal["running", "finished", "stopped"] = "running"
    reason: str = Field("", description="Why it was stopped before its end.")
    step: int = Field(0, ge=0, description="Steps done.")
    wanted_steps: int = Field(ge=1, description="Grows with each extension.")
    extensions: int = Field(0, ge=0)
    checkpoint_sha256: str | None = Field(None, description="To go on from; a blob.")
    series_sha256: list[str] = Field(default_factory=list, description="Frames, in pieces; blobs.")
    length_error: float | None = Field(None, description="Relative statistical error of the lattice constant.")
    model_shifts_A3_per_atom: list[float] = Field(
        default_factory=list, description="By how much each posterior sample would change the mean volume."
    )
    max_force_std_eV_per_A: list[float] = Field(
        default_factory=list, description="Of frames along the run: force standard deviation of the least sure atom."
    )
    check_frames: list[dict[str, Any]] = Field(
        default_factory=list, description="Structures that the reference judges, as in labels."
    )
