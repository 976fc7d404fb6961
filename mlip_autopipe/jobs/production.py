"""What runs with a learned potential need, whatever is measured: the plan, the potential and its crystal."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.learning.crystal import RelaxedCrystal, relax_crystal
from mlip_autopipe.learning.starts import primitive_atoms

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.potentials.base import Potential
    from mlip_autopipe.schemas.otf import OTFSettings


class Production:
    """The runs of a plan in this process.

    Parameters
    ----------
    store
        A connected JobStore that holds the run's plan and what was learned.
    run_id
        The run.
    """

    def __init__(self, store: JobStore, run_id: str) -> None:
        self.run_id = run_id
        self.records = RunRecords(store, run_id)
        self.blobs = BlobStore(store)
        self.system = self.records.plan()
        assert self.system.otf is not None, "a plan that learns has a section otf"
        self.otf: OTFSettings = self.system.otf
        self.potential_sha256 = self.records.learned().potential_sha256

    @cached_property
    def potential(self) -> Potential:
        """What was learned."""
        from mlip_autopipe.potentials.registry import load_potential

        return load_potential(self.blobs.get(self.potential_sha256), sha256=self.potential_sha256)

    @cached_property
    def crystal(self) -> RelaxedCrystal:
        """The crystal that the potential makes."""
        primitive = primitive_atoms(self.system.material.structure)
        relaxation = self.system.relaxation
        return relax_crystal(primitive, self.potential.calculator(), relaxation, relaxation.symmetry_tolerance_A)
