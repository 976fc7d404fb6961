"""Screening: candidates that a cheap model calls absurd are not worth a reference calculation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.errors import PredictionError

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.potentials.base import ForceField

MACE_SUFFIX = ".model"

Why = Literal["distance", "prediction", "force", "energy"]


@dataclass(frozen=True)
class ScreeningLimits:
    """What a candidate may be at most; None sets no limit.

    Attributes
    ----------
    min_distance_ratio
        Smallest distance as a fraction of the sum of covalent radii.
    max_force_eV_per_A
        Largest predicted force on an atom.
    max_energy_above_lowest_eV_per_atom
        Predicted energy above the lowest of the same composition.
    """

    min_distance_ratio: float | None = 0.6
    max_force_eV_per_A: float | None = 30.0
    max_energy_above_lowest_eV_per_atom: float | None = 2.0

    def __post_init__(self) -> None:
        for name in ("min_distance_ratio", "max_force_eV_per_A", "max_energy_above_lowest_eV_per_atom"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInputError(f"{name} must be positive (or None for no limit) but is {value}")


@dataclass(frozen=True)
class Dropped:
    """A candidate that is not worth a label.

    Attributes
    ----------
    index
        Its place among the candidates.
    why
        Which limit it broke first: distances are looked at before anything is predicted.
    message
        One sentence with the number and the limit.
    """

    index: int
    why: Why
    message: str


@dataclass(frozen=True)
class Screening:
    """What a screening left.

    Attributes
    ----------
    kept
        Places of the candidates that passed; the most uncertain first if uncertainty was asked for, else in order.
    dropped
        The others, in order.
    energies_eV_per_atom
        Predicted energies of the kept ones, in the order of `kept`.
    force_std_eV_per_A
        Largest predicted standard deviation of a force component in each of the kept ones; None if not asked for.
    """

    kept: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    energies_eV_per_atom: tuple[float, ...]
    force_std_eV_per_A: tuple[float, ...] | None = None


def screen(
    candidates: Sequence[Atoms],
    surrogate: ForceField,
    limits: ScreeningLimits | None = None,
    *,
    known: Sequence[Atoms] = (),
    rank_by_uncertainty: bool = False,
) -> Screening:
    """Drop candidates that the surrogate calls absurd.

    Parameters
    ----------
    candidates
        Structures.
    surrogate
        The current potential, or another model (`load_surrogate`).
    limits
        Defaults when None.
    known
        Structures that are sound, for example the start crystal: their predicted energies count for the lowest, so
        that a batch in which all are absurd does not define its own scale.
    rank_by_uncertainty
        Order the kept ones by the surrogate's largest force uncertainty, which then must be a `Potential`.

    Returns
    -------
    Screening
        Kept and dropped ones, each of the latter with one reason.

    Raises
    ------
    InvalidInputError
        The surrogate has no uncertainty to rank by.
    """
    limits = limits or ScreeningLimits()
    if rank_by_uncertainty and not isinstance(surrogate, Potential):
        raise InvalidInputError("the surrogate has no force uncertainty to rank by; use a potential that has one")
    energies: dict[int, float] = {}
    spreads: dict[int, float] = {}
    dropped: list[Dropped] = []
    for index, atoms in enumerate(candidates):
        try:
            verdict = _too_near(index, atoms, limits) or _too_strong(index, atoms, surrogate, limits, energies)
            if verdict is None and rank_by_uncertainty:
                assert isinstance(surrogate, Potential)
                spreads[index] = float(np.max(surrogate.force_std(atoms)))
        except PredictionError as error:
            verdict = Dropped(index, "prediction", str(error))
        if verdict is not None:
            dropped.append(verdict)
            energies.pop(index, None)
    lowest = _lowest(candidates, energies, known, surrogate)
    for index in list(energies):
        above = energies[index] - lowest[_composition(candidates[index])]
        most = limits.max_energy_above_lowest_eV_per_atom
        if most is not None and above > most:
            message = f"its energy is {above:.2f} eV/atom above the lowest of its composition; the limit is {most:g}"
            dropped.append(Dropped(index, "energy", message))
            del energies[index]
    kept = sorted(energies, key=lambda index: (-spreads.get(index, 0.0), index))
    return Screening(
        tuple(kept),
        tuple(sorted(dropped, key=lambda one: one.index)),
        tuple(energies[index] for index in kept),
        tuple(spreads[index] for index in kept) if rank_by_uncertainty else None,
    )


def load_surrogate(path: str | Path) -> ForceField:
    """Load the model in a file: one of this package's potentials, or a MACE model (``.model``).

    Parameters
    ----------
    path
        The file. A MACE model is a pickle, which can run any program when it is read: use only files that you trust.

    Raises
    ------
    InvalidInputError
        The file cannot be read.
    PotentialFileError
        It holds no potential, or a damaged one.
    EnvironmentProblemError
        What the model needs is not installed.
    """
    from mlip_autopipe.potentials.registry import load_potential

    path = Path(path)
    if path.suffix == MACE_SUFFIX:
        from mlip_autopipe.potentials.mace import force_field_from_mace_file

        return force_field_from_mace_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"the model file {path} cannot be read ({error.strerror}); correct the path") from None
    return load_potential(data)


def _too_near(index: int, atoms: Atoms, limits: ScreeningLimits) -> Dropped | None:
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return Dropped(index, "distance", "a position is not a finite number")
    if limits.min_distance_ratio is None:
        return None
    radii = limits.min_distance_ratio * covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, 2 * float(radii.max()))
    ratios = distances / (radii[first] + radii[second])
    if not (ratios < 1).any():
        return None
    worst = int(np.argmin(ratios))
    i, j = int(first[worst]), int(second[worst])
    allowed = radii[i] + radii[j]
    return Dropped(
        index,
        "distance",
        f"atoms {i} and {j} are {distances[worst]:.2f} A apart; the limit is {allowed:.2f} A",
    )


def _too_strong(
    index: int, atoms: Atoms, surrogate: ForceField, limits: ScreeningLimits, energies: dict[int, float]
) -> Dropped | None:
    """Predict; note the energy unless a force is too large."""
    prediction = surrogate.predict(atoms)
    forces = np.linalg.norm(prediction.forces_eV_per_A, axis=1)
    atom = int(np.argmax(forces))
    most = limits.max_force_eV_per_A
    if most is not None and forces[atom] > most:
        message = f"the force on atom {atom} is {forces[atom]:.1f} eV/A; the limit is {most:g}"
        return Dropped(index, "force", message)
    energies[index] = prediction.energy_eV / len(atoms)
    return None


def _lowest(
    candidates: Sequence[Atoms], energies: dict[int, float], known: Sequence[Atoms], surrogate: ForceField
) -> dict[tuple[tuple[str, int], ...], float]:
    pairs = [(candidates[index], energy) for index, energy in energies.items()]
    pairs += [(atoms, surrogate.predict(atoms).energy_eV / len(atoms)) for atoms in known]
    lowest: dict[tuple[tuple[str, int], ...], float] = {}
    for atoms, energy in pairs:
        key = _composition(atoms)
        lowest[key] = min(energy, lowest.get(key, np.inf))
    return lowest


def _composition(atoms: Atoms) -> tuple[tuple[str, int], ...]:
    """Reduced formula, so that cells of any size compare."""
    counts = Counter(atoms.get_chemical_symbols())
    divisor = gcd(*counts.values())
    return tuple(sorted((symbol, count // divisor) for symbol, count in counts.items()))
