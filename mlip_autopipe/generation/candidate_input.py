"""What candidates are made of: elements of known size, and structures that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import lattice_guess
from mlip_autopipe.schemas.words import suggestion

if TYPE_CHECKING:
    from ase import Atoms


def checked_elements(elements: Sequence[str]) -> list[str]:
    """Return the elements of a system in alphabetical order.

    Raises
    ------
    InvalidInputError
        Fewer than two, one twice, or an unknown symbol.
    """
    from ase.data import atomic_numbers

    for symbol in elements:
        if atomic_numbers.get(symbol, 0) < 1:
            raise InvalidInputError(f"{symbol!r} is no chemical element{suggestion(symbol, list(atomic_numbers)[1:])}")
    if len(set(elements)) < 2 or len(set(elements)) < len(elements):
        raise InvalidInputError(
            f"a phase diagram needs two different elements at least, each named once, but the elements are "
            f"{', '.join(elements) or 'none'}"
        )
    return sorted(elements)


def atomic_volume_A3(symbol: str) -> float:
    """Return the volume of an element's atom in a close-packed crystal.

    Raises
    ------
    InvalidInputError
        The size of the element is not known.
    """
    try:
        return lattice_guess([symbol], "fcc").a_A ** 3 / 4
    except InvalidInputError as error:
        why = str(error).split(", so ")[0]
        raise InvalidInputError(
            f"candidates that hold {symbol} cannot be built, because {why}; leave this element out"
        ) from None


def crystal_atoms(structure: Any, origin: str) -> Atoms:
    """Return ASE's Atoms or pymatgen's Structure as Atoms.

    Raises
    ------
    InvalidInputError
        It is no crystal, or atoms overlap; one sentence that starts with `origin`.
    """
    from pymatgen.core import Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    from mlip_autopipe.generation.files import check_structure

    if isinstance(structure, Structure):
        check_structure(structure, origin=origin)
        return AseAtomsAdaptor.get_atoms(structure, msonable=False)
    if not structure.pbc.all() or structure.cell.rank < 3 or len(structure) == 0:
        raise InvalidInputError(f"{origin} is no crystal; give a cell that is periodic in three directions")
    check_structure(AseAtomsAdaptor.get_structure(structure), origin=origin)
    return structure.copy()
