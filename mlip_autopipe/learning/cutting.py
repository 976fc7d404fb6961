"""Frames that are too large for the reference: a small periodic cell around one atom is labelled instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.potentials.dataset import atoms_of
from mlip_autopipe.schemas.otf import Candidate, OTFSettings

if TYPE_CHECKING:
    from mlip_autopipe.potentials.base import Potential

CORE_RADIUS_A: Final = 3.5
"""The atom and its nearest neighbours: their forces count."""
BUFFER_A: Final = 6.0
NOT_CHOSEN: Final = ("audit", "held_out", "random")
"""Origins of frames in which the potential must not say where to look."""


def small_enough(one: Candidate, settings: OTFSettings, potential: Potential, generation: int) -> Candidate:
    """Return the candidate, or a cell of at most `label_max_atoms` atoms cut out of it with a force mask.

    The cell lies around the least sure atom; for an audit, and for frames that judge at the end or are taken at random,
    around a random one: what judges a potential must not be chosen by it.

    Parameters
    ----------
    one
        A frame of molecular dynamics.
    settings
        Size limit and seed.
    potential
        Says which atom is the least sure, and relaxes what fills the cell.
    generation
        With the seed and the step it draws the audit's atom.
    """
    atoms = atoms_of(one.structure)
    if len(atoms) <= settings.label_max_atoms:
        return one
    from mlip_autopipe.selection.embedding import embed

    if one.origin in NOT_CHOSEN:
        centre = int(np.random.default_rng((settings.seed, generation, one.step or 0)).integers(len(atoms)))
    else:
        centre = int(np.argmax(potential.force_std(atoms)))
    cell = embed(
        atoms,
        centre,
        core_radius_A=CORE_RADIUS_A,
        buffer_A=BUFFER_A,
        max_atoms=settings.label_max_atoms,
        potential=potential,
    )
    where = f"{one.detail}; {len(cell.atoms)} of {len(atoms)} atoms around atom {centre}"
    cut = candidate(cell.atoms, one.origin, where)
    mask = None if cell.kind == "whole" else [float(w) for w in cell.force_weights]
    return one.model_copy(
        update={
            "structure": cut.structure,
            "detail": where,
            "force_weights": mask,
            "energy_weight": cell.energy_weight,
            "stress_weight": cell.stress_weight,
        }
    )
