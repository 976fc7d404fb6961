"""Where the search for stable phases stands: candidates, their relaxation by the newest potential, their labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.jobs.production import Production
from mlip_autopipe.jobs.structure_blobs import pack_structures, unpack_structures
from mlip_autopipe.learning.candidate_target import PhaseCandidates, candidates_of
from mlip_autopipe.schemas.phase_diagram import HullProgress, RelaxedBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from jobflow import JobStore
    from numpy.typing import NDArray

    from mlip_autopipe.schemas.label import ReferenceLabel
    from mlip_autopipe.schemas.system import PhaseDiagramSettings

PROGRESS = "hull_progress"
TO_FOLLOW_eV = 2e-4
"""Per atom, that the reference would gain beyond the potential's minimum."""


@dataclass(frozen=True, eq=False)
class RelaxedCandidates:
    """All candidates as the potentials have relaxed them.

    Attributes
    ----------
    structures
        (N,).
    energies_eV
        (N,) of their cells by the newest potential; not a number where nothing could be computed.
    converged
        (N,) by a potential of this run; those far above the hull are not relaxed again by each.
    """

    structures: list[Atoms]
    energies_eV: NDArray[np.float64]
    converged: NDArray[np.bool_]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Numbers of atoms (N,)."""
        return np.array([len(one) for one in self.structures])


class HullSearch(Production):
    """The search of a plan in this process.

    Parameters
    ----------
    store
        A connected JobStore that holds the run's plan and what was learned.
    run_id
        The run.
    """

    def __init__(self, store: JobStore, run_id: str) -> None:
        super().__init__(store, run_id)
        assert self.system.phase_diagram is not None, "the plan of a phase diagram has a section for it"
        self.settings: PhaseDiagramSettings = self.system.phase_diagram

    def progress(self) -> HullProgress:
        """Return where the search stands; the first call makes the candidates."""
        found = self.records.find(PROGRESS)
        if found is not None:
            return HullProgress.model_validate(found)
        made = candidates_of(self.settings)
        data = pack_structures(
            made.structures,
            {"names": np.array(made.names), "kinds": np.array(made.kinds), "parents": np.array(made.parents)},
        )
        progress = HullProgress(
            run_id=self.run_id,
            candidates_sha256=self.blobs.put(data, "hull candidates", self.run_id),
            n_candidates=len(made.structures),
        )
        self.save_progress(progress)
        return progress

    def save_progress(self, progress: HullProgress) -> None:
        """Keep where the search stands."""
        self.records.save(PROGRESS, progress.model_dump(mode="json"))

    @cached_property
    def candidates(self) -> PhaseCandidates:
        """All candidates."""
        structures, more = unpack_structures(self.blobs.get(self.progress().candidates_sha256))
        return PhaseCandidates(structures, *(more[name].tolist() for name in ("names", "kinds", "parents")))

    def batches(self) -> list[list[int]]:
        """Return the candidates of each job."""
        n, size = self.progress().n_candidates, self.settings.structures_per_job
        return [list(range(start, min(start + size, n))) for start in range(0, n, size)]

    def batch(self, number: int) -> RelaxedBatch | None:
        """Return what the last job for a batch has left, perhaps with an older potential."""
        found = self.records.find(_batch_name(number))
        return None if found is None else RelaxedBatch.model_validate(found)

    def relax(self, number: int, labels: Mapping[int, ReferenceLabel]) -> None:
        """Relax a batch by the newest potential, starting from where the one before left it, and store it whole.

        Parameters
        ----------
        number
            Of the batch.
        labels
            The newest by candidate: where one shows that the reference would relax it further, that is followed.
        """
        from mlip_autopipe.learning.batch_relaxation import relax_structures
        from mlip_autopipe.learning.towards_reference import bias_of, relaxation_gain_eV

        before = self.batch(number)
        if before is not None and before.potential_sha256 == self.potential_sha256:
            return
        members = self.batches()[number]
        dropped = set(self.progress().dropped)
        structures = [self.candidates.structures[k] for k in members]
        energies = np.array([self._energy_eV(one) for one in structures])
        converged = np.zeros(len(members), dtype=bool)
        if before is not None:
            earlier, more = unpack_structures(self.blobs.get(before.relaxed_sha256))
            for place, one in enumerate(earlier):
                # an immature potential may have led it astray: then the newest one says that the start was better
                energy = self._energy_eV(one)
                if energy <= energies[place] or not np.isfinite(energies[place]):
                    structures[place], energies[place] = one, energy
                    converged[place] = bool(more["converged"][place])
        wanted = [place for place, k in enumerate(members) if k not in dropped]
        biases = [
            bias_of(label, self.potential)
            if (label := labels.get(members[place])) is not None and relaxation_gain_eV(label) > TO_FOLLOW_eV
            else None
            for place in wanted
        ]
        starts = [structures[place] for place in wanted]
        for place, found in zip(wanted, relax_structures(starts, self.potential, biases=biases), strict=True):
            structures[place], energies[place], converged[place] = found.atoms, found.energy_eV, found.converged
        data = pack_structures(structures, {"energies_eV": energies, "converged": converged})
        document = RelaxedBatch(
            run_id=self.run_id,
            potential_sha256=self.potential_sha256,
            batch=number,
            candidates=members,
            relaxed_sha256=self.blobs.put(data, "relaxed candidates", self.run_id),
        )
        self.records.save(_batch_name(number), document.model_dump(mode="json"))
        if before is not None and before.relaxed_sha256 != document.relaxed_sha256:
            self.blobs.remove(before.relaxed_sha256, self.run_id)

    def relaxed(self) -> RelaxedCandidates:
        """Return all candidates as relaxed; every batch has been relaxed once."""
        structures: list[Atoms] = []
        columns: dict[str, list[NDArray[np.float64]]] = {"energies_eV": [], "converged": []}
        for number in range(len(self.batches())):
            batch = self.batch(number)
            assert batch is not None, "all batches are relaxed before anything is concluded"
            found, more = unpack_structures(self.blobs.get(batch.relaxed_sha256))
            structures += found
            for name, values in columns.items():
                values.append(more[name])
        energies, converged = (np.concatenate(values) for values in columns.values())
        return RelaxedCandidates(structures, energies, converged.astype(bool))

    def _energy_eV(self, atoms: Atoms) -> float:
        """Return the newest potential's energy; not a number where it has none."""
        from mlip_autopipe.potentials.errors import PredictionError

        try:
            return self.potential.predict(atoms).energy_eV
        except PredictionError:
            return float("nan")


def _batch_name(number: int) -> str:
    return f"hull_batch:{number}"
