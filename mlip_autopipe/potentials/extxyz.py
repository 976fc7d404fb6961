"""Training data as extended XYZ: labels, force masks and weights in one file that other programs read, too.

Energy, forces and stress stand where ASE puts them (``energy``, ``forces``, ``stress``). What only we know is in the
column ``force_weight`` and in the keys ``energy_weight``, ``stress_weight`` and ``label_id``; whoever does not know
them may ignore all but the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.errors import TrainingError

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.potentials.dataset import Configuration

FORCE_WEIGHT_COLUMN = "force_weight"
REFERENCE_PREFIX = "REF_"
"""Some programs keep reference numbers under this prefix, so that a calculator's own do not replace them."""


def write_extxyz(path: str | Path, configurations: Iterable[Configuration]) -> None:
    """Write configurations; positions and forces have eight decimals."""
    from ase.io import write

    write(path, [_to_frame(one) for one in configurations], format="extxyz")


def read_extxyz(path: str | Path) -> list[Configuration]:
    """Read configurations as `write_extxyz` or ASE writes them.

    ``REF_energy``, ``REF_forces`` and ``REF_stress`` take precedence over the names without prefix.

    Raises
    ------
    InvalidInputError
        The file is not there or cannot be read; a configuration has a number that is not finite, an unknown element, or
        periodicity without a cell; or nothing in the file has an energy or forces.
    """
    from ase.io import read

    try:
        frames: Sequence[Atoms] = read(path, index=":", format="extxyz")
    except KeyError as error:
        raise InvalidInputError(f"{path} cannot be read as extended XYZ: unknown element or column {error}") from error
    except (OSError, ValueError, IndexError, StopIteration) as error:
        if isinstance(error, OSError) and error.errno is not None:  # ASE's own complaints are OSErrors, too
            raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
        raise InvalidInputError(f"{path} cannot be read as extended XYZ: {error}") from error
    found = []
    for number, frame in enumerate(frames, start=1):
        try:
            found.append(_from_frame(frame))
        except (TrainingError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{path}, configuration {number}: {error}") from error
    if not any(c.energy_eV is not None or c.forces_eV_per_A is not None for c in found):
        raise InvalidInputError(
            f"{path} holds no energies and forces; write them with ASE (energy=, forces= in the comment line)"
        )
    return found


def _to_frame(configuration: Configuration) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = configuration.atoms.copy()
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=configuration.energy_eV,
        forces=configuration.forces_eV_per_A,
        stress=configuration.stress_eV_per_A3,
    )
    atoms.set_array(FORCE_WEIGHT_COLUMN, configuration.force_weights)
    atoms.info |= {"energy_weight": configuration.energy_weight, "stress_weight": configuration.stress_weight}
    if configuration.label_id:
        atoms.info["label_id"] = configuration.label_id
    return atoms


def _from_frame(frame: Atoms) -> Configuration:
    from mlip_autopipe.potentials.dataset import Configuration

    results = dict(frame.calc.results) if frame.calc is not None else {}
    atoms = frame.copy()
    atoms.calc = None
    results |= _reference_numbers(atoms)
    _check_structure(atoms)
    weights = atoms.arrays.pop(FORCE_WEIGHT_COLUMN, np.empty(0))
    label_id = atoms.info.pop("label_id", None)
    energy = results.get("energy")
    return Configuration(
        atoms=atoms,
        energy_eV=None if energy is None else float(energy),
        forces_eV_per_A=_array(results.get("forces")),
        stress_eV_per_A3=_array(results.get("stress")),
        force_weights=np.array(weights, float),
        energy_weight=float(atoms.info.pop("energy_weight", 1.0)),
        stress_weight=float(atoms.info.pop("stress_weight", 1.0)),
        label_id=None if label_id is None else str(label_id),
    )


def _reference_numbers(atoms: Atoms) -> dict[str, Any]:
    """Take the numbers with prefix out of a structure."""
    found = {}
    for name in ("energy", "forces", "stress"):
        key = REFERENCE_PREFIX + name
        value = atoms.arrays.pop(key, None) if name == "forces" else atoms.info.pop(key, None)
        if value is not None:
            found[name] = _voigt(value) if name == "stress" else value
    return found


def _voigt(stress: Any) -> NDArray[np.float64]:
    from ase.stress import full_3x3_to_voigt_6_stress

    values = np.array(stress, float)
    return np.asarray(full_3x3_to_voigt_6_stress(values.reshape(3, 3))) if values.size == 9 else values


def _check_structure(atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise TrainingError("there are no atoms")
    if (atoms.numbers == 0).any():
        raise TrainingError("unknown element X; write chemical symbols")
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    if (lengths[atoms.pbc] == 0).any() or (atoms.pbc.all() and abs(np.linalg.det(atoms.cell.array)) < 1e-6):
        raise TrainingError("periodic, but without a cell; write the key Lattice, or pbc='F F F' for a molecule")


def _array(value: Any) -> NDArray[np.float64] | None:
    return None if value is None else np.array(value, float)
