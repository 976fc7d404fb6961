"""What a MACE committee learns from: labels without the baseline, their statistics, and the errors that remain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.base import ForceField
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet, least_squares_atomic_energies
from mlip_autopipe.potentials.errors import TrainingError
from mlip_autopipe.potentials.zbl import ZBL

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

WEIGHT: Final = "force_weight"
"""Name under which the weights of the forces travel to the loss."""


def check_training(training: TrainingSet) -> None:
    """Raise `TrainingError` when there is nothing to learn from."""
    if len(training) == 0:
        raise TrainingError("the training set is empty; label at least one configuration")
    for one in training:
        energy = one.energy_eV is not None and one.energy_weight > 0
        forces = one.forces_eV_per_A is not None and one.force_weights.any()
        if energy or forces or (one.stress_eV_per_A3 is not None and one.stress_weight > 0):
            return
    raise TrainingError("the training set holds no number with a positive weight; there is nothing to learn from")


def frame(one: Configuration, zbl: ZBL) -> Atoms:
    """Return what mace-torch shall learn: labels less the baseline, without the numbers that have weight 0."""
    from ase import Atoms

    atoms = Atoms(one.atoms.numbers, one.atoms.positions, cell=one.atoms.cell, pbc=one.atoms.pbc)
    energy, forces, virial = zbl.evaluate(atoms)
    counts = one.force_weights > 0
    atoms.set_array(WEIGHT, one.force_weights if one.forces_eV_per_A is not None else np.zeros(len(atoms)))
    if one.energy_eV is not None and one.energy_weight > 0:
        atoms.info |= {"REF_energy": one.energy_eV - energy, "config_energy_weight": one.energy_weight}
    if one.forces_eV_per_A is not None and counts.any():
        atoms.set_array("REF_forces", np.where(counts[:, None], one.forces_eV_per_A - forces, 0.0))
    if one.stress_eV_per_A3 is not None and one.stress_weight > 0 and atoms.pbc.all():
        stress = one.stress_eV_per_A3[[0, 5, 4, 5, 1, 3, 4, 3, 2]] + virial.ravel() / atoms.get_volume()
        atoms.info |= {"REF_stress": stress, "config_stress_weight": one.stress_weight}
    return atoms


def statistics(frames: Sequence[Atoms], atomic_energies_eV: Mapping[str, float], cutoff_A: float) -> dict[str, Any]:
    """Return options of ``mace_run_train`` that it would take from the labels itself, masked forces included.

    The interaction energy per atom is scaled by the size of the forces and shifted by its mean.
    """
    from ase.neighborlist import neighbor_list

    energies, forces = [], [np.empty((0, 3))]
    for one in frames:
        if "REF_energy" in one.info:
            alone = sum(atomic_energies_eV[symbol] for symbol in one.symbols)
            energies.append((one.info["REF_energy"] - alone) / len(one))
        if "REF_forces" in one.arrays:
            forces.append(one.arrays["REF_forces"][one.arrays[WEIGHT] > 0])
    squares = np.concatenate(forces) ** 2
    scale = float(np.sqrt(squares.mean())) if squares.size else 0.0
    pairs = sum(len(neighbor_list("i", one, cutoff_A)) for one in frames)
    return {
        "mean": float(np.mean(energies)) if energies else 0.0,
        "std": scale if scale > 1e-6 else 1.0,
        "compute_avg_num_neighbors": False,
        "avg_num_neighbors": max(pairs / sum(map(len, frames)), 1.0),
    }


def atomic_energies(training: TrainingSet, zbl: ZBL, model: ForceField | None = None) -> dict[str, float]:
    """Return energies per element, in eV, that explain best what baseline and model leave of the labels' energies."""

    def rest(one: Configuration) -> Configuration:
        if one.energy_eV is None:
            return one
        known = zbl.evaluate(one.atoms)[0] + (0.0 if model is None else model.predict(one.atoms).energy_eV)
        return replace(one, energy_eV=one.energy_eV - known)

    return least_squares_atomic_energies([rest(one) for one in training], training.elements)


def training_errors(force_field: ForceField, training: Iterable[Configuration]) -> dict[str, float]:
    """Return root mean squares over what has a weight: energy (eV/atom), force (eV/A), stress (eV/A^3)."""
    squares: dict[str, list[FloatArray]] = {"energy": [], "force": [], "stress": []}
    for one in training:
        found = force_field.predict(one.atoms)
        if one.energy_eV is not None and one.energy_weight > 0:
            squares["energy"].append(np.array([(found.energy_eV - one.energy_eV) / len(one.atoms)]))
        if one.forces_eV_per_A is not None:
            squares["force"].append((found.forces_eV_per_A - one.forces_eV_per_A)[one.force_weights > 0].ravel())
        if one.stress_eV_per_A3 is not None and one.stress_weight > 0 and one.atoms.pbc.all():
            squares["stress"].append(found.stress_eV_per_A3 - one.stress_eV_per_A3)
    joined = {kind: np.concatenate(parts) for kind, parts in squares.items() if parts}
    return {kind: float(np.sqrt((values**2).mean())) for kind, values in joined.items() if values.size}
