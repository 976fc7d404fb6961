"""Flow of the goals that learn a potential on the fly."""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import Flow, Maker

from mlip_autopipe.schemas.system import SystemConfig

FINISHERS = {
    "elastic": "mlip_autopipe.jobs.potential_elastic:elastic_from_potential",
    "diffusion": "mlip_autopipe.jobs.diffusion:diffusion",
    "equilibrate": "mlip_autopipe.jobs.equilibrate:equilibrate",
    "phase_diagram": "mlip_autopipe.jobs.phase_diagram:phase_diagram",
    "potential": "mlip_autopipe.jobs.potential_goal:deliver_potential",
}
"""Job that turns the potential into the goal's property."""


@dataclass
class OTFMaker(Maker):
    """Learn a potential on the fly, then measure the goal's property with it.

    One job begins; each leaves the next behind until the property is known well enough or the budget is spent. A cheap
    reference labels inside the learning job; an expensive one gets a job per label, so that several rockets label side
    by side. The state is in the JobStore under the run's name, so jobs carry little, and whatever is killed goes on.

    Parameters
    ----------
    name
        Name of the flow.
    finish
        Job (``package.module:function``) that is called with the run's name at the end and whose output is the flow's;
        None: the goal's own. An empty string: none, the output is the `OTFDocument`.
    """

    name: str = "learn on the fly"
    finish: str | None = None

    def make(self, system: SystemConfig) -> Flow:
        """Wire the first job.

        Parameters
        ----------
        system
            A complete plan with a section ``otf``.

        Returns
        -------
        Flow
            Its output is the goal's property document.
        """
        from mlip_autopipe.jobs.learn import start_learning

        assert system.otf is not None, "a plan that learns has a section otf"
        finish = FINISHERS.get(system.goal) if self.finish is None else self.finish
        start = start_learning(system.model_dump(mode="json"), finish or None, reserved_labels(system))
        start.name = "learn: seeds"
        return Flow([start], output=start.output, name=self.name)


def reserved_labels(system: SystemConfig) -> int:
    """Return how many reference calculations the goal needs after the loop."""
    reserved = 0
    if system.elastic_check is not None:
        reserved += len(system.elastic_check.strains)
    if system.equilibrate is not None:
        reserved += system.equilibrate.check_labels * len(system.equilibrate.temperatures_K)
    return reserved
