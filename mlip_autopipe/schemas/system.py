"""The full plan: every value that the pipeline uses, each with its reason and source.

Nothing later in the pipeline chooses a physical setting: what decides the numbers is in `SystemConfig`. Constants
of algorithms (optimisers, the recovery ladder, limits of the physics gates) stand, with their reasons, where they are
used.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import IntMatrix3x3, StrictModel, StructureDict, Voigt
from mlip_autopipe.schemas.config import Goal, Via
from mlip_autopipe.schemas.otf import OTFSettings

SYSTEM_CONFIG_VERSION: Final = 1


class Reason(StrictModel):
    """Why a value was chosen, and where the rule or number comes from."""

    reason: str = Field(min_length=1)
    source: str = Field(min_length=1, description="A DOI, a table, 'input.yaml', or 'measured: docs/benchmarks.md'.")


class Material(StrictModel):
    """What is known of the material before anything is computed."""

    formula: str
    elements: list[str]
    n_atoms: int = Field(ge=1)
    structure: StructureDict = Field(description="Start structure (primitive cell) as pymatgen Structure.as_dict().")
    is_metal: bool
    is_magnetic: bool
    melting_point_K: float | None = Field(description="Of the element, or composition-weighted; None if unknown.")


class ReferenceSettings(StrictModel):
    """Everything that decides the numbers of a reference calculation; hashed into every label's id."""

    engine: str
    parameters: dict[str, Any] = Field(description="Complete, engine-specific, JSON types only.")
    files: dict[str, str] = Field(default_factory=dict, description="sha256 by path of files that parameters name.")
    cheap: bool = Field(description="True: many labels are batched into one job; False: one Firework each.")


class RelaxationSettings(StrictModel):
    """How the cell and the ions are brought to zero force and stress."""

    fmax_eV_per_A: float = Field(gt=0)
    stress_tolerance_GPa: float = Field(gt=0)
    max_steps: int = Field(ge=1)
    keep_symmetry: bool
    symmetry_tolerance_A: float = Field(0.01, gt=0, description="Of the space group that is kept.")


class ElasticSettings(StrictModel):
    """How elastic constants are measured."""

    strain_amplitude: float = Field(gt=0, lt=0.05, description="Largest principal strain.")
    half_amplitude_check: bool = Field(description="Also +-amplitude/2, to measure the nonlinearity.")
    directions: list[Voigt] = Field(
        description="Strain directions, Voigt (engineering shear), scaled so that the largest principal strain is 1."
    )
    symmetry_tolerance_A: float = Field(gt=0)
    ion_fmax_eV_per_A: float = Field(gt=0)
    ion_max_steps: int = Field(ge=1)


class EquilibrateSettings(StrictModel):
    """How lattice constant, density and thermal expansion are measured."""

    temperatures_K: list[float] = Field(min_length=1, description="One run of molecular dynamics each.")
    expansion_at_K: list[float] = Field(description="Of those, where thermal expansion is asked for.")
    supercell: IntMatrix3x3 = Field(description="Rows: vectors of the MD cell in those of the primitive start cell.")
    time_step_fs: float = Field(gt=0)
    steps: int = Field(ge=1, description="Of each run.")
    frame_interval: int = Field(ge=1)
    target_length_error: float = Field(gt=0, description="Relative statistical error of the lattice constant.")
    max_extensions: int = Field(ge=0, description="How often a run may be made twice as long to reach it.")
    check_labels: int = Field(ge=0, description="Frames of each run that the reference judges.")
    draws: int = Field(ge=2, description="Posterior samples for the model part of the error.")
    seed: int = Field(ge=0)


class DiffusionSettings(StrictModel):
    """How diffusion coefficients are measured."""

    phase: Literal["solid", "liquid"]
    temperatures_K: list[float] = Field(min_length=1)
    supercell: IntMatrix3x3 = Field(description="Rows: vectors of the MD cell in those of the primitive start cell.")
    vacancies: int = Field(ge=0, description="In the cell of the runs.")
    time_step_fs: float = Field(gt=0)
    frame_interval: int = Field(ge=1)
    lattice_steps: int = Field(ge=1, description="At zero pressure before each run, for its volume.")
    steps: int = Field(ge=1, description="Of each run at constant volume, at first.")
    replicas: int = Field(ge=1, description="Independent runs with the mean potential at each temperature.")
    model_runs: int = Field(ge=0, description="Runs with posterior samples of the potential at each temperature.")
    draws: int = Field(ge=2, description="Posterior samples whose effect on the hops of solids is estimated.")
    target_relative_error: float = Field(gt=0, description="Statistical, of D, by temperature.")
    min_hops: int = Field(ge=0, description="Of solids: least number of hops behind a coefficient.")
    max_steps: int = Field(ge=1, description="Of each run, however often it is made longer.")
    max_relearnings: int = Field(ge=0, description="How often production may send frames back to learning.")
    seed: int = Field(ge=0)


class PhaseDiagramSettings(StrictModel):
    """How phases are searched for, and what is asked of temperature."""

    elements: list[str] = Field(min_length=2, description="In alphabetical order.")
    composition_range: dict[str, tuple[float, float]] = Field(description="Least and largest atomic fraction.")
    parents: list[Literal["fcc", "bcc", "hcp"]] = Field(description="Lattices whose decorations are enumerated.")
    max_candidates: int = Field(ge=1, description="Structures that are relaxed; sets the size of enumerated cells.")
    prototypes: bool = Field(description="Also named structures, decorated in all ways.")
    quasirandom_sites: int = Field(ge=0, description="Of special quasirandom structures on each parent; 0: none.")
    structures: list[StructureDict] = Field(description="Further candidates, given by the user.")
    structures_per_job: int = Field(ge=1, description="Relaxed one after the other in one job.")
    window_eV_per_atom: float = Field(gt=0, description="Candidates farther above the hull are not relaxed again.")
    samples: int = Field(ge=100, description="Hulls from samples of the energies.")
    target_probability: float = Field(gt=0, lt=0.5, description="Of being stable, that may be left without a label.")
    labels_per_round: int = Field(ge=1, description="Candidates that are labelled before the potential learns again.")
    audits_per_round: int = Field(ge=0, description="Candidates near the hull that are labelled at random beside them.")
    max_rounds: int = Field(ge=0, description="Of labels for the hull.")
    temperatures_K: list[float] | None = Field(
        description="Of the T-x diagram; None: from below to above its transitions; empty: none is made."
    )
    monte_carlo_sites: int = Field(ge=16, description="Least number of sites in the cell of the Monte Carlo runs.")
    vibrations: Literal["none", "harmonic", "quasiharmonic"] = Field(
        "none", description="Free energies of the phases on and near the hull from phonons of the potential."
    )
    vibration_temperatures_K: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=[0.0], min_length=1, max_length=20, description="At which these phases have a hull of free energies."
    )
    seed: int = Field(ge=0)


class ElasticCheck(StrictModel):
    """How the reference judges elastic constants from a potential."""

    strains: list[Voigt] = Field(description="Small strains of the relaxed crystal, labelled and never trained on.")


class Budget(StrictModel):
    """What the run may spend."""

    max_reference_calculations: int = Field(ge=1)
    max_core_hours: float = Field(gt=0)
    cores: int = Field(ge=1)


class CostEstimate(StrictModel):
    """What the plan expects to spend; shown by ``mlip-auto plan``, never used as a limit."""

    n_reference_calculations: int
    core_hours: float
    basis: str


class SystemConfig(StrictModel):
    """The complete plan of a run."""

    schema_version: Literal[1] = SYSTEM_CONFIG_VERSION
    project_name: str
    run_id: str = Field(description="project_name plus a hash of the plan: the same input gives the same run.")
    goal: Goal
    via: Via = "reference"
    material: Material
    reference: ReferenceSettings
    relaxation: RelaxationSettings
    elastic: ElasticSettings | None = None
    elastic_check: ElasticCheck | None = None
    otf: OTFSettings | None = None
    equilibrate: EquilibrateSettings | None = None
    diffusion: DiffusionSettings | None = None
    phase_diagram: PhaseDiagramSettings | None = None
    budget: Budget
    estimate: CostEstimate
    reasons: dict[str, Reason] = Field(description="By dotted path of the field, e.g. reference.parameters.kpts.")
    warnings: list[str] = Field(default_factory=list)
