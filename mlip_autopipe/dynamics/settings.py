"""Settings of a molecular dynamics run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Ensemble = Literal["nve", "nvt_langevin", "nvt_nose_hoover", "npt", "npt_anisotropic"]


class MDSettings(BaseModel):
    """What defines the dynamics: two runs with equal settings and equal start are bit-equal.

    Attributes
    ----------
    ensemble
        ``nve``, ``nvt_langevin``, ``nvt_nose_hoover``, ``npt`` (isotropic) or ``npt_anisotropic`` (x, y and z scale
        independently, angles follow).
    time_step_fs
        Time step.
    temperature_K
        Target of the thermostat, and temperature at which velocities are drawn; needed by all ensembles but ``nve``.
    thermostat_time_fs
        Inverse friction of Langevin dynamics, or period scale of the Nose-Hoover chain.
    chain_length
        Thermostats in the Nose-Hoover chain.
    pressure_GPa, barostat_time_fs, compressibility_per_GPa, barostat_interval
        Target pressure, relaxation time of the volume, estimate of the compressibility (it sets the rate only), and
        steps between rescalings.
    fix_centre_of_mass
        Keep the centre of mass at rest; the kinetic temperature then counts 3n - 3 components.
    anchor_interval
        Steps between the points at which the calculator is made to forget its history (neighbour lists), so that a run
        continued from there is bit-equal to one that never stopped.
    seed
        Seed of all random numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ensemble: Ensemble = "nvt_langevin"
    time_step_fs: float = Field(default=1.0, gt=0, le=100)
    temperature_K: float | None = Field(default=None, gt=0)
    thermostat_time_fs: float = Field(default=100.0, gt=0)
    chain_length: int = Field(default=3, ge=1, le=20)
    pressure_GPa: float = 0.0
    barostat_time_fs: float = Field(default=1000.0, gt=0)
    compressibility_per_GPa: float = Field(default=0.01, gt=0)
    barostat_interval: int = Field(default=10, ge=1)
    fix_centre_of_mass: bool = True
    anchor_interval: int = Field(default=200, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _needs_temperature(self) -> MDSettings:
        if self.ensemble != "nve" and self.temperature_K is None:
            raise ValueError(f"ensemble {self.ensemble} needs temperature_K")
        return self

    @property
    def target_temperature_K(self) -> float:
        """Temperature of the thermostat; fails for an ensemble without one."""
        if self.temperature_K is None:
            raise ValueError("this ensemble has no target temperature")
        return self.temperature_K
