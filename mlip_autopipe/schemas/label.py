"""A label: what a reference engine says of one structure."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel, Vector3, Voigt

LABEL_VERSION: Final = 1


class Attempt(StrictModel):
    """One try of the recovery ladder."""

    step: str = Field(description="Name of the ladder's rung, e.g. 'as planned', 'gentler mixing'.")
    changes: dict[str, Any] = Field(default_factory=dict, description="Parameters changed against the plan.")
    converged: bool
    message: str = ""
    wall_time_s: float = Field(ge=0)


class ReferenceLabel(StrictModel):
    """Energy, forces and stress of one structure, or the recorded reason why there are none.

    Sign and order of the stress are ASE's: positive under tension, xx yy zz yz xz xy.
    """

    schema_version: Literal[1] = LABEL_VERSION
    label_id: str = Field(description="sha256 of structure and settings hash.")
    settings_hash: str
    engine: str
    engine_version: str
    state: Literal["done", "failed"]
    structure: dict[str, Any] = Field(description="cell_A (3x3), numbers, positions_A, pbc, magmoms (or None).")
    energy_eV: float | None = None
    forces_eV_per_A: list[Vector3] | None = None
    stress_eV_per_A3: Voigt | None = None
    magmoms: list[float] | None = Field(None, description="Final moments in Bohr magnetons, spin-polarised only.")
    failure: str | None = Field(None, description="Why there is no number, when state is failed.")
    warnings: list[str] = Field(default_factory=list)
    attempts: list[Attempt] = Field(default_factory=list)
    tries: int = Field(1, ge=1, description="Calculations begun: as planned, and after failures by harder means.")
    deaths: int = Field(0, ge=0, description="Workers in a row that died while they computed it, before this answer.")
    wall_time_s: float = Field(ge=0)
    core_time_s: float = Field(ge=0)
    run_id: str | None = Field(None, description="The run that paid for it.")
