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
    frames = [production.positions(run)[production.transient_frames :] for run in runs]
    cell = production.cell(runs[0])
    every = max(1, sum(map(len, frames)) // OVERALL_FRAMES)
    own, kelvin = production.potential, runs[0].temperature_K
    overall = _differences([one[k] for one in frames for k in range(0, len(one), every)], cell, own, others)
    found: dict[str, CoefficientShift] = {}
    for species, distance in hop_distances_A.items():
        crossing = [one[k] for one in frames for k in _crossing_frames(one, _atoms_of(species, cell), distance)]
        if len(crossing) >= LEAST_CROSSINGS:
            chosen = np.unique(np.linspace(0, len(crossing) - 1, MOST_CROSSINGS).round().astype(int))
            on_surface = _differences([crossing[k] for k in chosen], cell, own, others)
            found[species] = coefficient_shift(on_surface, overall, kelvin)
    return found


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
