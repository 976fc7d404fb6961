"""Start structures from a prototype's name: primitive cells in the standard orientation.

Cubic prototypes have their cube axes along x, y, z; hexagonal ones have c along z and a along x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import ASE_TABLE, LatticeGuess, lattice_guess
from mlip_autopipe.schemas.config import COMPOSITION_TOLERANCE, CRYSTAL_STRUCTURES
from mlip_autopipe.schemas.words import suggestion

if TYPE_CHECKING:
    from pymatgen.core import Structure

ELEMENT_PROTOTYPES = ("sc", "fcc", "bcc", "hcp", "diamond")
BINARY_PROTOTYPES = ("rocksalt", "cesiumchloride", "zincblende", "wurtzite")

_GIVE_A_FILE = "give target_system.structure (a POSCAR, CIF or extxyz file) instead"


def prototype_structure(
    elements: list[str], crystal_structure: str, composition: dict[str, float] | None = None
) -> Structure:
    """Build the primitive cell of a prototype.

    Parameters
    ----------
    elements
        One symbol for sc, fcc, bcc, hcp and diamond; two for rocksalt, cesiumchloride, zincblende and
        wurtzite.
    crystal_structure
        Name of the prototype.
    composition
        Atomic fractions; they must be the prototype's.

    Returns
    -------
    Structure
        Primitive cell, lattice constants from `lattice_guess` (Angstrom).

    Raises
    ------
    InvalidInputError
        The prototype is unknown, needs another number of elements, or the composition is not its own (a
        random alloy on the prototype's sites).
    """
    _check(elements, crystal_structure, composition)
    return _build(elements, crystal_structure, lattice_guess(elements, crystal_structure))


def ground_state_structure(symbol: str) -> tuple[str, Structure, LatticeGuess]:
    """Build the primitive cell of an element in its ground-state structure.

    Parameters
    ----------
    symbol
        Chemical symbol.

    Returns
    -------
    name, structure, guess
        Name of the structure (a prototype, or ``bct`` or ``rhombohedral``), its primitive cell, and where the
        lattice constant comes from.

    Raises
    ------
    InvalidInputError
        When the ground state is molecular, unknown, or too complex to be built from a name.
    """
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    state = reference_states[atomic_numbers[symbol]] or {}
    name = str(state.get("symmetry", "unknown"))
    if name in ELEMENT_PROTOTYPES and state.get("basis", "ideal") != "ideal":
        name = "chain"  # selenium and tellurium: hexagonal cells of helical chains, listed as hcp
    if name in ELEMENT_PROTOTYPES:
        guess = lattice_guess([symbol], name)
        return name, _build([symbol], name, guess), guess
    if name in ("bct", "rhombohedral"):
        guess = LatticeGuess(
            a_A=float(state["a"]),
            c_over_a=float(state["c/a"]) if "c/a" in state else None,
            measured=True,
            basis=f"measured lattice constant of {symbol} in its {name} ground state",
            source=ASE_TABLE,
        )
        return name, _structure(bulk(symbol)), guess
    what = {
        "diatom": "is a molecule",
        "atom": "is an atomic gas",
        "chain": "consists of helical chains",
        "unknown": "is not tabulated",
    }.get(name, f"is {name} with many or free atomic positions")
    raise InvalidInputError(
        f"the ground-state structure of {symbol} {what} and cannot be built from its name; "
        f"choose target_system.crystal_structure ({', '.join(ELEMENT_PROTOTYPES)}) or "
        f"{_GIVE_A_FILE.removesuffix(' instead')}"
    )


def _check(elements: list[str], crystal_structure: str, composition: dict[str, float] | None) -> None:
    if crystal_structure not in CRYSTAL_STRUCTURES:
        raise InvalidInputError(
            f"crystal_structure {crystal_structure!r} is unknown{suggestion(crystal_structure, CRYSTAL_STRUCTURES)}"
        )
    n_sites = 1 if crystal_structure in ELEMENT_PROTOTYPES else 2
    if n_sites == 2 and len(elements) == 1:
        raise InvalidInputError(
            f"crystal_structure {crystal_structure} needs two elements but only {elements[0]} is given; "
            f"name two, or choose {', '.join(ELEMENT_PROTOTYPES)}"
        )
    if len(elements) > n_sites or (composition and not _has_equal_fractions(composition)):
        raise InvalidInputError(
            f"{', '.join(elements)} on the sites of {crystal_structure} is a random alloy, for which no cell can "
            f"be built in this version; {_GIVE_A_FILE}"
        )


def _has_equal_fractions(composition: dict[str, float]) -> bool:
    return all(abs(x - 1 / len(composition)) < COMPOSITION_TOLERANCE for x in composition.values())


def _build(elements: list[str], crystal_structure: str, guess: LatticeGuess) -> Structure:
    from ase.build import bulk

    axial = {} if guess.c_over_a is None else {"covera": guess.c_over_a}
    return _structure(bulk("".join(elements), crystal_structure, a=guess.a_A, **axial))


def _structure(atoms: object) -> Structure:
    from pymatgen.core import Structure

    return Structure(
        atoms.cell.array,  # type: ignore[attr-defined]
        atoms.get_chemical_symbols(),  # type: ignore[attr-defined]
        atoms.get_scaled_positions(),  # type: ignore[attr-defined]
    )
