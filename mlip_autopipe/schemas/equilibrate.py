"""Documents of the equilibrate goal."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from mlip_autopipe.schemas.base import StrictModel, StructureDict
from mlip_autopipe.schemas.property import Estimate, Gate, SplitEstimate

EQUILIBRATE_VERSION: Final = 1


class EquilibriumAtTemperature(StrictModel):
    """Averages of one temperature at constant pressure."""

    temperature_K: float = Field(gt=0, description="Of the thermostat.")
    lattice_parameters: dict[str, SplitEstimate] = Field(
        description="Of the conventional cell: a_A, b_A, c_A, alpha_deg, beta_deg, gamma_deg."
    )
    free_parameters: list[str] = Field(description="Names of the parameters that the symmetry leaves free.")
    volume_A3_per_atom: SplitEstimate
    density_g_per_cm3: SplitEstimate
    bulk_modulus_GPa: SplitEstimate = Field(description="Isothermal.")
    energy_eV_per_atom: Estimate = Field(description="Mean potential energy, statistical error.")
    measured_temperature_K: Estimate
    measured_pressure_GPa: Estimate | None = Field(description="None if the stresses of the frames are not known.")
    n_atoms: int = Field(ge=1)
    n_frames: int = Field(ge=1, description="Frames averaged.")
    n_discarded_frames: int = Field(ge=0, description="Frames left out at the start.")
    effective_samples: float = Field(ge=0, description="Independent samples behind the mean volume.")
    simulated_time_ps: float = Field(gt=0, description="All steps, transient included.")
    gates: list[Gate]
    warnings: list[str] = Field(default_factory=list)


class ThermalExpansionEstimate(StrictModel):
    """Coefficients of thermal expansion at one temperature."""

    temperature_K: float
    volumetric_per_K: SplitEstimate
    linear_per_K: SplitEstimate = Field(description="A third of the volumetric one: the average over directions.")
    axes_per_K: dict[str, SplitEstimate] = Field(
        default_factory=dict, description="Linear coefficients of single lattice lengths, by their names (a_A, c_A)."
    )
    degree: int = Field(ge=1, description="Of the polynomial in temperature.")
    curvature_determined: bool = Field(description="False when two temperatures are all there is.")


class EquilibrateDocument(StrictModel):
    """Lattice constants, density and thermal expansion with errors, gates and provenance.

    Nuclei are classical: below the Debye temperature thermal expansion and lattice constants lack quantum effects.
    """

    schema_version: Literal[1] = EQUILIBRATE_VERSION
    goal: Literal["equilibrate"] = "equilibrate"
    run_id: str
    project_name: str
    state: Literal["done", "failed", "not_enough_evidence"]
    formula: str
    structure: StructureDict = Field(description="Conventional cell at the asked temperature, Structure.as_dict().")
    space_group: str
    crystal_system: str
    pressure_GPa: float = Field(description="Of the barostat.")
    temperature_K: float = Field(gt=0, description="The first temperature that was asked for.")
    temperatures_K: list[float] = Field(description="All simulated temperatures, in the order of equilibria.")
    equilibria: list[EquilibriumAtTemperature] = Field(min_length=1)
    thermal_expansion: ThermalExpansionEstimate | None = Field(description="None with a single temperature.")
    further_expansions: list[ThermalExpansionEstimate] = Field(
        default_factory=list, description="At the other temperatures that were asked for."
    )
    gates: list[Gate] = Field(description="Of the whole result; those of single temperatures are with them.")
    n_reference_calculations: int = Field(ge=0, description="Distinct labels that the property rests on.")
    missing: list[str] = Field(default_factory=list, description="What would have to be done for a better answer.")
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(description="Potential sha256, label ids, reference settings, versions, seeds.")

    @model_validator(mode="after")
    def _temperatures_agree(self) -> Self:
        if self.temperatures_K != [e.temperature_K for e in self.equilibria]:
            raise ValueError("temperatures_K must list the temperatures of equilibria in their order")
        if self.temperature_K not in self.temperatures_K:
            raise ValueError(f"the asked temperature {self.temperature_K:g} K is none of {self.temperatures_K}")
        if self.state == "done" and not all(g.passed for g in self.all_gates()):
            raise ValueError("a result that fails a gate must be stored as failed")
        return self

    def at_temperature(self) -> EquilibriumAtTemperature:
        """Return the averages at the asked temperature."""
        return self.equilibria[self.temperatures_K.index(self.temperature_K)]

    def all_gates(self) -> list[Gate]:
        """Return the gates of the result and of every temperature."""
        return [*self.gates, *(gate for one in self.equilibria for gate in one.gates)]
