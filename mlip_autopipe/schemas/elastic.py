"""Documents of the elastic goal."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from mlip_autopipe.schemas.base import StrictModel, StructureDict, Voigt
from mlip_autopipe.schemas.config import Via
from mlip_autopipe.schemas.property import Estimate, Gate

__all__ = [
    "ElasticDocument",
    "ElasticModuli",
    "ElasticReferenceCheck",
    "Estimate",
    "Gate",
    "RelaxationDocument",
    "StrainedStressDocument",
]

ELASTIC_VERSION: Final = 1

Voigt6x6 = list[list[float]]


class RelaxationDocument(StrictModel):
    """A relaxed structure and what it cost."""

    schema_version: Literal[1] = 1
    structure: StructureDict = Field(description="pymatgen Structure.as_dict() of the relaxed cell.")
    energy_eV: float
    max_force_eV_per_A: float
    stress_GPa: Voigt
    converged: bool
    n_steps: int
    label_ids: list[str]
    warnings: list[str] = Field(default_factory=list)


class StrainedStressDocument(StrictModel):
    """The stress of one strained cell with relaxed ions."""

    schema_version: Literal[1] = 1
    strain: Voigt = Field(description="Small strain, Voigt with engineering shear (e4 = 2 eps_yz).")
    stress_GPa: Voigt = Field(description="Cauchy stress, positive under tension.")
    max_force_eV_per_A: float
    converged: bool
    n_steps: int
    label_ids: list[str]
    warnings: list[str] = Field(default_factory=list)


class ElasticModuli(StrictModel):
    """Isotropic averages and what follows from them; GPa, K, dimensionless."""

    bulk_modulus_voigt_GPa: Estimate
    bulk_modulus_reuss_GPa: Estimate
    bulk_modulus_VRH_GPa: Estimate
    shear_modulus_voigt_GPa: Estimate
    shear_modulus_reuss_GPa: Estimate
    shear_modulus_VRH_GPa: Estimate
    young_modulus_GPa: Estimate
    poisson_ratio: Estimate
    universal_anisotropy: Estimate
    debye_temperature_K: Estimate


class ElasticReferenceCheck(StrictModel):
    """Stresses of the reference on strained cells of the potential's crystal, which it was not trained on."""

    strains: list[Voigt]
    potential_stresses_GPa: list[Voigt]
    reference_stresses_GPa: list[Voigt]
    max_force_eV_per_A: float = Field(description="Of the reference, where the potential sees none.")
    deviation_GPa: Voigt6x6 | None = Field(description="Reference minus potential; None: too few labels.")
    label_ids: list[str]


class ElasticDocument(StrictModel):
    """Elastic constants with errors, gates and provenance.

    ``elastic_tensor_GPa`` are the stress-strain coefficients B_ij (Cauchy stress against small strain) in
    the input orientation; at zero pressure they equal the second derivatives of the energy.
    """

    schema_version: Literal[1] = ELASTIC_VERSION
    goal: Literal["elastic"] = "elastic"
    run_id: str
    project_name: str
    state: Literal["done", "failed", "not_enough_evidence"]
    via: Via = "reference"
    formula: str
    structure: StructureDict = Field(description="Relaxed structure, pymatgen Structure.as_dict().")
    space_group: str
    crystal_system: str
    point_group: str
    convention: str
    pressure_GPa: float
    elastic_tensor_GPa: Voigt6x6
    elastic_tensor_stderr_GPa: Voigt6x6
    elastic_tensor_stderr_parts_GPa: dict[str, Voigt6x6] = Field(
        description="The error split by source: 'fit' (scatter), 'nonlinearity' (+-amplitude against +-amplitude/2); "
        "from a potential also 'model' (samples of it) and 'check' (disagreement with the reference)."
    )
    elastic_tensor_ieee_GPa: Voigt6x6
    elastic_tensor_ieee_stderr_GPa: Voigt6x6
    residual_stress_GPa: Voigt
    independent_constants_GPa: dict[str, Estimate] = Field(description="C11, C12, C44, ... of the IEEE orientation.")
    moduli: ElasticModuli
    born_stable: bool
    min_eigenvalue_GPa: float
    gates: list[Gate]
    strains: list[Voigt] = Field(description="Measured small strains, Voigt with engineering shear.")
    stresses_GPa: list[Voigt] = Field(description="Cauchy stress of each strain.")
    n_reference_calculations: int = Field(description="Distinct labels that the property rests on.")
    strain_amplitude: float
    reference_check: ElasticReferenceCheck | None = None
    missing: list[str] = Field(default_factory=list, description="What would have to be done for a better answer.")
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(description="Label ids, reference settings and hash, versions, seeds.")
