"""Structures that wait for a label, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlip_autopipe.reference.labels import structure_document
from mlip_autopipe.schemas.otf import Candidate, Origin, UsedLabel

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.potentials.dataset import Configuration
    from mlip_autopipe.schemas.label import ReferenceLabel

FRESH: tuple[Origin, ...] = ("trigger", "guard", "audit")
"""Origins of frames that the potential has to predict before it learns them: they calibrate its uncertainty."""


NOT_TRAINED: tuple[Origin, ...] = ("random", "held_out")
"""Origins of labels that the potential never sees: those of the control arm, and those that judge both."""


def candidate(atoms: Atoms, origin: Origin, detail: str = "", **more: Any) -> Candidate:
    """Return a structure that waits for its label; velocities and the like are dropped."""
    return Candidate(structure=structure_document(atoms), origin=origin, detail=detail, **more)


def configuration_of(label: ReferenceLabel, used: UsedLabel | Candidate) -> Configuration:
    """Return what is trained on: the label's numbers with the weights that belong to them."""
    from dataclasses import replace

    from mlip_autopipe.potentials.dataset import Configuration

    found = Configuration.from_label(label, used.force_weights)
    return replace(found, energy_weight=used.energy_weight, stress_weight=used.stress_weight)
