"""The model part of a solid's diffusion coefficient: what posterior samples would change about its hops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.crossings import CoefficientShift, coefficient_shift, find_crossings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.analysis.symmetry import FloatArray
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.potentials.base import ForceField
    from mlip_autopipe.schemas.diffusion import DiffusionRun

MOST_CROSSINGS = 40
"""Whose energies are computed, per species and temperature."""
LEAST_CROSSINGS = 5
OVERALL_FRAMES = 80
"""Of all runs together, for the average without regard to hops."""


def shifts_by_species(
    production: DiffusionProduction,
    runs: Sequence[DiffusionRun],
    hop_distances_A: dict[str, float],
    others: Sequence[ForceField],
) -> dict[str, CoefficientShift]:
    """Return what other potentials would change about the coefficient of each species that hops.

    Parameters
    ----------
    production
        Where the runs are stored.
    runs
        Of one temperature, with the mean potential.
    hop_distances_A
        By species.
    others
        The other potentials, for example posterior samples.

    Returns
    -------
    dict
        Without species that cross too seldom to tell.
    """
    cell, own, kelvin = production.cell(runs[0]), production.potential, runs[0].temperature_K
    per_run = max(1, OVERALL_FRAMES // len(runs))
    everywhere: list[NDArray[np.float32]] = []
    crossing: dict[str, list[NDArray[np.float32]]] = {species: [] for species in hop_distances_A}
    for run in runs:  # whose frames are in memory one run at a time
        frames = production.positions(run)[production.transient_frames :]
        everywhere += [frames[k].copy() for k in _spread(len(frames), per_run)]
        for species, distance in hop_distances_A.items():
            found = _crossing_frames(frames, _atoms_of(species, cell), distance)
            crossing[species] += [frames[found[k]].copy() for k in _spread(len(found), MOST_CROSSINGS)]
        del frames
    overall = _differences(everywhere, cell, own, others)
    shifts: dict[str, CoefficientShift] = {}
    for species, at in crossing.items():
        if len(at) >= LEAST_CROSSINGS:
            chosen = [at[k] for k in _spread(len(at), MOST_CROSSINGS)]
            shifts[species] = coefficient_shift(_differences(chosen, cell, own, others), overall, kelvin)
    return shifts


def _spread(n: int, most: int) -> list[int]:
    """Return places in a list of this length, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist() if n else []


def _atoms_of(species: str, cell: Atoms) -> NDArray[np.int64]:
    return np.flatnonzero(np.array(cell.get_chemical_symbols()) == species)


def _crossing_frames(positions_A: NDArray[np.float32], atoms: NDArray[np.int64], hop_distance_A: float) -> list[int]:
    moved = (positions_A - positions_A[0]).astype(float)
    moved -= moved.mean(axis=1, keepdims=True)
    return [one.frame for one in find_crossings(moved[:, atoms], hop_distance_A)]


def _differences(
    frames_A: Sequence[NDArray[np.float32]], cell: Atoms, own: ForceField, others: Sequence[ForceField]
) -> FloatArray:
    """Return energies of the others minus the own one in eV, (frames, others)."""
    rows = []
    for positions in frames_A:
        atoms = cell.copy()
        atoms.positions = positions
        energy = own.predict(atoms).energy_eV
        rows.append([other.predict(atoms).energy_eV - energy for other in others])
    return np.array(rows)
