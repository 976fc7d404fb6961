"""Which atoms belong together, and relative to which of them the others move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

IntArray = NDArray[np.int64]


def atom_groups(species: Sequence[str], groups: Mapping[str, Sequence[int]]) -> dict[str, IntArray]:
    """Return the indices of the atoms of each species, then of each further group.

    Raises
    ------
    InvalidInputError
        A group is empty, names atoms that are not there, or is called like a species.
    """
    names = np.array(species)
    # in the order of their first atom
    found = {name: np.flatnonzero(names == name) for name in dict.fromkeys(species)}
    for name, atoms in groups.items():
        indices = np.unique(np.asarray(atoms, dtype=np.int64))
        if name in found:
            raise InvalidInputError(f"A group cannot be called {name!r}: that is a species of the trajectory.")
        if not len(indices) or indices[0] < 0 or indices[-1] >= len(species):
            raise InvalidInputError(f"Group {name!r} must name atoms from 0 to {len(species) - 1}.")
        found[name] = indices
    return found


def reference_weights(
    species: Sequence[str], reference: str | Sequence[str], source: str
) -> tuple[FloatArray | None, float | None]:
    """Return the weights (n,) of the atoms in the motion that is taken out, and the mass of all atoms in amu.

    Parameters
    ----------
    species
        (n,) names.
    reference
        ``"all"``, ``"none"`` (no weights), or the species of a framework.
    source
        The trajectory, for the error message.

    Raises
    ------
    InvalidInputError
        A species of the reference is not there.
    """
    mass, known = masses(species)
    total = float(mass.sum()) if known else None
    if reference == "none":
        return None, total
    wanted = set(species) if reference == "all" else {reference} if isinstance(reference, str) else set(reference)
    if missing := sorted(wanted - set(species)):
        there = ", ".join(dict.fromkeys(species))
        raise InvalidInputError(
            f"{', '.join(missing)} cannot be the reference: {source} holds {there}; or write 'all' or 'none'."
        )
    weights = mass * np.isin(np.array(species), sorted(wanted))
    return weights / weights.sum(), total


def masses(species: Sequence[str]) -> tuple[FloatArray, bool]:
    """Return the (n,) masses in amu, and whether all names are chemical symbols; otherwise all masses are 1."""
    from ase.data import atomic_masses, atomic_numbers

    known = all(name in atomic_numbers and name != "X" for name in set(species))
    if not known:
        return np.ones(len(species)), False
    return np.array([atomic_masses[atomic_numbers[name]] for name in species], dtype=float), True
