"""Documents of the diffusion goal."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel
from mlip_autopipe.schemas.property import Estimate, Gate, SplitEstimate

DIFFUSION_VERSION: Final = 1

Role = Literal["mean", "draw"]
Stage = Literal["melt", "lattice", "production"]


class DiffusionRun(StrictModel):
    """Where one production run stands; its frames are blobs."""

    schema_version: Literal[1] = DIFFUSION_VERSION
    kind: Literal["diffusion_run"] = "diffusion_run"
    run_id: str
    temperature_K: float = Field(gt=0)
    role: Role = Field(description="With the mean potential, or with a posterior sample of it.")
    number: int = Field(ge=0, description="Replica, or number of the posterior sample.")
    potential_sha256: str = Field(description="That was learned; a run with another begins anew.")
    state: Literal["running", "finished", "stopped", "triggered"] = "running"
    reason: str = Field("", description="Why it was stopped before its end.")
    stage: Stage
    step: int = Field(0, ge=0, description="Steps done of the stage.")
    wanted_steps: int = Field(ge=1, description="Of production; grows with each extension.")
    volume_A3_per_atom: float | None = Field(None, description="Mean of the second half of the lattice stage.")
    volume_stderr_A3_per_atom: float | None = None
    checkpoint_sha256: str | None = Field(None, description="To go on from; a blob.")
    start_sha256: str | None = Field(None, description="Where the stage before ended, for a liquid; a blob.")
    frames_sha256: list[str] = Field(default_factory=list, description="Unwrapped positions, in pieces; blobs.")
    pressures_sha256: list[str] = Field(
        default_factory=list, description="Pressure tensors of a liquid's production, in pieces; blobs."
    )
    max_force_std_eV_per_A: float = Field(0.0, description="Largest of the least sure atom along the run.")
    unsure_frame: dict[str, Any] | None = Field(None, description="Where that was, as in labels.")


class DiffusionCurves(StrictModel):
    """What a coefficient was read from, of one run; some dozens of points."""

    lags_ps: list[float]
    msd_A2: list[float]
    D_lags_ps: list[float]
    D_cm2_s: list[float] = Field(description="[MSD(2t) - MSD(t)] / (2 d t) at lag t.")
    D_stderr_cm2_s: list[float]


class SpeciesDiffusion(StrictModel):
    """Coefficient of one species at one temperature."""

    D_cm2_s: SplitEstimate = Field(description="Tracer coefficient; parts: statistics, model, finite_size.")
    size_correction_cm2_s: Estimate | None = Field(
        None, description="For the size of the box, of liquids whose viscosity is known; D_cm2_s holds it already."
    )
    collective_D_cm2_s: Estimate | None = None
    haven_ratio: float | None = None
    n_hops: float | None = Field(None, description="Of all runs; None for a liquid.")
    plateau_ps: float | None = Field(None, description="Lag at which the coefficient is read, mean over the runs.")
    model_ln_D_shifts: list[float] = Field(
        default_factory=list, description="What each posterior sample would change about ln D; empty: not known."
    )
    curves: DiffusionCurves | None = None
    gates: list[Gate] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


class DiffusionAtTemperature(StrictModel):
    """All species at one temperature."""

    temperature_K: float = Field(gt=0)
    species: dict[str, SpeciesDiffusion]
    volume_A3_per_atom: Estimate
    viscosity_mPa_s: Estimate | None = Field(None, description="Shear viscosity of a liquid, from the same runs.")
    n_atoms: int
    simulated_time_ps: float = Field(description="Of all runs with the mean potential.")
    n_runs: int


class ArrheniusEstimate(StrictModel):
    """``D = D0 exp(-E / kT)``."""

    activation_energy_eV: float
    activation_energy_stderr_eV: float
    D0_cm2_s: float
    ln_D0_stderr: float
    covariance: list[list[float]] = Field(description="Of (E in eV, ln D0).")
    chi_squared: float
    n_dof: int


class VTFEstimate(StrictModel):
    """``D = D0 exp(-B / (T - T0))``."""

    D0_cm2_s: float
    B_K: float
    T0_K: float
    covariance: list[list[float]] = Field(description="Of (ln D0, B in K, T0 in K).")
    chi_squared: float
    n_dof: int


class DiffusionDocument(StrictModel):
    """Diffusion coefficients with errors, gates and provenance."""

    schema_version: Literal[1] = DIFFUSION_VERSION
    goal: Literal["diffusion"] = "diffusion"
    run_id: str
    project_name: str
    state: Literal["done", "failed", "not_enough_evidence"]
    formula: str
    phase: Literal["solid", "liquid"]
    temperatures_K: list[float]
    vacancy_fraction: float = Field(ge=0, description="Vacant sites over all sites in the cell of the runs.")
    results: list[DiffusionAtTemperature]
    arrhenius: dict[str, ArrheniusEstimate] = Field(description="By species; empty with fewer than two temperatures.")
    vtf: dict[str, VTFEstimate] = Field(
        default_factory=dict, description="Of liquids at four temperatures or more, by species."
    )
    gates: list[Gate]
    n_reference_calculations: int = Field(ge=0)
    relearnings: int = Field(ge=0, description="How often frames of production went back to learning.")
    missing: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, Any]
