"""Learning on the fly: its settings, its state between jobs, and the documents that it leaves."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import IntMatrix3x3, StrictModel, StructureDict

OTF_VERSION: Final = 1

Arm = Literal["active", "random"]
Phase = Literal["label", "train", "explore", "refine", "held_out", "evaluate", "finished"]
Origin = Literal["seed", "trigger", "guard", "audit", "property", "pool", "random", "held_out"]
Ensemble = Literal["nvt_langevin", "npt", "npt_anisotropic"]


class StartStructure(StrictModel):
    """A crystal from which molecular dynamics starts."""

    name: str = Field(min_length=1)
    structure: StructureDict = Field(description="pymatgen Structure.as_dict().")
    supercell: IntMatrix3x3 = Field(description="Rows: vectors of the MD cell in those of the structure.")


class OTFSettings(StrictModel):
    """How a potential is learned."""

    backend: str = Field(description="Name of the potential's backend.")
    potential: dict[str, Any] = Field(description="Keywords of the backend; left out: its defaults.")
    temperatures_K: list[float] = Field(min_length=1, description="Explored one after the other, in this order.")
    ensemble: Ensemble
    time_step_fs: float = Field(gt=0)
    supercell: IntMatrix3x3 = Field(description="Rows: vectors of the MD cell in those of the primitive start cell.")
    others: list[StartStructure] = Field(
        default_factory=list,
        description="Other crystals, explored as the plan's own: further compositions of an alloy.",
    )
    seed_structures: int = Field(ge=1, description="Strained and rattled cells, labelled before anything is trained.")
    defect_seeds: int = Field(ge=0, description="Seeds with a vacancy or an interstitial, in turn, beside the others.")
    seed_strain: float = Field(gt=0, lt=0.3, description="Largest strain component of the seeds.")
    seed_rattle_A: float = Field(gt=0, description="Largest standard deviation of the seeds' displacements.")
    force_std_trigger_eV_per_A: float = Field(gt=0, description="An atom above this stops molecular dynamics.")
    target_force_error_eV_per_A: float = Field(gt=0, description="Per component, on labels not trained on.")
    target_property_error: float = Field(gt=0, description="Relative model part of the goal's property that is enough.")
    segment_steps: int = Field(ge=1, description="Steps without trigger after which a frame is labelled as an audit.")
    check_every: int | None = Field(
        None, ge=1, description="Steps between questions to the watch; None: as many as cost a tenth of the run."
    )
    audits_per_temperature: int = Field(ge=1, description="Audits in a row that must pass before the next temperature.")
    max_segments_per_temperature: int = Field(ge=1, description="Then the next temperature begins all the same.")
    walkers: int = Field(ge=1, description="Independent runs per crystal; their labels are computed side by side.")
    max_generations: int = Field(ge=1)
    max_refinements: int = Field(ge=0, description="Rounds of labels for the property after exploration.")
    property_strain: float = Field(gt=0, lt=0.1, description="Principal strain of the property's training cells.")
    property_stress_weight: float = Field(gt=0, description="Weight of a property label's stress in the fit.")
    pool_structures: int = Field(
        ge=0, description="Generated per crystal and round: strained, scaled, rattled and defective cells."
    )
    pool_labels: int = Field(ge=0, description="Of them all, those whose labels say most; 0: no pool.")
    pool_strain: float = Field(gt=0, lt=0.3, description="Largest strain component of the pool.")
    melt_temperature_K: float | None = Field(
        None, gt=0, description="Liquid and quenched frames, made with the current potential, join the pool."
    )
    surrogate: str | None = Field(
        None, description="Model file that says which of the pool are absurd; None: the current potential."
    )
    draws: int = Field(ge=2, description="Posterior samples for the model part of the property's error.")
    held_out: int = Field(ge=0, description="Labels at the end that are never trained on.")
    held_out_strain: float = Field(
        ge=0, lt=0.3, description="Every second of them is strained at random by at most so much; 0: none."
    )
    control_arm: Literal["none", "random"]
    label_max_atoms: int = Field(ge=1, description="Larger frames are cut to a small cell around the unsure atom.")
    generations_per_job: int = Field(ge=1, description="Of a cheap reference, before the next job takes over.")
    seed: int = Field(ge=0)


class Walker(StrictModel):
    """One run of molecular dynamics between jobs."""

    index: int
    start: int = Field(0, description="0: the plan's own crystal; 1 and more: one of `others`.")
    temperature_index: int = 0
    attempt: int = Field(0, description="Grows when the run has to start again; part of its seed.")
    step: int = Field(0, description="Steps done at this temperature.")
    segment_end: int = Field(description="Step at which the next audit is due.")
    passed: int = Field(0, description="Audits in a row that passed.")
    segments: int = Field(0, description="Segments done at this temperature.")
    guards: int = Field(0, description="Guard events in a row.")
    checkpoint_sha256: str | None = None
    start_sha256: str | None = Field(None, description="Last checkpoint of the temperature before.")


class Candidate(StrictModel):
    """A structure that waits for its label."""

    structure: dict[str, Any] = Field(description="As in a label: cell_A, numbers, positions_A, pbc, magmoms.")
    origin: Origin
    detail: str = ""
    walker: int | None = None
    start: int = Field(0, description="As in `Walker`.")
    temperature_K: float | None = None
    step: int | None = None
    predicted_max_std_eV_per_A: float | None = None
    force_weights: list[float] | None = Field(None, description="0 masks an atom; None: all count.")
    energy_weight: float = 1.0
    stress_weight: float = 1.0


class UsedLabel(StrictModel):
    """A label of the run, and how it counts."""

    label_id: str
    generation: int
    origin: Origin
    walker: int | None = None
    start: int = 0
    temperature_K: float | None = None
    force_weights: list[float] | None = None
    energy_weight: float = 1.0
    stress_weight: float = 1.0


class LeftOut(StrictModel):
    """A structure without a usable label."""

    label_id: str
    generation: int
    origin: Origin
    reason: str


class AuditError(StrictModel):
    """How wrong the potential was on a frame that it had not been trained on and that it had not asked for."""

    temperature_K: float
    start: int = 0
    generation: int
    force_rmse_eV_per_A: float
    predicted_rms_eV_per_A: float = Field(description="What the calibrated uncertainty said.")


class PropertyVerdict(StrictModel):
    """The model's part of the property's error, what is enough, and all other parts, in one unit."""

    error: float | None = Field(description="None: nothing has measured it yet.")
    target: float
    others: float
    unit: str
    is_enough: bool


class LearningState(StrictModel):
    """Where the loop stands; written as a whole after every phase."""

    schema_version: Literal[1] = OTF_VERSION
    kind: Literal["learning_state"] = "learning_state"
    run_id: str
    arm: Arm = "active"
    phase: Phase = "label"
    after_label: Phase = "train"
    generation: int = 0
    potential_sha256: str | None = None
    walkers: list[Walker] = Field(default_factory=list)
    pending: list[Candidate] = Field(default_factory=list)
    used: list[UsedLabel] = Field(default_factory=list)
    trained: int = Field(0, description="The potential was trained on the first so many of `used`.")
    left_out: list[LeftOut] = Field(default_factory=list)
    refused: list[Candidate] = Field(
        default_factory=list, description="Structures of the loop without a label because the budget was spent."
    )
    refinements: int = 0
    judges: int = Field(0, description="Frames that judge the potential at the end whose labels were asked for.")
    md_steps: int = 0
    audit_errors: list[AuditError] = Field(default_factory=list, description="The newest per crystal and temperature.")
    verdict: PropertyVerdict | None = Field(None, description="As last measured.")
    stop_reason: str | None = None
    missing: list[str] = Field(default_factory=list, description="What would have to be done for a better answer.")
    remarks: list[str] = Field(default_factory=list, description="How structures were generated and chosen.")
    model: str = ""
    parameters: int = 0
    wall_s: dict[str, float] = Field(default_factory=dict, description="By phase, of this generation.")
    core_s: dict[str, float] = Field(default_factory=dict)
    history: list[tuple[float, float, float]] = Field(default_factory=list, description="As in GenerationDocument.")
    stretch_steps: int = Field(0, description="Molecular dynamics since the last training.")
    coverage: list[tuple[int, int]] = Field(
        default_factory=list, description="Covered and all atoms of each fresh label after calibration began."
    )


class FreshError(StrictModel):
    """Prediction against label, before training on it."""

    label_id: str
    origin: Origin
    start: int = 0
    temperature_K: float | None = None
    atoms: int
    energy_error_eV_per_atom: float | None = None
    force_rmse_eV_per_A: float
    force_max_eV_per_A: float
    predicted_rms_eV_per_A: float
    covered_fraction: float = Field(description="Atoms inside the stated 90 % interval.")


class GenerationDocument(StrictModel):
    """Metrics of one generation, for the dashboard; small and independent of how many came before."""

    schema_version: Literal[1] = OTF_VERSION
    kind: Literal["otf_generation"] = "otf_generation"
    run_id: str
    arm: Arm
    generation: int
    labels: int = Field(description="In all, after this generation.")
    new_labels: dict[str, int] = Field(description="By origin.")
    left_out: list[LeftOut]
    fresh_errors: list[FreshError]
    coverage_90: float | None = Field(description="Of this generation's fresh labels.")
    coverage_90_rolling: float | None = Field(description="Of the last 20 fresh labels after calibration began.")
    calibration_factor: float
    calibration_ready: bool
    model: str
    parameters: int
    training_rmse: dict[str, float] = Field(description="energy (eV/atom), force (eV/A), stress (eV/A^3).")
    md_steps: int = Field(description="Of the exploration that led to this generation.")
    md_max_std_eV_per_A: list[tuple[float, float, float]] = Field(
        description="Temperature (K), step and largest force standard deviation along the way; at most 200 points."
    )
    wall_s: dict[str, float] = Field(description="By stage: label, train, explore, refine.")
    core_s: dict[str, float]
    potential_sha256: str


class ClosingDocument(StrictModel):
    """What the loop spent after its last training."""

    schema_version: Literal[1] = OTF_VERSION
    kind: Literal["otf_closing"] = "otf_closing"
    run_id: str
    wall_s: dict[str, float] = Field(
        description="By stage: refine, held_out (molecular dynamics), label, evaluate."
    )
    core_s: dict[str, float]


class ForceErrors(StrictModel):
    """Errors on labels that were not trained on."""

    labels: int
    force_rmse_eV_per_A: float
    energy_rmse_eV_per_atom: float | None = None
    stress_rmse_GPa: float | None = None
    coverage_90: float | None = Field(None, description="Atoms inside the stated 90 % interval.")
    covered: list[tuple[int, int]] = Field(
        default_factory=list, description="Atoms inside the stated 90 % interval and all that count, per label."
    )


class OTFDocument(StrictModel):
    """What was learned: the potential's name, its data, and how well it is known."""

    schema_version: Literal[1] = OTF_VERSION
    kind: Literal["otf"] = "otf"
    run_id: str
    arm: Arm = "active"
    state: Literal["learning", "done", "not_enough_evidence"]
    potential_sha256: str
    backend: str
    model: str
    parameters: int
    label_ids: list[str] = Field(description="Trained on.")
    held_out_label_ids: list[str] = Field(default_factory=list)
    force_weights: dict[str, list[float]] = Field(default_factory=dict, description="By label id, masked ones only.")
    energy_weights: dict[str, float] = Field(default_factory=dict, description="By label id, where it is not 1.")
    stress_weights: dict[str, float] = Field(default_factory=dict, description="By label id, where it is not 1.")
    labels_by_origin: dict[str, int]
    left_out: list[LeftOut]
    generations: int
    md_steps: int
    labelled_fraction_of_md: float | None = Field(description="Labels taken from molecular dynamics over its steps.")
    temperatures_K: list[float]
    others: list[str] = Field(default_factory=list, description="Names of the further crystals, `start` 1 and more.")
    coverage_90: float | None
    coverage_labels: int
    covered: list[tuple[int, int]] = Field(
        default_factory=list, description="As in ForceErrors, of each fresh label after calibration began."
    )
    calibration_factor: float
    audit_errors: list[AuditError]
    verdict: PropertyVerdict | None = None
    held_out: ForceErrors | None = None
    control: ForceErrors | None = Field(None, description="The random arm on the same held-out labels.")
    control_potential_sha256: str | None = None
    active_beats_random: bool | None = None
    n_reference_calculations: int
    stop_reason: str
    missing: list[str] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list, description="How structures were generated and chosen.")
    warnings: list[str] = Field(default_factory=list)
