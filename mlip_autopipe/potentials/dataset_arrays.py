"""A training set as named arrays, for potentials that need their old labels when new ones come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet


def training_arrays(training: TrainingSet) -> tuple[list[str | None], dict[str, NDArray[Any]]]:
    """Return label ids and arrays; a number that is not known is NaN.

    Only numbers, positions, cell and periodicity are kept of a structure.
    """
    each = list(training)
    energies = [np.nan if one.energy_eV is None else one.energy_eV for one in each]
    forces = [np.full((len(c.atoms), 3), np.nan) if c.forces_eV_per_A is None else c.forces_eV_per_A for c in each]
    stresses = [np.full(6, np.nan) if one.stress_eV_per_A3 is None else one.stress_eV_per_A3 for one in each]
    arrays: dict[str, NDArray[Any]] = {
        "sizes": np.array([len(one.atoms) for one in each], int),
        "numbers": np.concatenate([one.atoms.numbers for one in each]),
        "positions_A": np.concatenate([one.atoms.positions for one in each]),
        "cells_A": np.array([one.atoms.cell.array for one in each]),
        "pbc": np.array([one.atoms.pbc for one in each]),
        "energies_eV": np.array(energies, float),
        "forces_eV_per_A": np.concatenate(forces),
        "stresses_eV_per_A3": np.array(stresses),
        "force_weights": np.concatenate([one.force_weights for one in each]),
        "other_weights": np.array([(one.energy_weight, one.stress_weight) for one in each], float),
    }
    return [one.label_id for one in each], arrays


def training_from_arrays(label_ids: list[str | None], arrays: Mapping[str, NDArray[Any]]) -> TrainingSet:
    """Return the training set of `training_arrays`; raises KeyError or ValueError when they do not fit together."""
    from ase import Atoms

    ends = np.cumsum(arrays["sizes"])
    found = []
    for index, (label_id, end) in enumerate(zip(label_ids, ends, strict=True)):
        part = slice(end - arrays["sizes"][index], end)
        energy_weight, stress_weight = arrays["other_weights"][index]
        atoms = Atoms(
            arrays["numbers"][part],
            arrays["positions_A"][part],
            cell=arrays["cells_A"][index],
            pbc=arrays["pbc"][index],
        )
        energy = _known(arrays["energies_eV"][index])
        found.append(
            Configuration(
                atoms,
                energy_eV=None if energy is None else float(energy),
                forces_eV_per_A=_known(arrays["forces_eV_per_A"][part]),
                stress_eV_per_A3=_known(arrays["stresses_eV_per_A3"][index]),
                force_weights=arrays["force_weights"][part],
                energy_weight=float(energy_weight),
                stress_weight=float(stress_weight),
                label_id=label_id,
            )
        )
    return TrainingSet.of(found)


def below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with ``prefix/``, without it."""
    return {key[len(prefix) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{prefix}/")}


def _known(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(values).all() else values
