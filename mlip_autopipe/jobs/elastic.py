"""Jobs of the elastic goal: relax, measure stresses of strained cells, fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import job
from pymatgen.core import Structure

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store, labelled_calculator
from mlip_autopipe.schemas.elastic import ElasticDocument, RelaxationDocument, StrainedStressDocument
from mlip_autopipe.schemas.system import Budget, ElasticSettings, ReferenceSettings, RelaxationSettings

if TYPE_CHECKING:
    from ase import Atoms


@job(config=STORE_EXPOSED, output_schema=RelaxationDocument)
def relax_equilibrium(
    structure: Structure,
    reference: dict[str, Any],
    relaxation: dict[str, Any],
    budget: dict[str, Any],
    run_id: str,
) -> RelaxationDocument:
    """Relax cell and ions to zero stress and force, every evaluation a stored label.

    Parameters
    ----------
    structure
        Start structure.
    reference, relaxation, budget
        Dumps of the `SystemConfig` sections of the same name.
    run_id
        The run that pays for the labels.

    Returns
    -------
    RelaxationDocument
        The relaxed cell in the orientation of the start structure.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    from mlip_autopipe.reference.relax import relax_cell

    settings = RelaxationSettings.model_validate(relaxation)
    atoms = _atoms(structure)
    with labelled_calculator(
        ReferenceSettings.model_validate(reference), Budget.model_validate(budget), run_id
    ) as calculator:
        outcome = relax_cell(atoms, calculator, settings)
    relaxed = AseAtomsAdaptor.get_structure(outcome.atoms.copy())  # without the calculator
    return RelaxationDocument(
        structure=relaxed.as_dict(),
        energy_eV=outcome.energy_eV,
        max_force_eV_per_A=outcome.max_force_eV_per_A,
        stress_GPa=tuple(float(s) for s in outcome.stress_GPa),
        converged=outcome.converged,
        n_steps=outcome.n_steps,
        label_ids=outcome.label_ids,
        warnings=outcome.warnings,
    )


@job(config=STORE_EXPOSED)
def measure_strained_stresses(
    structure: Structure,
    strains: list[list[float]],
    reference: dict[str, Any],
    elastic: dict[str, Any],
    budget: dict[str, Any],
    run_id: str,
) -> list[StrainedStressDocument]:
    """Strain the relaxed cell, relax its ions, and return the Cauchy stress of each strain.

    Expensive references get one job per strain, cheap ones all strains in one job.

    Parameters
    ----------
    structure
        Relaxed structure.
    strains
        (n, 6) small strains, Voigt with engineering shear.
    reference, elastic, budget, run_id
        As in `relax_equilibrium`.
    """
    from ase.units import GPa

    from mlip_autopipe.analysis.strain import deformation_gradient
    from mlip_autopipe.reference.relax import relax_ions

    settings = ElasticSettings.model_validate(elastic)
    equilibrium = _atoms(structure)
    documents = []
    with labelled_calculator(
        ReferenceSettings.model_validate(reference), Budget.model_validate(budget), run_id
    ) as calculator:
        for strain in strains:
            atoms = equilibrium.copy()
            # rows of the ASE cell are the lattice vectors, hence the transpose
            gradient = deformation_gradient(np.asarray(strain, dtype=float))
            atoms.set_cell(equilibrium.cell.array @ gradient.T, scale_atoms=True)
            outcome = relax_ions(
                atoms, calculator, fmax_eV_per_A=settings.ion_fmax_eV_per_A, max_steps=settings.ion_max_steps
            )
            documents.append(
                StrainedStressDocument(
                    strain=tuple(float(e) for e in strain),
                    stress_GPa=tuple(float(s) for s in np.asarray(outcome.stress_eV_per_A3) / GPa),
                    max_force_eV_per_A=outcome.max_force_eV_per_A,
                    converged=outcome.converged,
                    n_steps=outcome.n_steps,
                    label_ids=outcome.label_ids,
                    warnings=outcome.warnings,
                )
            )
    return documents


@job(config=STORE_EXPOSED, output_schema=ElasticDocument)
def fit_elastic_document(
    system: dict[str, Any],
    relaxation: dict[str, Any],
    measurements: list[list[dict[str, Any]]],
) -> ElasticDocument:
    """Fit the elastic tensor, check it against physics, and write the property document.

    Parameters
    ----------
    system
        The `SystemConfig` without its start structure's copy (see `flows.elastic`).
    relaxation
        Output of `relax_equilibrium`.
    measurements
        Outputs of `measure_strained_stresses`, one list per job.
    """
    from mlip_autopipe.jobs.elastic_document import build_elastic_document
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.schemas.system import SystemConfig

    return build_elastic_document(
        SystemConfig.model_validate(system),
        RelaxationDocument.model_validate(relaxation),
        [StrainedStressDocument.model_validate(m) for group in measurements for m in group],
        LabelStore(current_store()),
    )


def _atoms(structure: Structure) -> Atoms:
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_atoms(structure, msonable=False)
