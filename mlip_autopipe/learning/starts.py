"""The crystals that a run explores: the plan's own, and for a range of compositions the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.schemas.base import IntMatrix3x3
    from mlip_autopipe.schemas.system import SystemConfig


@dataclass(frozen=True, eq=False)
class Start:
    """A crystal from which molecular dynamics starts.

    Attributes
    ----------
    name
        For people.
    primitive
        The cell that is relaxed and strained; of a random alloy its special quasirandom structure.
    supercell
        Rows: vectors of the MD cell in those of `primitive`.
    """

    name: str
    primitive: Atoms
    supercell: IntMatrix3x3

    @property
    def cell(self) -> Atoms:
        """The cell in which molecular dynamics runs."""
        from ase.build import make_supercell

        return make_supercell(self.primitive, np.array(self.supercell), order="atom-major")


def starts_of(system: SystemConfig) -> list[Start]:
    """Return the crystals of a plan that learns, its own first."""
    assert system.otf is not None, "a plan that learns has a section otf"
    own = Start(system.material.formula, primitive_atoms(system.material.structure), system.otf.supercell)
    others = [Start(one.name, primitive_atoms(one.structure), one.supercell) for one in system.otf.others]
    return [own, *others]


def primitive_atoms(structure: dict[str, Any]) -> Atoms:
    """Return a plan's structure, moments included."""
    from pymatgen.core import Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_atoms(Structure.from_dict(structure), msonable=False)
