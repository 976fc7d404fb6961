"""How well a potential describes labelled configurations; masked atoms and weights of 0 do not count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.potentials.base import ForceField, Potential
from mlip_autopipe.potentials.dataset import Configuration
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.schemas.model_card import ErrorStatistics, PotentialErrors

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Predicted and reference numbers that count, over all configurations one after the other.

    Attributes
    ----------
    configurations
        How many were compared.
    energies_eV_per_atom
        Shape (k, 2): predicted, reference.
    forces_eV_per_A
        Shape (m, 3, 2).
    symbols
        Chemical symbol per force, shape (m,).
    stresses_eV_per_A3
        Shape (s, 6, 2); of configurations that are periodic in all directions.
    force_std_eV_per_A
        Stated standard deviation per force, shape (m,); None when it was not asked for.
    """

    configurations: int
    energies_eV_per_atom: FloatArray
    forces_eV_per_A: FloatArray
    symbols: NDArray[np.str_]
    stresses_eV_per_A3: FloatArray
    force_std_eV_per_A: FloatArray | None = None

    def errors(self) -> PotentialErrors:
        """Return root mean square, mean absolute and largest differences."""
        from ase.units import GPa

        forces = 1e3 * _differences(self.forces_eV_per_A)
        by_element = {str(symbol): _statistics(forces[self.symbols == symbol]) for symbol in np.unique(self.symbols)}
        return PotentialErrors(
            configurations=self.configurations,
            energy_meV_per_atom=_statistics(1e3 * _differences(self.energies_eV_per_atom)),
            force_meV_per_A=_statistics(forces),
            stress_GPa=_statistics(_differences(self.stresses_eV_per_A3) / GPa),
            force_meV_per_A_by_element={symbol: one for symbol, one in by_element.items() if one is not None},
        )


def errors_on(potential: ForceField, configurations: Iterable[Configuration]) -> PotentialErrors:
    """Return the errors of a potential on configurations.

    Raises
    ------
    PredictionError
        A configuration has an element that the potential does not know, or a prediction is not finite.
    """
    return compare(potential, configurations).errors()


def compare(potential: ForceField, configurations: Iterable[Configuration], *, with_std: bool = False) -> Comparison:
    """Predict configurations and set the predictions beside the reference.

    Parameters
    ----------
    potential
        Any force field.
    configurations
        What to predict.
    with_std
        Also state the force uncertainty, which only a `Potential` can; it costs several predictions.

    Raises
    ------
    PredictionError
        As `errors_on`; or uncertainties are asked of a force field that states none.
    """
    stating = potential if with_std and isinstance(potential, Potential) else None
    if with_std and stating is None:
        raise PredictionError("a sample drawn from a potential states no uncertainty; ask the potential itself")
    count = 0
    energies: list[FloatArray] = []
    forces: list[FloatArray] = [np.empty((0, 3, 2))]
    stresses: list[FloatArray] = []
    std: list[FloatArray] = [np.empty(0)]
    symbols: list[str] = []
    for one in configurations:
        count += 1
        found = potential.predict(one.atoms)
        if one.energy_eV is not None and one.energy_weight > 0:
            energies.append(np.array([found.energy_eV, one.energy_eV]) / len(one.atoms))
        if one.forces_eV_per_A is not None and (counting := one.force_weights > 0).any():
            forces.append(np.stack([found.forces_eV_per_A, one.forces_eV_per_A], axis=-1)[counting])
            symbols += list(np.array(one.atoms.get_chemical_symbols())[counting])
            if stating is not None:
                std.append(stating.force_std(one.atoms)[counting])
        if one.stress_eV_per_A3 is not None and one.stress_weight > 0 and one.atoms.pbc.all():
            stresses.append(np.stack([found.stress_eV_per_A3, one.stress_eV_per_A3], axis=-1))
    return Comparison(
        configurations=count,
        energies_eV_per_atom=np.array(energies).reshape(-1, 2),
        forces_eV_per_A=np.concatenate(forces),
        symbols=np.array(symbols, dtype=str),
        stresses_eV_per_A3=np.array(stresses).reshape(-1, 6, 2),
        force_std_eV_per_A=np.concatenate(std) if with_std else None,
    )


def _differences(pairs: FloatArray) -> FloatArray:
    return np.asarray(pairs[..., 0] - pairs[..., 1])


def _statistics(differences: FloatArray) -> ErrorStatistics | None:
    if differences.size == 0:
        return None
    return ErrorStatistics(
        rmse=float(np.sqrt((differences**2).mean())),
        mae=float(np.abs(differences).mean()),
        largest=float(np.abs(differences).max()),
        count=differences.size,
    )
