"""Documents of the phase diagram goal."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel
from mlip_autopipe.schemas.property import Gate

PHASE_DIAGRAM_VERSION: Final = 1

Source = Literal["reference", "potential"]


class HullLabel(StrictModel):
    """A candidate whose label was asked for, and what the potential said before."""

    candidate: int
    structure: dict[str, Any] = Field(description="As it is labelled, as in a label.")
    predicted_eV_per_atom: float
    stated_eV_per_atom: float = Field(description="Standard deviation over samples of the potential, as drawn.")
    round: int = Field(0, description="Of labels for the hull, from 0.")


class HullProgress(StrictModel):
    """Where the search for the hull stands; one document per run."""

    schema_version: Literal[1] = PHASE_DIAGRAM_VERSION
    kind: Literal["hull_progress"] = "hull_progress"
    run_id: str
    candidates_sha256: str = Field(description="All candidates as generated; a blob.")
    n_candidates: int
    rounds: int = 0
    checked: bool = Field(False, description="A hull that was settled has been put to the test by labels at random.")
    sent_back: str | None = Field(None, description="Potential that was sent back to learning last.")
    labels: list[HullLabel] = Field(default_factory=list)
    dropped: list[int] = Field(default_factory=list, description="Candidates too far above the hull to be relaxed.")
    remarks: list[str] = Field(default_factory=list)


class RelaxedBatch(StrictModel):
    """What one job has relaxed."""

    schema_version: Literal[1] = PHASE_DIAGRAM_VERSION
    kind: Literal["hull_batch"] = "hull_batch"
    run_id: str
    potential_sha256: str
    batch: int
    candidates: list[int]
    relaxed_sha256: str = Field(description="Relaxed structures and energies; a blob.")


class PhaseEntry(StrictModel):
    """One candidate."""

    name: str
    kind: str = Field(description="enumerated, prototype, quasirandom, element or given.")
    parent: str | None = Field(None, description="Lattice that it decorates.")
    formula: str = Field(description="Of its cell.")
    fractions: dict[str, float] = Field(description="Atomic fractions of all elements.")
    n_atoms: int
    source: Source
    energy_eV_per_atom: float
    formation_energy_eV_per_atom: float
    formation_energy_stderr_eV_per_atom: float
    e_above_hull_eV_per_atom: float
    e_above_hull_stderr_eV_per_atom: float
    probability_stable: float
    volume_A3_per_atom: float
    label_id: str | None = None
    flags: list[str] = Field(default_factory=list, description="Unfinished, changed lattice, dissociated ...")
    structure: dict[str, Any] | None = Field(
        None, description="As in a label: cell_A, numbers, positions_A, pbc, magmoms. Only of those nearest the hull."
    )


class PhaseRegion(StrictModel):
    """Phases that coexist at zero temperature."""

    entries: list[int] = Field(description="Places in `entries`.")
    names: list[str]


class PhaseDiagramDocument(StrictModel):
    """Phases with their probability of being stable, gates and provenance."""

    schema_version: Literal[1] = PHASE_DIAGRAM_VERSION
    goal: Literal["phase_diagram"] = "phase_diagram"
    run_id: str
    project_name: str
    state: Literal["done", "failed", "not_enough_evidence"]
    elements: list[str]
    entries: list[PhaseEntry] = Field(description="Nearest the hull first; those far above are in the blob only.")
    n_candidates: int
    relaxed_sha256: str = Field(description="All relaxed structures and energies; a blob.")
    hull_vertices: list[int] = Field(description="Places in `entries`.")
    two_phase_regions: list[PhaseRegion]
    regions: list[PhaseRegion] = Field(description="As many phases as elements: the simplices of the hull.")
    element_energies_eV_per_atom: dict[str, float] = Field(description="That formation energies refer to.")
    rounds: int
    widening: float = Field(description="Factor on the posterior's spread that fresh labels have asked for.")
    fresh_errors_eV_per_atom: list[tuple[float, float]] = Field(
        description="Of each candidate's label before it was learned: prediction minus label, and what was stated."
    )
    temperature: dict[str, Any] | None = Field(None, description="The T-x diagram.")
    vibrations: dict[str, Any] | None = Field(
        None, description="Free energies from phonons of the potential, and hulls of them at temperatures."
    )
    gates: list[Gate]
    n_reference_calculations: int = Field(ge=0)
    missing: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, Any]


