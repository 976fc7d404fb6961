"""What the regression of `polymlp` sees of a label: rows of features, and what they must explain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.bayesian_ridge import Kind
from mlip_autopipe.potentials.dataset import Configuration, composition
from mlip_autopipe.potentials.polymlp_features import FeatureSet, feature_rows
from mlip_autopipe.potentials.zbl import ZBL

FloatArray = NDArray[np.float64]

VOIGT: Final = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
"""Places of a matrix in ASE's order."""


@dataclass(frozen=True, eq=False)
class Targets:
    """A label less the baseline and the atomic energies; energy per atom."""

    counts: FloatArray
    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Observations:
    """Numbers of one kind: rows x, shape (n, p), targets y and weights, shape (n,)."""

    kind: Kind
    x: FloatArray
    y: FloatArray
    weights: FloatArray


def targets_of(one: Configuration, elements: Sequence[str], reference_eV: FloatArray, zbl: ZBL) -> Targets:
    """Return what the features must explain of a label.

    Parameters
    ----------
    one
        The label.
    elements, reference_eV
        Chemical symbols and their energies, shape (elements,).
    zbl
        The baseline.
    """
    # a copy: a baseline remembers its last structure
    energy, forces, virial = ZBL(inner=zbl.inner, outer=zbl.outer).evaluate(one.atoms)
    counts = composition(one.atoms, elements)
    found_energy = found_forces = found_stress = None
    if one.energy_eV is not None:
        found_energy = float((one.energy_eV - energy - counts @ reference_eV) / len(one.atoms))
    if one.forces_eV_per_A is not None:
        found_forces = (one.forces_eV_per_A - forces).ravel()
    if one.stress_eV_per_A3 is not None and one.atoms.pbc.all():
        found_stress = one.stress_eV_per_A3 + virial[VOIGT] / one.atoms.get_volume()
    return Targets(counts, found_energy, found_forces, found_stress)


def observations(
    features: FeatureSet, elements: tuple[str, ...], labels: Sequence[Configuration], targets: Sequence[Targets]
) -> Iterator[list[Observations]]:
    """Yield what the regression sees of each label; the columns of the atomic energies come last."""
    rows = feature_rows(features, elements, [one.atoms for one in labels])
    for one, target, x in zip(labels, targets, rows, strict=True):
        found = []
        if target.energy is not None:
            row = np.concatenate([x.energy, target.counts])[None] / len(one.atoms)
            found.append(Observations("energy", row, np.array([target.energy]), np.array([one.energy_weight])))
        if target.forces is not None:
            weights = np.repeat(one.force_weights, 3)
            found.append(Observations("force", _padded(x.forces, elements), target.forces, weights))
        if target.stress is not None:
            weights = np.full(6, one.stress_weight)
            found.append(Observations("stress", _padded(x.stress, elements), target.stress, weights))
        yield found


def in_units_of_noise(label: Sequence[Observations], noise: Mapping[Kind, float]) -> tuple[FloatArray, FloatArray]:
    """Return rows (n, p) and targets (n,) of a label's numbers that count, each over its own noise."""
    scales = [np.sqrt(one.weights) / noise[one.kind] if one.kind in noise else 0 * one.weights for one in label]
    scale = np.concatenate(scales)
    counting = scale > 0
    x, y = np.vstack([one.x for one in label]), np.concatenate([one.y for one in label])
    return x[counting] * scale[counting, None], y[counting] * scale[counting]


def _padded(rows: FloatArray, elements: Sequence[str]) -> FloatArray:
    return np.hstack([rows, np.zeros((len(rows), len(elements)))])
