"""The end of a run that learns a potential for elastic constants: measure with it, let the reference judge, write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jobflow import job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.schemas.elastic import (
    ElasticDocument,
    ElasticReferenceCheck,
    Gate,
    RelaxationDocument,
    StrainedStressDocument,
)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from jobflow import JobStore

    from mlip_autopipe.learning.elastic_property import ElasticMeasurement
    from mlip_autopipe.reference.relax import RelaxationOutcome
    from mlip_autopipe.schemas.system import SystemConfig

FULL_SAMPLES = 16
"""Posterior samples for the final error bar; the loop itself uses fewer."""
MAX_REFERENCE_FORCE_EV_PER_A = 0.1
"""Where the potential sees no force the reference may see this much, or its crystal is another one."""


@job(config=STORE_EXPOSED, output_schema=ElasticDocument)
def elastic_from_potential(run_id: str) -> ElasticDocument:
    """Measure elastic constants with the learned potential and write the property document.

    The error has four parts: scatter and nonlinearity of the fit, the spread over samples of the potential (``model``),
    and the disagreement with the reference on strained cells that were not trained on (``check``).

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    """
    from mlip_autopipe.analysis.symmetry import crystal_symmetry
    from mlip_autopipe.jobs.elastic_document import LearnedElastic, build_elastic_document
    from mlip_autopipe.jobs.records import RunRecords
    from mlip_autopipe.learning.elastic_property import measure_elastic
    from mlip_autopipe.learning.starts import primitive_atoms
    from mlip_autopipe.potentials.registry import load_potential
    from mlip_autopipe.reference.labels import LabelStore

    store = current_store()
    records = RunRecords(store, run_id)
    system, otf = records.plan(), records.learned()
    assert system.elastic is not None, "the plan of an elastic goal has an elastic section"
    potential = load_potential(_blob(store, otf.potential_sha256), sha256=otf.potential_sha256)
    primitive = primitive_atoms(system.material.structure)
    rotations = crystal_symmetry(_structure(primitive), system.elastic.symmetry_tolerance_A).rotations

    def measured(calculator: Calculator) -> ElasticMeasurement:
        assert system.elastic is not None
        return measure_elastic(primitive, calculator, system.relaxation, system.elastic, rotations)

    mean = measured(potential.calculator())
    samples = potential.draw(FULL_SAMPLES, seed=system.otf.seed if system.otf else 0)
    spread = np.array([measured(one.calculator()).fit.tensor for one in samples]) - mean.fit.tensor
    check = _check(store, system, mean, potential.calculator(), rotations)
    deviations = {"model": spread}
    if check.deviation_GPa is not None:
        deviations["check"] = np.array([check.deviation_GPa])
    label_ids = list(dict.fromkeys([*otf.label_ids, *check.label_ids]))
    return build_elastic_document(
        system,
        _relaxation(mean.relaxation),
        [_measurement(strain, cell) for strain, cell in zip(mean.strains, mean.cells, strict=True)],
        LabelStore(store),
        learned=LearnedElastic(
            otf=otf,
            deviations_GPa=deviations,
            check=check,
            label_ids=label_ids,
            n_reference_calculations=otf.n_reference_calculations + len(check.label_ids),
            gates=[_same_crystal(check), _judged(check)],
        ),
    )


def _check(
    store: JobStore,
    system: SystemConfig,
    measurement: ElasticMeasurement,
    calculator: Calculator,
    rotations: np.ndarray,
) -> ElasticReferenceCheck:
    """Ask the reference for the stresses of some strained cells, as the potential relaxed them."""
    from ase.units import GPa

    from mlip_autopipe.analysis.elastic import fit_elastic_constants
    from mlip_autopipe.errors import AnalysisError
    from mlip_autopipe.jobs.labelling import labeller
    from mlip_autopipe.learning.elastic_property import strained_cell
    from mlip_autopipe.reference.relax import relax_ions

    assert system.elastic is not None, "the plan of an elastic goal has an elastic section"
    assert system.elastic_check is not None, "a plan via potential has strains for the check"
    strains, predicted, found, forces, ids = [], [], [], [0.0], []
    with labeller(store, system) as labels:
        for strain in system.elastic_check.strains:
            cell = relax_ions(
                strained_cell(measurement.relaxation.atoms, np.array(strain)),
                calculator,
                fmax_eV_per_A=system.elastic.ion_fmax_eV_per_A,
                max_steps=system.elastic.ion_max_steps,
            )
            answer = labels.label(cell.atoms)
            if answer.label is None or answer.state != "done":
                continue
            strains.append(strain)
            predicted.append(cell.stress_GPa)
            found.append(np.array(answer.label.stress_eV_per_A3) / GPa)
            forces.append(float(np.linalg.norm(np.array(answer.label.forces_eV_per_A), axis=1).max()))
            ids.append(answer.label_id)
    deviation: list[list[float]] | None = None
    if strains:
        try:
            difference = np.array(found) - np.array(predicted)
            deviation = fit_elastic_constants(np.array(strains), difference, rotations=rotations).tensor.tolist()
        except AnalysisError:  # too few labels to say anything of all constants
            deviation = None
    return ElasticReferenceCheck(
        strains=strains,
        potential_stresses_GPa=[tuple(float(x) for x in row) for row in predicted],
        reference_stresses_GPa=[tuple(float(x) for x in row) for row in found],
        max_force_eV_per_A=max(forces),
        deviation_GPa=deviation,
        label_ids=ids,
    )


def _same_crystal(check: ElasticReferenceCheck) -> Gate:
    return Gate(
        name="reference_agrees_on_the_crystal",
        passed=check.max_force_eV_per_A <= MAX_REFERENCE_FORCE_EV_PER_A,
        detail=f"largest force of the reference {check.max_force_eV_per_A:.2g} eV/A where the potential relaxed the "
        f"ions, at most {MAX_REFERENCE_FORCE_EV_PER_A:g}",
    )


def _judged(check: ElasticReferenceCheck) -> Gate:
    return Gate(
        name="checked_by_the_reference",
        passed=check.deviation_GPa is not None,
        detail=f"{len(check.strains)} strained cells"
        + ("" if check.deviation_GPa is not None else ": too few to judge all constants; raise the budget"),
    )


def _relaxation(outcome: RelaxationOutcome) -> RelaxationDocument:
    return RelaxationDocument(
        structure=_structure(outcome.atoms).as_dict(),
        energy_eV=outcome.energy_eV,
        max_force_eV_per_A=outcome.max_force_eV_per_A,
        stress_GPa=tuple(float(s) for s in outcome.stress_GPa),
        converged=outcome.converged,
        n_steps=outcome.n_steps,
        label_ids=[],
        warnings=outcome.warnings,
    )


def _measurement(strain: np.ndarray, cell: RelaxationOutcome) -> StrainedStressDocument:
    return StrainedStressDocument(
        strain=tuple(float(e) for e in strain),
        stress_GPa=tuple(float(s) for s in cell.stress_GPa),
        max_force_eV_per_A=cell.max_force_eV_per_A,
        converged=cell.converged,
        n_steps=cell.n_steps,
        label_ids=[],
        warnings=cell.warnings,
    )


def _structure(atoms: Atoms):  # type: ignore[no-untyped-def]
    from pymatgen.io.ase import AseAtomsAdaptor

    plain = atoms.copy()
    plain.calc = None
    return AseAtomsAdaptor.get_structure(plain)


def _blob(store: JobStore, sha256: str) -> bytes:
    from mlip_autopipe.jobs.blobs import BlobStore

    return BlobStore(store).get(sha256)
