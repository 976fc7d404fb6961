"""Random alloys on the sites of an element's prototype: their compositions, lattice constants and structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import LatticeGuess, lattice_guess

if TYPE_CHECKING:
    from pymatgen.core import Structure

SEED: Final = 0
VEGARD: Final = "doi:10.1007/BF01349680"
"""Vegard, Zeitschrift fuer Physik 5, 17 (1921): lattice constants of mixed crystals go linearly with composition."""
_SAME: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Alloy:
    """A random alloy in a periodic cell.

    Attributes
    ----------
    name
        As ``Au8Cu24 (fcc)``.
    parent
        Primitive cell of the lattice; its element is a placeholder.
    structure
        Its special quasirandom structure; of a pure element the primitive cell.
    guess
        Where the lattice constant comes from.
    """

    name: str
    parent: Structure
    structure: Structure
    guess: LatticeGuess


def alloy(crystal_structure: str, composition: Mapping[str, float], supercell: Sequence[Sequence[int]]) -> Alloy:
    """Build a random alloy.

    Parameters
    ----------
    crystal_structure
        Prototype of an element: fcc, bcc, hcp, sc or diamond.
    composition
        Atomic fractions by element, which sum to 1; elements with the fraction 0 may be named. The cell takes the
        nearest that it can hold.
    supercell
        Rows: vectors of the cell in those of the primitive one.

    Raises
    ------
    InvalidInputError
        The size of an element is not known, or the cell is too small for one of the elements.
    """
    from ase.build import bulk
    from pymatgen.io.ase import AseAtomsAdaptor

    from mlip_autopipe.generation.sqs import special_quasirandom_structure

    fractions = {symbol: float(x) for symbol, x in composition.items() if x > _SAME}
    guess = vegard(crystal_structure, fractions)
    axial = {} if guess.c_over_a is None else {"covera": guess.c_over_a}
    parent = bulk(next(iter(fractions)), crystal_structure, a=guess.a_A, **axial)
    cell = parent
    if len(fractions) > 1:
        found = special_quasirandom_structure(
            parent, fractions, seed=SEED, supercell=np.array(supercell), rounding="nearest"
        )
        cell = found.atoms
    structure = AseAtomsAdaptor.get_structure(cell)
    symbols = structure.composition.formula.replace(" ", "") if len(fractions) > 1 else next(iter(fractions))
    name = f"{symbols} ({crystal_structure})"
    return Alloy(name, AseAtomsAdaptor.get_structure(parent), structure, guess)


def vegard(crystal_structure: str, composition: Mapping[str, float]) -> LatticeGuess:
    """Guess an alloy's lattice constant as the mean of its elements', weighted with their fractions (Vegard's rule).

    Parameters
    ----------
    crystal_structure
        Prototype of an element.
    composition
        Atomic fractions, which sum to 1.

    Raises
    ------
    InvalidInputError
        The size of an element is not known.
    """
    guesses = {symbol: lattice_guess([symbol], crystal_structure) for symbol in composition}
    if len(guesses) == 1:
        return next(iter(guesses.values()))
    ratios = {symbol: one.c_over_a for symbol, one in guesses.items() if one.c_over_a is not None}
    return LatticeGuess(
        a_A=round(sum(x * guesses[symbol].a_A for symbol, x in composition.items()), 4),
        c_over_a=sum(composition[symbol] * ratio for symbol, ratio in ratios.items()) if ratios else None,
        measured=False,
        basis="mean of the elements' lattice constants, weighted with their fractions (Vegard)",
        source="; ".join(dict.fromkeys([VEGARD, *(one.source for one in guesses.values())])),
    )


def composition_grid(
    elements: Sequence[str], limits: Mapping[str, tuple[float, float]] | None = None
) -> list[dict[str, float]]:
    """Return compositions that span a range: its corners, their midpoints, and its centre.

    For two elements also the quarter points: from pure to pure 0, 1/4, 1/2, 3/4, 1.

    Parameters
    ----------
    elements
        Symbols.
    limits
        Least and largest atomic fraction by element; 0 and 1 where there is none.

    Returns
    -------
    list
        Fractions by element, zeros included; the centre first.

    Raises
    ------
    InvalidInputError
        No composition lies within the limits.
    """
    bounds = [(limits or {}).get(symbol, (0.0, 1.0)) for symbol in elements]
    corners = _corners(bounds)
    if len(corners) == 0:
        raise InvalidInputError("no composition lies within composition_range; widen the limits")
    middles = [(a + b) / 2 for a, b in combinations(corners, 2)]
    points = [np.mean(corners, axis=0), *corners, *middles]
    if len(elements) == 2 and len(corners) == 2:
        points += [(corner + middles[0]) / 2 for corner in corners]
    return [dict(zip(elements, (float(x) for x in point), strict=True)) for point in _distinct(points)]


def _corners(bounds: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Return the corners of the polytope of compositions: all fractions but one at a limit."""
    found = []
    for free in range(len(bounds)):
        others = [bounds[k] for k in range(len(bounds)) if k != free]
        for fixed in product(*others):
            rest = 1 - sum(fixed)
            if bounds[free][0] - _SAME <= rest <= bounds[free][1] + _SAME:
                found.append(np.insert(np.array(fixed, dtype=float), free, max(0.0, rest)))
    return _distinct(found)


def _distinct(points: Sequence[np.ndarray]) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for point in points:
        if all(np.abs(point - one).max() > _SAME for one in kept):
            kept.append(point)
    return kept
