"""What a phase diagram asks of a potential before the hull: that it has seen what the candidates are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.generation.perturb import rattle
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.learning.starts import primitive_atoms
from mlip_autopipe.learning.target import ForceTarget, Wanted

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.potentials.base import Potential
    from mlip_autopipe.schemas.system import PhaseDiagramSettings

CONSIDERED: Final = 300
"""Of the candidates, at random: choosing among all says hardly more and costs features of all."""
MOST_ATOMS: Final = 32
STREAM: Final = 7
QUASIRANDOM_COMPOSITIONS: Final = 3


@dataclass(frozen=True, eq=False)
class PhaseCandidates:
    """All candidates of a phase diagram as generated.

    Attributes
    ----------
    structures
        (N,) starts of the relaxations.
    names, kinds, parents
        (N,); an empty parent: none.
    """

    structures: list[Atoms]
    names: list[str]
    kinds: list[str]
    parents: list[str]


def candidates_of(settings: PhaseDiagramSettings) -> PhaseCandidates:
    """Return the candidates that a plan asks for, always the same ones; do not change them."""
    return _made(settings.model_dump_json())


@lru_cache(maxsize=1)
def _made(settings_json: str) -> PhaseCandidates:
    """Quasirandom structures take seconds each, and learning and the hull ask for the same ones."""
    from mlip_autopipe.generation.candidates import make_candidates
    from mlip_autopipe.schemas.system import PhaseDiagramSettings

    settings = PhaseDiagramSettings.model_validate_json(settings_json)
    made = make_candidates(
        settings.elements,
        parents=settings.parents,
        max_candidates=settings.max_candidates,
        composition_range=settings.composition_range,
        prototypes=None if settings.prototypes else (),
        n_sqs=QUASIRANDOM_COMPOSITIONS if settings.quasirandom_sites else 0,
        sqs_sites=max(1, settings.quasirandom_sites),
        user_structures=[primitive_atoms(one) for one in settings.structures],
        seed=settings.seed,
    )
    return PhaseCandidates(
        [one.atoms for one in made],
        [one.name for one in made],
        [one.kind for one in made],
        [one.parent or "" for one in made],
    )


@dataclass
class CandidateTarget(ForceTarget):
    """Forces along molecular dynamics as the audits saw them; once, the most telling candidates are learned."""

    phases: PhaseDiagramSettings

    def informative(self, potential: Potential, round_: int, trained: Sequence[Atoms]) -> Wanted:
        """Return rattled candidates whose labels say most; after the first round nothing."""
        from mlip_autopipe.selection.select import select_configurations

        if round_ > 0 or not self.wants_own_labels:
            return Wanted([])
        found = candidates_of(self.phases)
        rng = np.random.default_rng((self.settings.seed, STREAM))
        small = [k for k, one in enumerate(found.structures) if len(one) <= MOST_ATOMS]
        chosen = sorted(rng.choice(small, min(CONSIDERED, len(small)), replace=False).tolist())
        rattled = [rattle(found.structures[k], 0.5 * self.settings.seed_rattle_A, rng) for k in chosen]
        selection = select_configurations(rattled, self.settings.pool_labels, potential=potential, trained=trained)
        wanted = [candidate(rattled[i], "pool", f"{found.names[chosen[i]]}, rattled") for i in selection.indices]
        remark = f"of {len(found.structures)} candidates {len(wanted)} were labelled as generated ({selection.method})"
        return Wanted(wanted, (remark,))
