"""Settings of the potential `mace`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from mlip_autopipe.potentials.zbl import ZBL
from mlip_autopipe.schemas.base import StrictModel

# what would break the exchange of data with the child
_RESERVED = {
    *("name", "work_dir", "model_dir", "heads", "train_file", "valid_file", "foundation_model"),
    *("seed", "loss", "device", "default_dtype", "mean", "std", "avg_num_neighbors", "compute_avg_num_neighbors"),
}


class MaceSettings(StrictModel):
    """How a committee looks and is trained; the defaults suit a metal or alloy and a graphics card."""

    model_config = ConfigDict(frozen=True)

    members: int = Field(4, ge=2, le=16, description="Models in the committee.")
    hidden_irreps: str = Field("64x0e + 64x1o", description="Features of an atom, as e3nn writes them.")
    cutoff_A: float = Field(5.0, gt=1, description="Reach of one of the two rounds of message passing.")
    foundation_model: Path | None = Field(None, description="A model file to fine-tune from; nothing is downloaded.")
    foundation_head: str | None = Field(None, description="Which head of it, when it has several.")
    updates: int = Field(3000, ge=1, description="Gradient steps of a fit.")
    add_updates: int = Field(600, ge=1, description="Gradient steps when labels are added.")
    batch_size: int = Field(4, ge=1, description="Configurations per gradient step.")
    learning_rate: float = Field(0.01, gt=0, description="At the start of a fit from nothing.")
    fine_tuning_rate: float = Field(0.001, gt=0, description="At the start of fine-tuning and adding.")
    energy_weight: float = Field(10.0, ge=0, description="Of squared errors in eV/atom.")
    forces_weight: float = Field(100.0, ge=0, description="Of squared errors in eV/A.")
    stress_weight: float = Field(100.0, ge=0, description="Of squared errors in eV/A^3.")
    bootstrap: bool | None = Field(None, description="Random label weights; by default only under a foundation model.")
    atomic_energies_eV: dict[str, float] | None = Field(None, description="Of isolated atoms; else least squares.")
    seed: int = Field(0, ge=0, description="The members' seeds follow from it.")
    device: str | None = Field(None, description="cuda, mps or cpu; by default the first there is.")
    dtype: Literal["float64", "float32"] = Field("float64", description="mps needs float32.")
    inner: float = Field(0.3, ge=0, description="Where the ZBL baseline begins to fade, in sums of covalent radii.")
    outer: float = Field(0.65, gt=0, description="Where it has faded away.")
    mace_arguments: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Other options of mace_run_train, without dashes."
    )
    work_dir: Path | None = Field(None, description="Where logs and files of the trainer stay; by default nowhere.")

    @model_validator(mode="after")
    def _check(self) -> MaceSettings:
        if reserved := sorted(_RESERVED & set(self.mace_arguments)):
            raise ValueError(f"mace_arguments must not hold {', '.join(reserved)}: the potential sets it")
        if self.inner >= self.outer:
            raise ValueError(f"inner ({self.inner}) must be less than outer ({self.outer})")
        if self.device == "mps" and self.dtype == "float64":
            raise ValueError("device mps has no float64; set dtype to float32")
        return self

    @property
    def random_weights(self) -> bool:
        """Whether every member weights the labels differently."""
        return self.foundation_model is not None if self.bootstrap is None else self.bootstrap

    @property
    def zbl(self) -> ZBL:
        """A new baseline."""
        return ZBL(inner=self.inner, outer=self.outer)
