"""Flow of the elastic goal."""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import Flow, Job, Maker

from mlip_autopipe.schemas.system import SystemConfig


@dataclass
class ElasticMaker(Maker):
    """Elastic constants of a crystal from strained cells with relaxed ions.

    Relax the cell, strain it along the symmetry-adapted directions of the plan, relax the ions at every
    strain, fit the invariant constants to the stresses.

    Parameters
    ----------
    name
        Name of the flow.
    strains_per_job
        How many strained cells one job measures; None: one for an expensive reference, all for a cheap one.
    """

    name: str = "elastic"
    strains_per_job: int | None = None

    def make(self, system: SystemConfig) -> Flow:
        """Wire the jobs.

        Parameters
        ----------
        system
            A complete plan whose goal is ``elastic``.

        Returns
        -------
        Flow
            Its output is the `ElasticDocument`.
        """
        from pymatgen.core import Structure

        from mlip_autopipe.analysis.elastic import strain_set
        from mlip_autopipe.jobs.elastic import (
            fit_elastic_document,
            measure_strained_stresses,
            relax_equilibrium,
        )

        assert system.elastic is not None, "the plan of an elastic goal has an elastic section"
        reference, budget = system.reference.model_dump(), system.budget.model_dump()
        elastic = system.elastic.model_dump()
        relax = relax_equilibrium(
            Structure.from_dict(system.material.structure),
            reference,
            system.relaxation.model_dump(),
            budget,
            system.run_id,
        )
        relax.name = "relax cell"

        strains = strain_set(
            system.elastic.directions,
            amplitude=system.elastic.strain_amplitude,
            half_amplitude_check=system.elastic.half_amplitude_check,
        ).tolist()
        size = self.strains_per_job or (len(strains) if system.reference.cheap else 1)
        measurements: list[Job] = []
        for start in range(0, len(strains), size):
            batch = strains[start : start + size]
            measure = measure_strained_stresses(
                relax.output.structure, batch, reference, elastic, budget, system.run_id
            )
            last = start + len(batch)
            which = f"strain {last}" if size == 1 else f"strains {start + 1}-{last}"
            measure.name = f"{which} of {len(strains)}"
            measurements.append(measure)

        fit = fit_elastic_document(system.model_dump(), relax.output, [m.output for m in measurements])
        fit.name = "fit elastic tensor"
        return Flow([relax, *measurements, fit], output=fit.output, name=self.name)
