"""Choose the structures to label: D-optimal for a linear potential, farthest points on descriptors otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.selection.d_optimal import d_optimal_blocks
from mlip_autopipe.selection.descriptors import noise_distances, structure_descriptors
from mlip_autopipe.selection.farthest_point import farthest_points

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.potentials.base import ForceField
    from mlip_autopipe.potentials.polymlp import PolymlpPotential

Method = Literal["auto", "d_optimal", "farthest_point"]

RESOLUTION_A = 0.02
"""Structures that differ by no more than random displacements of this size (Angstrom) are the same."""

MIN_LEVERAGE = 1.0
"""A label is worth its cost where the model's variance for one of its numbers exceeds that of the noise."""


class Weighted(Protocol):
    """A structure that knows which numbers of its label count: an `EmbeddedCell` or a `Configuration`."""

    @property
    def atoms(self) -> Atoms:
        """The structure."""

    @property
    def force_weights(self) -> NDArray[np.float64]:
        """One weight per atom."""

    @property
    def energy_weight(self) -> float:
        """Weight of the energy."""

    @property
    def stress_weight(self) -> float:
        """Weight of the stress."""


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes
    ----------
    indices
        Places of the chosen candidates, the most valuable first.
    method
        How they were chosen.
    scores
        ``d_optimal``: information of each label in nats; ``farthest_point``: distance of each to the nearest
        structure chosen before, infinite for the first of all.
    duplicates
        Places of candidates left out since they are copies of known or earlier ones.
    shortfall
        Why there are fewer than asked for, in one sentence; None when there are not.
    """

    indices: tuple[int, ...]
    method: Literal["d_optimal", "farthest_point"]
    scores: tuple[float, ...]
    duplicates: tuple[int, ...]
    shortfall: str | None


def select_configurations(
    candidates: Sequence[Atoms | Weighted],
    n: int,
    *,
    potential: ForceField | None = None,
    method: Method = "auto",
    trained: Sequence[Atoms] = (),
    pending: Sequence[Atoms | Weighted] = (),
) -> Selection:
    """Choose the candidates whose labels say most.

    Near-duplicates go first: a candidate whose descriptor is no farther from a known structure or an earlier
    candidate than random displacements of 0.02 Angstrom would move it. Among the others, with a linear potential
    those that shrink the volume of its posterior most, and none whose numbers are all predicted within the noise
    already (leverage up to 1); with any other potential, or none, those farthest from all known ones.

    Parameters
    ----------
    candidates
        Structures; an `EmbeddedCell` or `Configuration` brings its mask and weights.
    n
        How many at most.
    potential
        The current potential.
    method
        ``auto``: D-optimal if the potential is linear and knows all elements, else farthest points.
    trained
        Structures that the potential was trained on.
    pending
        Structures chosen before whose labels are not in the potential yet.

    Returns
    -------
    Selection
        Deterministic; of equally good candidates the first is taken.

    Raises
    ------
    InvalidInputError
        `n` is negative, or D-optimal selection is asked for without a linear potential that knows the elements.
    """
    if n < 0:
        raise InvalidInputError(f"the number of structures to select must not be negative but is {n}")
    structures = [_atoms(one) for one in candidates]
    before = [*trained, *(_atoms(one) for one in pending)]
    linear = _linear(potential, [*structures, *(_atoms(one) for one in pending)])
    if method == "d_optimal" and linear is None:
        raise InvalidInputError(
            "D-optimal selection needs a trained polymlp potential that knows all elements; use farthest_point"
        )
    elements = sorted({symbol for atoms in [*structures, *before] for symbol in atoms.get_chemical_symbols()})
    rows = structure_descriptors(structures, elements)
    known = structure_descriptors(before, elements)
    noise = noise_distances(structures, rows, elements, RESOLUTION_A)
    distinct = _distinct(rows, noise, known)
    if linear is not None and method != "farthest_point":
        indices, scores = _d_optimal([candidates[i] for i in distinct], n, linear, pending)
        chosen = tuple(distinct[i] for i in indices)
        used: Literal["d_optimal", "farthest_point"] = "d_optimal"
        rest = "the potential predicts the others within its noise"
    else:
        found = farthest_points(
            np.vstack([known, rows[distinct]]) if len(known) else rows[distinct],
            n,
            chosen=range(len(known)),
            min_distance=np.concatenate([np.zeros(len(known)), noise[distinct]]),
        )
        chosen, scores = tuple(distinct[i - len(known)] for i in found.indices), found.distances
        used, rest = "farthest_point", "the others are copies"
    duplicates = tuple(i for i in range(len(structures)) if i not in set(distinct))
    shortfall = None
    if len(chosen) < n:
        copies = f", {len(duplicates)} of them copies" if duplicates else ""
        more = f"; {rest}" if len(chosen) < len(distinct) else ""
        shortfall = f"{len(chosen)} of {n} structures chosen from {len(structures)} candidates{copies}{more}"
    return Selection(chosen, used, tuple(scores), duplicates, shortfall)


def label_rows(potential: PolymlpPotential, candidate: Atoms | Weighted) -> NDArray[np.float64]:
    """Return how the numbers of a label depend on the coefficients, in units of their noise.

    Parameters
    ----------
    potential
        A trained linear potential; it gives features and noises.
    candidate
        Structure; masked forces, and energy or stress of weight 0, have no rows.

    Returns
    -------
    ndarray
        Shape (numbers that count, coefficients).
    """
    from mlip_autopipe.potentials.dataset import composition
    from mlip_autopipe.potentials.polymlp_features import feature_rows

    atoms = _atoms(candidate)
    weights, energy, stress = _weights(candidate)
    model, noise = potential.model, potential.posterior.noise
    (features,) = feature_rows(model.features, model.elements, [atoms])
    none = np.zeros(len(model.elements))
    blocks: list[NDArray[np.float64]] = []
    if "energy" in noise and energy > 0:
        row = np.concatenate([features.energy, composition(atoms, model.elements)]) / len(atoms)
        blocks.append(np.sqrt(energy) * row[None] / noise["energy"])
    if "force" in noise:
        scale = np.sqrt(np.repeat(weights, 3))[:, None] / noise["force"]
        blocks.append((scale * np.hstack([features.forces, np.tile(none, (len(features.forces), 1))]))[scale[:, 0] > 0])
    if "stress" in noise and stress > 0 and atoms.pbc.all():
        blocks.append(np.sqrt(stress) * np.hstack([features.stress, np.tile(none, (6, 1))]) / noise["stress"])
    return np.vstack(blocks) if blocks else np.empty((0, len(features.energy) + len(none)))


def _d_optimal(
    candidates: Sequence[Atoms | Weighted], n: int, potential: PolymlpPotential, pending: Sequence[Atoms | Weighted]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    blocks = [label_rows(potential, one) for one in [*pending, *candidates]]
    found = d_optimal_blocks(
        blocks, n, factor=potential.posterior.factor, chosen=range(len(pending)), min_leverage=MIN_LEVERAGE
    )
    return tuple(i - len(pending) for i in found.indices), found.gains_nats


def _distinct(rows: NDArray[np.float64], noise: NDArray[np.float64], known: NDArray[np.float64]) -> list[int]:
    kept: list[int] = []
    for i, row in enumerate(rows):
        others = np.vstack([known.reshape(-1, len(row)), rows[kept]])
        if not (np.linalg.norm(others - row, axis=1) <= noise[i]).any():
            kept.append(i)
    return kept


def _linear(potential: ForceField | None, structures: Sequence[Atoms]) -> PolymlpPotential | None:
    """Return the potential if its posterior is that of a linear model which has coefficients for all these atoms."""
    from mlip_autopipe.potentials.polymlp import PolymlpPotential

    if not isinstance(potential, PolymlpPotential) or not potential.elements:
        return None
    unknown = {s for atoms in structures for s in atoms.get_chemical_symbols()} - set(potential.elements)
    return None if unknown else potential


def _weights(candidate: Atoms | Weighted) -> tuple[NDArray[np.float64], float, float]:
    from ase import Atoms as AseAtoms

    if isinstance(candidate, AseAtoms):
        return np.ones(len(candidate)), 1.0, 1.0
    return candidate.force_weights, candidate.energy_weight, candidate.stress_weight


def _atoms(candidate: Atoms | Weighted) -> Atoms:
    from ase import Atoms as AseAtoms

    return candidate if isinstance(candidate, AseAtoms) else candidate.atoms
