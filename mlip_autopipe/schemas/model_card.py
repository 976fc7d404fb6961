"""The model card: what a user must know of a potential before using it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import Instant, StrictModel

MODEL_CARD_VERSION: Final = 1
MAX_LABEL_IDS: Final = 500
"""A card names at most so many labels; of more it keeps the hash."""

CoverageMethod = Literal["later_labels", "leave_one_out"]

Range = tuple[float, float]
"""Smallest and largest value."""


class ErrorStatistics(StrictModel):
    """Differences between a potential and its reference."""

    rmse: float = Field(ge=0, description="Root mean square.")
    mae: float = Field(ge=0, description="Mean absolute.")
    largest: float = Field(ge=0)
    count: int = Field(ge=1, description="Numbers that were compared.")


class PotentialErrors(StrictModel):
    """How a potential describes some configurations; None where there is nothing to compare."""

    configurations: int = Field(ge=0)
    energy_meV_per_atom: ErrorStatistics | None = None
    force_meV_per_A: ErrorStatistics | None = Field(None, description="Per Cartesian component, unmasked atoms only.")
    stress_GPa: ErrorStatistics | None = Field(None, description="Per component.")
    force_meV_per_A_by_element: dict[str, ErrorStatistics] = Field(default_factory=dict)


class TrainingData(StrictModel):
    """What a potential was trained on."""

    configurations: int = Field(ge=0)
    atoms: int = Field(ge=0)
    energies: int = Field(ge=0, description="Configurations whose energy counts.")
    force_components: int = Field(ge=0, description="Force components that count.")
    stresses: int = Field(ge=0, description="Configurations whose stress counts.")
    masked_atoms: int = Field(ge=0, description="Atoms whose force is known and does not count.")
    label_ids: list[str] = Field(default_factory=list, max_length=MAX_LABEL_IDS)
    label_ids_sha256: str | None = Field(None, description="Of the sorted ids, one a line; also where they are listed.")


class ReferenceData(StrictModel):
    """Where the numbers come from; empty lists when the data do not say."""

    settings_hashes: list[str] = Field(default_factory=list)
    engines: list[str] = Field(default_factory=list, description="Name and version.")
    core_time_s: float | None = Field(None, ge=0)


class CalibrationSummary(StrictModel):
    """How far the stated force uncertainty can be trusted."""

    factor: float = Field(gt=0, description="What the raw standard deviation is multiplied with.")
    ready: bool = Field(description="False: there were too few fresh labels, the factor is a cautious guess.")
    labels: int = Field(ge=0, description="Fresh labels that were compared so far.")
    nominal: float = Field(gt=0, lt=1, description="Share of atoms that the stated interval should hold.")
    coverage: float | None = Field(None, ge=0, le=1, description="Share that it did hold.")
    coverage_labels: int = Field(0, ge=0, description="Labels on which that was measured.")
    coverage_method: CoverageMethod = Field(
        "later_labels",
        description="'later_labels': on labels that came after calibration was ready, each compared with the interval "
        "of its time. 'leave_one_out': on each label with the interval that the others lead to.",
    )


class RangeOfValidity(StrictModel):
    """What the training data span; outside the potential extrapolates."""

    temperature_K: Range | None = Field(None, description="Of the dynamics that the data come from, if known.")
    volume_per_atom_A3: Range | None = Field(None, description="None without periodic configurations.")
    composition: dict[str, Range] = Field(description="Atomic fraction per element.")
    shortest_distance_A: dict[str, float] = Field(description="Per pair of elements, e.g. 'Cu-Au'.")
    largest_force_eV_per_A: float | None = Field(None, ge=0, description="Length of a force that counts.")


class ModelCard(StrictModel):
    """What a user must know of a potential: origin, size, errors, calibration, range of validity."""

    schema_version: Literal[1] = MODEL_CARD_VERSION
    state: Literal["done", "failed"]
    failure: str | None = Field(None, description="Why the potential is not what was asked for, when state is failed.")
    created: Instant

    potential_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    backend: str
    model: str = Field(description="Feature set or architecture.")
    parameters: int | None = Field(None, ge=0, description="Trained coefficients.")
    cutoff_A: float | None = Field(None, gt=0)
    elements: list[str]
    settings: dict[str, Any] = Field(default_factory=dict, description="Of the model.")

    training: TrainingData
    held_out: TrainingData | None = None
    reference: ReferenceData
    errors_training: PotentialErrors
    errors_held_out: PotentialErrors | None = Field(None, description="On configurations it was not trained on.")
    calibration: CalibrationSummary
    validity: RangeOfValidity

    versions: dict[str, str]
    seeds: dict[str, int] = Field(default_factory=dict)
    run_id: str | None = None
    warnings: list[str] = Field(default_factory=list)
