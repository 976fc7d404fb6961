"""What a training set spans: the range in which a potential interpolates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.potentials.dataset import Configuration, composition
from mlip_autopipe.schemas.model_card import Range, RangeOfValidity

if TYPE_CHECKING:
    from ase import Atoms

NEIGHBOUR_REACH: Final = 1.3
"""Neighbours are looked for up to this many times the diameter of the largest atom (covalent radii)."""


def range_of_validity(
    configurations: Iterable[Configuration], *, temperature_K: Range | None = None
) -> RangeOfValidity:
    """Return the ranges of volume, composition, distances and forces of some configurations.

    Pairs of masked atoms do not count where the energy does not count either: nothing was learned of them. Pairs of
    elements that are never neighbours have no entry.

    Parameters
    ----------
    configurations
        What a potential was trained on.
    temperature_K
        Of the dynamics that they come from, if known.
    """
    configurations = list(configurations)
    elements = sorted({symbol for one in configurations for symbol in one.atoms.get_chemical_symbols()})
    volumes = [one.atoms.get_volume() / len(one.atoms) for one in configurations if one.atoms.pbc.all()]
    fractions = np.array([composition(one.atoms, elements) / len(one.atoms) for one in configurations])
    distances: dict[str, float] = {}
    for one in configurations:
        for pair, distance in _shortest(one).items():
            distances[pair] = min(distance, distances.get(pair, np.inf))
    return RangeOfValidity(
        temperature_K=temperature_K,
        volume_per_atom_A3=_range(volumes),
        composition={element: _known(fractions[:, k]) for k, element in enumerate(elements)},
        shortest_distance_A=dict(sorted(distances.items())),
        largest_force_eV_per_A=max((f for one in configurations for f in _forces(one)), default=None),
    )


def _shortest(one: Configuration) -> dict[str, float]:
    first, second, distances = _neighbours(one.atoms)
    if one.energy_eV is None or one.energy_weight == 0:
        known = (one.force_weights[first] > 0) | (one.force_weights[second] > 0)
        first, second, distances = first[known], second[known], distances[known]
    numbers = one.atoms.numbers
    kinds = np.sort(np.stack([numbers[first], numbers[second]], axis=1), axis=1)
    return {
        _pair_name(a, b): float(distances[(kinds == (a, b)).all(axis=1)].min()) for a, b in np.unique(kinds, axis=0)
    }


def _neighbours(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    reach = NEIGHBOUR_REACH * 2 * float(covalent_radii[atoms.numbers].max(initial=0.0))
    first, second, distances = neighbor_list("ijd", atoms, reach)
    return first, second, distances


def _pair_name(a: int, b: int) -> str:
    from ase.data import chemical_symbols

    return "-".join(sorted((chemical_symbols[a], chemical_symbols[b])))


def _forces(one: Configuration) -> list[float]:
    if one.forces_eV_per_A is None:
        return []
    return [float(f) for f in np.linalg.norm(one.forces_eV_per_A[one.force_weights > 0], axis=1)]


def _known(values: np.ndarray) -> Range:
    return float(values.min()), float(values.max())


def _range(values: list[float]) -> Range | None:
    return (float(min(values)), float(max(values))) if values else None
