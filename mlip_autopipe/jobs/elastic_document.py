"""From stresses to the property document of the elastic goal: fit, gates, provenance."""

from __future__ import annotations

import dataclasses
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.schemas.elastic import (
    ElasticDocument,
    ElasticModuli,
    ElasticReferenceCheck,
    Estimate,
    Gate,
    RelaxationDocument,
    StrainedStressDocument,
)

if TYPE_CHECKING:
    from mlip_autopipe.analysis.moduli import Moduli
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.schemas.otf import OTFDocument
    from mlip_autopipe.schemas.system import SystemConfig

CONVENTION = (
    "B_ij: Cauchy stress (positive under tension) against small strain, Voigt order xx yy zz yz xz xy with "
    "engineering shear; ions relaxed; orientation of the input structure. At zero pressure B_ij = C_ij."
)
PACKAGES = (
    *("mlip-autopipe", "ase", "pymatgen", "numpy", "scipy", "spglib", "jobflow", "fireworks"),
    *("gpaw", "pypolymlp", "mace-torch", "torch"),
)
MAX_PRESSURE_GPA = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedElastic:
    """What stands behind elastic constants from a potential.

    Attributes
    ----------
    otf
        What was learned.
    deviations_GPa
        Tensors that could have been found as well, minus the one that was, by source (see `with_deviations`).
    check
        The reference's verdict on strained cells that were not trained on.
    label_ids, n_reference_calculations
        All labels behind the result, and how many calculations the run made in all.
    gates
        Checks of the potential.
    """

    otf: OTFDocument
    deviations_GPa: dict[str, Any]
    check: ElasticReferenceCheck
    label_ids: list[str]
    n_reference_calculations: int
    gates: list[Gate]


def build_elastic_document(
    system: SystemConfig,
    relaxation: RelaxationDocument,
    measurements: list[StrainedStressDocument],
    labels: LabelStore,
    *,
    learned: LearnedElastic | None = None,
) -> ElasticDocument:
    """Fit the elastic tensor to measured stresses and write everything that is known of it.

    Parameters
    ----------
    system
        The plan of the run.
    relaxation
        The relaxed cell.
    measurements
        Stresses of the strained cells, GPa.
    labels
        Where the labels' provenance is read from.
    learned
        When a potential measured the stresses: what it rests on, and how far it may be off.

    Returns
    -------
    ElasticDocument
        With ``state='failed'`` when a physics gate did not pass.
    """
    from pymatgen.core import Structure

    from mlip_autopipe.analysis.elastic import fit_elastic_constants, pressure
    from mlip_autopipe.analysis.elastic_errors import with_deviations
    from mlip_autopipe.analysis.ieee import independent_constants, to_ieee
    from mlip_autopipe.analysis.moduli import born_stability, elastic_moduli, physics_gates
    from mlip_autopipe.analysis.symmetry import crystal_symmetry

    assert system.elastic is not None, "an elastic document belongs to an elastic plan"
    structure = Structure.from_dict(relaxation.structure)
    tolerance = system.elastic.symmetry_tolerance_A
    symmetry = crystal_symmetry(structure, tolerance)
    fit = fit_elastic_constants(
        np.array([m.strain for m in measurements]),
        np.array([m.stress_GPa for m in measurements]),
        rotations=symmetry.rotations,
    )
    parts = {"fit": fit.stderr_fit, "nonlinearity": fit.stderr_nonlinearity}
    if learned is not None:
        fit, more = with_deviations(fit, learned.deviations_GPa)
        parts |= more
    solution = (fit.basis, fit.basis_values, fit.basis_covariance)
    moduli = elastic_moduli(*solution, structure)
    ieee = to_ieee(*solution, structure, symmetry_tolerance_A=tolerance)
    constants = independent_constants(ieee.tensor, ieee.stderr, symmetry.crystal_system, symmetry.point_group)
    stable, min_eigenvalue = born_stability(fit.tensor)
    gates = [
        Gate(name=g.name, passed=g.passed, detail=g.detail)
        for g in physics_gates(fit, moduli, strain_amplitude=system.elastic.strain_amplitude)
    ]
    gates.append(_relaxed_gate(relaxation, measurements))
    label_ids = list(
        dict.fromkeys(
            [
                *(() if learned is None else learned.label_ids),
                *relaxation.label_ids,
                *(i for m in measurements for i in m.label_ids),
            ]
        )
    )
    if learned is not None:
        gates += learned.gates
    passed = all(g.passed for g in gates)
    enough = learned is None or learned.otf.state == "done"
    residual_pressure = float(pressure(relaxation.stress_GPa))
    return ElasticDocument(
        run_id=system.run_id,
        project_name=system.project_name,
        state=("done" if enough else "not_enough_evidence") if passed else "failed",
        via=system.via,
        formula=system.material.formula,
        structure=relaxation.structure,
        space_group=symmetry.space_group,
        crystal_system=symmetry.crystal_system,
        point_group=symmetry.point_group,
        convention=CONVENTION,
        pressure_GPa=residual_pressure,
        elastic_tensor_GPa=fit.tensor.tolist(),
        elastic_tensor_stderr_GPa=fit.stderr.tolist(),
        elastic_tensor_stderr_parts_GPa={name: part.tolist() for name, part in parts.items()},
        elastic_tensor_ieee_GPa=ieee.tensor.tolist(),
        elastic_tensor_ieee_stderr_GPa=ieee.stderr.tolist(),
        residual_stress_GPa=tuple(float(s) for s in fit.residual_stress),
        independent_constants_GPa={
            name: Estimate(value=value, stderr=stderr)
            for name, (value, stderr) in constants.items()
        },
        moduli=_moduli(moduli),
        born_stable=stable,
        min_eigenvalue_GPa=min_eigenvalue,
        gates=gates,
        strains=[m.strain for m in measurements],
        stresses_GPa=[m.stress_GPa for m in measurements],
        n_reference_calculations=len(label_ids) if learned is None else learned.n_reference_calculations,
        strain_amplitude=system.elastic.strain_amplitude,
        reference_check=None if learned is None else learned.check,
        missing=[] if learned is None else learned.otf.missing,
        warnings=[
            *_warnings(system, relaxation, measurements, residual_pressure),
            *([] if learned is None else learned.otf.warnings),
        ],
        provenance=provenance(system, label_ids, labels, otf=None if learned is None else learned.otf),
    )


def _moduli(computed: Moduli) -> ElasticModuli:
    fields = {f.name: getattr(computed, f.name) for f in dataclasses.fields(computed)}
    return ElasticModuli(**{k: Estimate(value=v.value, stderr=v.stderr) for k, v in fields.items()})


def _relaxed_gate(relaxation: RelaxationDocument, measurements: list[StrainedStressDocument]) -> Gate:
    unfinished = [i + 1 for i, m in enumerate(measurements) if not m.converged]
    if not relaxation.converged:
        return Gate(
            name="relaxed", passed=False, detail=f"the cell did not relax within {relaxation.n_steps} steps"
        )
    if unfinished:
        return Gate(name="relaxed", passed=False, detail=f"the ions did not relax at strains {unfinished}")
    worst = max([relaxation.max_force_eV_per_A, *(m.max_force_eV_per_A for m in measurements)])
    return Gate(name="relaxed", passed=True, detail=f"largest force {worst:.2g} eV/A")


def _warnings(
    system: SystemConfig,
    relaxation: RelaxationDocument,
    measurements: list[StrainedStressDocument],
    residual_pressure_GPa: float,
) -> list[str]:
    found = [*system.warnings, *relaxation.warnings, *(w for m in measurements for w in m.warnings)]
    if abs(residual_pressure_GPa) > MAX_PRESSURE_GPA:
        found.append(
            f"the relaxed cell keeps a pressure of {residual_pressure_GPa:.2f} GPa; "
            "lower relaxation.stress_tolerance_GPa under overrides"
        )
    return list(dict.fromkeys(found))


def provenance(
    system: SystemConfig, label_ids: list[str], labels: LabelStore, *, otf: OTFDocument | None = None
) -> dict[str, Any]:
    """Return where the numbers of a property come from: labels, settings, potential, versions, seeds, plan."""
    found = [label for label in (labels.get(i) for i in label_ids) if label is not None]
    return {
        "label_ids": label_ids,
        "reference": system.reference.model_dump(),
        "settings_hashes": sorted({label.settings_hash for label in found}),
        "engine_versions": sorted({f"{label.engine} {label.engine_version}" for label in found}),
        "reference_core_time_s": sum(label.core_time_s for label in found),
        "recovered_labels": [label.label_id for label in found if len(label.attempts) > 1],
        "versions": _versions(),
        "seeds": [] if system.otf is None else [system.otf.seed],
        "potential": None if otf is None else _potential(otf),
        "plan": system.model_dump(exclude={"material", "reference", "reasons"}),
    }


def _potential(otf: OTFDocument) -> dict[str, Any]:
    keys = (
        *("potential_sha256", "backend", "model", "parameters", "generations", "md_steps", "labels_by_origin"),
        *("coverage_90", "coverage_labels", "calibration_factor", "stop_reason"),
    )
    return {key: getattr(otf, key) for key in keys}


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
