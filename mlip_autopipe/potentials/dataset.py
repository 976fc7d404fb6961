"""Training sets: configurations with what the reference engine says of them, and what counts how much.

Units are ASE's: eV, eV/A, eV/A^3; stress positive under tension, in the order xx yy zz yz xz xy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.potentials.errors import TrainingError
from mlip_autopipe.potentials.extxyz import read_extxyz, write_extxyz
from mlip_autopipe.schemas.label import ReferenceLabel

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Configuration:
    """One structure with energy, forces and stress; None where a number is not known.

    Attributes
    ----------
    atoms
        The structure, without a calculator.
    energy_eV
        Of the cell.
    forces_eV_per_A
        Shape (n, 3).
    stress_eV_per_A3
        Shape (6,).
    force_weights
        Shape (n,); 0 masks an atom's force, e.g. in the buffer of an embedded cell.
    energy_weight, stress_weight
        0 leaves the number out.
    label_id
        Where the numbers come from.
    """

    atoms: Atoms
    energy_eV: float | None = None
    forces_eV_per_A: FloatArray | None = None
    stress_eV_per_A3: FloatArray | None = None
    force_weights: FloatArray = field(default_factory=lambda: np.empty(0))
    energy_weight: float = 1.0
    stress_weight: float = 1.0
    label_id: str | None = None

    def __post_init__(self) -> None:
        n = len(self.atoms)
        weights = np.ones(n) if len(self.force_weights) == 0 else np.array(self.force_weights, float)
        object.__setattr__(self, "force_weights", weights)
        for name, shape in (("forces_eV_per_A", (n, 3)), ("stress_eV_per_A3", (6,))):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.array(value, float))
                self._check_shape(name, np.shape(value), shape)
        self._check_shape("force_weights", weights.shape, (n,))
        if not self._is_finite():
            raise TrainingError(f"{self.description} holds a number that is not finite; leave this label out")
        if weights.min(initial=0) < 0 or self.energy_weight < 0 or self.stress_weight < 0:
            raise TrainingError(f"{self.description} has a negative weight; weights are 0 (left out) or positive")

    @property
    def description(self) -> str:
        """What a message calls this configuration."""
        name = f" (label {self.label_id[:12]})" if self.label_id else ""
        return f"configuration {self.atoms.get_chemical_formula()}{name}"

    @classmethod
    def from_label(cls, label: ReferenceLabel, force_weights: ArrayLike | None = None) -> Configuration:
        """Return the configuration of a label.

        Raises
        ------
        TrainingError
            The label has failed.
        """
        if label.state != "done":
            raise TrainingError(f"label {label.label_id[:12]} has no numbers: {label.failure}; leave it out")
        return cls(
            atoms=atoms_of(label.structure),
            energy_eV=label.energy_eV,
            forces_eV_per_A=_array(label.forces_eV_per_A),
            stress_eV_per_A3=_array(label.stress_eV_per_A3),
            force_weights=np.empty(0) if force_weights is None else np.array(force_weights, float),
            label_id=label.label_id,
        )

    def _check_shape(self, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if found != wanted:
            raise TrainingError(f"{self.description}: {name} has shape {found}, not {wanted}")

    def _is_finite(self) -> bool:
        numbers = (self.energy_eV, self.forces_eV_per_A, self.stress_eV_per_A3, self.force_weights)
        values = (*numbers, self.atoms.positions, self.atoms.cell.array)
        return all(np.isfinite(np.asarray(value, float)).all() for value in values if value is not None)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Configurations to train on, in the order in which they came."""

    configurations: tuple[Configuration, ...]

    @classmethod
    def of(cls, configurations: Iterable[Configuration]) -> TrainingSet:
        """Return the set of some configurations."""
        return cls(tuple(configurations))

    @classmethod
    def from_labels(
        cls, labels: Iterable[ReferenceLabel], force_weights: Mapping[str, ArrayLike] | None = None
    ) -> TrainingSet:
        """Return the set of all labels that are done; failed ones are left out.

        Parameters
        ----------
        labels
            Documents of the reference engine.
        force_weights
            Per label id: one weight per atom. All 1 where there is no entry.
        """
        weights = force_weights or {}
        done = (label for label in labels if label.state == "done")
        return cls.of(Configuration.from_label(label, weights.get(label.label_id)) for label in done)

    def __len__(self) -> int:
        return len(self.configurations)

    def __iter__(self) -> Iterator[Configuration]:
        return iter(self.configurations)

    def __add__(self, more: Iterable[Configuration]) -> TrainingSet:
        return TrainingSet((*self.configurations, *more))

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        from ase.data import chemical_symbols

        numbers = sorted({int(z) for one in self for z in one.atoms.numbers})
        return tuple(chemical_symbols[z] for z in numbers)

    @property
    def force_components(self) -> int:
        """How many force components count."""
        return sum(3 * int((c.force_weights > 0).sum()) for c in self if c.forces_eV_per_A is not None)

    def write_extxyz(self, path: str | Path) -> None:
        """Write extended XYZ, see `extxyz.write_extxyz`."""
        write_extxyz(path, self)

    @classmethod
    def read_extxyz(cls, path: str | Path) -> TrainingSet:
        """Read extended XYZ; raises as `extxyz.read_extxyz`."""
        return cls.of(read_extxyz(path))


def least_squares_atomic_energies(training: Iterable[Configuration], elements: Sequence[str]) -> dict[str, float]:
    """Return the energies per element, in eV, that explain the energies best by composition alone."""
    known = [one for one in training if one.energy_eV is not None and one.energy_weight > 0]
    if not known:
        return dict.fromkeys(elements, 0.0)
    counts = np.array([composition(one.atoms, elements) for one in known])
    sizes = counts.sum(axis=1)
    energies = np.array([one.energy_eV for one in known], float)
    solution = np.linalg.lstsq(counts / sizes[:, None], energies / sizes, rcond=1e-8)[0]
    return {element: float(energy) for element, energy in zip(elements, solution, strict=True)}


def composition(atoms: Atoms, elements: Sequence[str]) -> FloatArray:
    """Return how many atoms there are of each element."""
    symbols = np.array(atoms.get_chemical_symbols())
    return np.array([(symbols == element).sum() for element in elements], float)


def atoms_of(structure: Mapping[str, Any]) -> Atoms:
    """Return the atoms of a label's structure (numbers, positions_A, cell_A, pbc, magmoms)."""
    from ase import Atoms

    return Atoms(
        numbers=structure["numbers"],
        positions=structure["positions_A"],
        cell=structure["cell_A"],
        pbc=structure["pbc"],
        magmoms=structure.get("magmoms"),
    )


def _array(value: Any) -> FloatArray | None:
    return None if value is None else np.array(value, float)
