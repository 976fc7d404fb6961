"""All ways to decorate a lattice with elements, up to a size of the cell.

Every superlattice and every labelling of its sites once (doi:10.1103/PhysRevB.77.224115,
doi:10.1103/PhysRevB.80.014120), by icet (doi:10.1002/adts.201900015). Lattice constants go linearly with composition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.generation.alloys import vegard
from mlip_autopipe.generation.lattice import IDEAL_C_OVER_A
from mlip_autopipe.schemas.words import suggestion

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

Subset = tuple[str, ...]
Limits = Mapping[str, tuple[float, float]]
"""Least and largest atomic fraction by element; 0 and 1 where there is none."""

SITES: Final = {"fcc": 1, "bcc": 1, "hcp": 2}
"""Parent lattices, and the sites of their primitive cells."""

LARGEST_CELL: Final = 12
"""Sites; beyond it the enumeration itself takes minutes."""

MOST_OF_ONE_SIZE: Final = 10_000
"""Where no largest number is asked for: of more than these nothing sensible is done."""

_OPERATIONS: Final = {"fcc": 48, "bcc": 48, "hcp": 24}
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Decoration:
    """An ordered structure on a lattice.

    Attributes
    ----------
    parent
        fcc, bcc or hcp.
    atoms
        Primitive cell, Niggli-reduced, in the orientation of the parent's cell by ASE.
    """

    parent: str
    atoms: Atoms


def enumerate_decorations(
    parent: str,
    elements: Sequence[str],
    max_sites: int,
    *,
    composition_range: Limits | None = None,
) -> list[Decoration]:
    """List all inequivalent decorations of a lattice, pure elements included.

    Parameters
    ----------
    parent
        fcc, bcc or hcp.
    elements
        Symbols; not each of them need occur.
    max_sites
        Largest number of atoms in the cell.
    composition_range
        Limits that each structure keeps.

    Returns
    -------
    list
        Smallest cells first, in a fixed order; larger `max_sites` append to it.

    Raises
    ------
    InvalidInputError
        Unknown lattice or element, limits that cannot be met, a size of more than `LARGEST_CELL` sites, or one of which
        there are more than `MOST_OF_ONE_SIZE`.
    EnvironmentProblemError
        icet is not installed.
    """
    check_composition_range(elements, composition_range)
    check_max_sites(max_sites)
    check_parents([parent])
    subsets = _subsets(elements, 1, len(elements))
    found: list[Decoration] = []
    for n_sites in range(1, max_sites + 1):
        _refuse_too_many([parent], subsets, n_sites, composition_range)
    for n_sites in range(1, max_sites + 1):
        found += _of_size(parent, subsets, n_sites, composition_range, None)
    return found


def least_number_of_decorations(
    parent: str, elements: Sequence[str], n_sites: int, composition_range: Limits | None = None
) -> float:
    """Return a lower bound of how many decorations of one size hold all of some elements, without enumerating them.

    Each of them is a pair of a superlattice and a labelling of its sites, and at most as many pairs are the same
    structure as there are symmetry operations and translations.

    Parameters
    ----------
    parent
        fcc, bcc or hcp.
    elements
        Symbols.
    n_sites
        In the cell.
    composition_range
        Limits that each structure keeps.
    """
    n_cells = n_sites // SITES[parent]
    labellings = _number_of_labellings(n_sites, elements, composition_range)
    # those that a translation leaves as they are belong to a smaller cell
    labellings = max(0, labellings - (n_cells - 1) * len(elements) ** (n_sites // 2))
    least: float = _number_of_superlattices(n_cells) * labellings / (n_cells * _OPERATIONS[parent])
    return least


def fitting_decorations(
    parents: Sequence[str],
    elements: Sequence[str],
    *,
    most: int | None,
    max_sites: int | None = None,
    composition_range: Limits | None = None,
) -> list[Decoration]:
    """List decorations up to the largest size at which there are not too many; pure elements are left out.

    All lattices and all elements share the largest size. What then remains is spent on larger cells of fewer elements:
    for four elements of ternary and binary, then of binary compounds.

    Parameters
    ----------
    parents
        Some of fcc, bcc, hcp.
    elements
        Symbols.
    most
        Largest number; None: no limit but that of `enumerate_decorations`.
    max_sites
        Largest number of atoms in a cell; None: `LARGEST_CELL`.
    composition_range
        Limits that each structure keeps.

    Raises
    ------
    InvalidInputError
        As `enumerate_decorations`.
    """
    check_composition_range(elements, composition_range)
    if max_sites is not None:
        check_max_sites(max_sites)
    check_parents(parents)
    largest = LARGEST_CELL if max_sites is None else max_sites
    if most is None:
        for n_sites in range(2, largest + 1):
            _refuse_too_many(parents, _subsets(elements, 2, len(elements)), n_sites, composition_range)
    found: list[Decoration] = []
    n_sites = 2
    for most_elements in range(len(elements), 1, -1):
        while n_sites <= largest:
            room = None if most is None else most - len(found)
            shell = _shell(parents, elements, most_elements, n_sites, composition_range, room)
            if shell is None:
                break
            found += shell
            n_sites += 1
    return found


def check_composition_range(elements: Sequence[str], limits: Limits | None) -> None:
    """Refuse limits that are no fractions, name other elements, or cannot be met.

    Raises
    ------
    InvalidInputError
        One sentence.
    """
    limits = limits or {}
    for symbol, (low, high) in limits.items():
        if symbol not in elements:
            raise InvalidInputError(
                f"composition_range names {symbol}, which is none of the elements {', '.join(elements)}"
            )
        if not 0 <= low <= high <= 1:
            raise InvalidInputError(
                f"composition_range of {symbol} is {low:g} to {high:g}; give two fractions from 0 to 1, the least first"
            )
    least, most = (sum(limits.get(symbol, (0.0, 1.0))[end] for symbol in elements) for end in (0, 1))
    if least > 1 + _TOLERANCE or most < 1 - _TOLERANCE:
        what = f"least fractions sum to {least:g}" if least > 1 else f"largest fractions sum to {most:g}"
        raise InvalidInputError(
            f"composition_range cannot be met, because the {what} and fractions sum to 1; widen the limits"
        )


def check_parents(parents: Sequence[str]) -> None:
    """Refuse lattices that are unknown or named twice, and none at all.

    Raises
    ------
    InvalidInputError
        One sentence.
    """
    for parent in parents:
        if parent not in SITES:
            raise InvalidInputError(f"{parent!r} is no lattice that can be decorated{suggestion(parent, SITES)}")
    if not parents or len(set(parents)) < len(parents):
        raise InvalidInputError(f"parents must name each lattice once: some of {', '.join(SITES)}")


def check_max_sites(max_sites: int) -> None:
    """Refuse sizes that are not positive or take too long."""
    if not 1 <= max_sites <= LARGEST_CELL:
        raise InvalidInputError(f"max_sites is {max_sites}; enumerated cells have from 1 to {LARGEST_CELL} atoms")


def within(composition: Mapping[str, float], limits: Limits | None) -> bool:
    """Whether atomic fractions keep the limits; elements that are not named count as absent."""
    return all(
        low - _TOLERANCE <= composition.get(symbol, 0.0) <= high + _TOLERANCE
        for symbol, (low, high) in (limits or {}).items()
    )


def _shell(
    parents: Sequence[str],
    elements: Sequence[str],
    most_elements: int,
    n_sites: int,
    limits: Limits | None,
    room: int | None,
) -> list[Decoration] | None:
    """Return the decorations of one size by two to some elements, or None when they are more than there is room for."""
    subsets = _subsets(elements, 2, most_elements)
    if room is not None and _least(parents, subsets, n_sites, limits) > room:
        return None
    found: list[Decoration] = []
    for parent in parents:
        found += _of_size(parent, subsets, n_sites, limits, None if room is None else room - len(found))
        if room is not None and len(found) > room:
            return None
    return found


def _least(parents: Sequence[str], subsets: Sequence[Subset], n_sites: int, limits: Limits | None) -> float:
    return sum(
        least_number_of_decorations(parent, subset, n_sites, limits)
        for parent in parents
        if n_sites % SITES[parent] == 0
        for subset in subsets
    )


def _refuse_too_many(parents: Sequence[str], subsets: Sequence[Subset], n_sites: int, limits: Limits | None) -> None:
    if (least := _least(parents, subsets, n_sites, limits)) > MOST_OF_ONE_SIZE:
        raise InvalidInputError(
            f"{', '.join(parents)} have more than {least:.0f} decorations with {n_sites} atoms; choose a smaller "
            "max_sites, or fewer elements, or narrower limits of composition"
        )


def _of_size(
    parent: str, subsets: Sequence[Subset], n_sites: int, limits: Limits | None, most: int | None
) -> list[Decoration]:
    """Return decorations of one size in which all elements of one of the subsets occur; at least one above `most`."""
    found: list[Decoration] = []
    n_cells = n_sites // SITES[parent]
    if n_sites % SITES[parent]:
        return found
    alike: dict[tuple[tuple[float, float], ...], list[Subset]] = {}
    for subset in subsets:
        # a crystal of one element is one of the smallest cell
        if (len(subset) > 1 or n_cells == 1) and _counts(n_sites, subset, limits):
            ends = ((limits or {}).get(symbol, (0.0, 1.0)) for symbol in subset)
            alike.setdefault(tuple((max(low, 1 / n_sites), high) for low, high in ends), []).append(subset)
    for ranges, group in alike.items():
        room = None if most is None else (most - len(found)) // len(group) + 1
        labelled = list(islice(_labelled(parent, n_cells, ranges), room))
        found += (Decoration(parent, atoms) for subset in group for atoms in _with_elements(parent, labelled, subset))
        if most is not None and len(found) > most:
            break
    return found


def _labelled(parent: str, n_cells: int, ranges: Sequence[tuple[float, float]]) -> Iterator[Atoms]:
    """Yield decorations of the unit lattice by as many placeholders (H, He, ...) as there are ranges of fractions."""
    from ase.data import chemical_symbols

    try:
        from icet.tools import enumerate_structures  # type: ignore[import-untyped, import-not-found]
    except ModuleNotFoundError:
        raise EnvironmentProblemError(
            "enumerating decorations needs icet: pip install 'mlip-autopipe[alloys]'"
        ) from None
    names = chemical_symbols[1 : len(ranges) + 1]
    yield from enumerate_structures(_unit_cell(parent), [n_cells], names, dict(zip(names, ranges, strict=True)))


def _with_elements(parent: str, labelled: Sequence[Atoms], elements: Subset) -> Iterator[Atoms]:
    """Yield the decorations with elements instead of placeholders and with the size that belongs to them."""
    inverse = np.linalg.inv(_unit_cell(parent).cell.array)
    cells: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for one in labelled:
        symbols = [elements[number - 1] for number in one.numbers]
        counts = tuple(symbols.count(symbol) for symbol in elements)
        if counts not in cells:
            cells[counts] = _parent_cell(parent, {s: n / len(one) for s, n in zip(elements, counts, strict=True)})
        atoms = one.copy()
        atoms.symbols = symbols
        atoms.set_cell(np.round(one.cell.array @ inverse) @ cells[counts], scale_atoms=True)
        yield atoms


def _subsets(elements: Sequence[str], least: int, most: int) -> list[Subset]:
    return [subset for count in range(least, most + 1) for subset in combinations(sorted(elements), count)]


def _counts(n_sites: int, elements: Sequence[str], limits: Limits | None) -> list[tuple[int, ...]]:
    """Return all numbers of atoms by element, none of them 0, that keep the limits."""
    found = []
    for ends in combinations(range(1, n_sites), len(elements) - 1):
        counts = tuple(b - a for a, b in pairwise((0, *ends, n_sites)))
        if within({symbol: n / n_sites for symbol, n in zip(elements, counts, strict=True)}, limits):
            found.append(counts)
    return found


def _number_of_labellings(n_sites: int, elements: Sequence[str], limits: Limits | None) -> int:
    total = 0
    for counts in _counts(n_sites, elements, limits):
        ways, left = 1, n_sites
        for count in counts:
            ways *= comb(left, count)
            left -= count
        total += ways
    return total


def _number_of_superlattices(n_cells: int) -> int:
    """Hermite normal forms of one determinant."""
    return sum(d * c for d in range(1, n_cells + 1) if n_cells % d == 0 for c in range(1, d + 1) if d % c == 0)


def _unit_cell(parent: str) -> Atoms:
    from ase.build import bulk

    axial = {"covera": IDEAL_C_OVER_A} if parent == "hcp" else {}
    return bulk("X", parent, a=1.0, **axial)


def _parent_cell(parent: str, composition: Mapping[str, float]) -> NDArray[np.float64]:
    guess = vegard(parent, composition)
    cell = _unit_cell(parent).cell.array * guess.a_A
    if guess.c_over_a is not None:
        cell[:, 2] *= guess.c_over_a / IDEAL_C_OVER_A
    return np.asarray(cell)
