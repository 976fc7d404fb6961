"""The complete state of a molecular dynamics run, and the evaluation of its forces.

Units: A, fs, eV, K, amu; velocities in A/fs; stress in eV/A^3, positive under tension, Voigt order xx yy zz yz xz xy.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KB_EV_PER_K = float(units.kB)
AMU_A2_PER_FS2_IN_EV = float(1.0 / units.fs**2)
GPA_IN_EV_PER_A3 = float(units.GPa)


@dataclass
class MDState:
    """Everything that the next step depends on: two equal states have bit-equal futures.

    Attributes
    ----------
    step
        Number of steps done.
    numbers, masses, pbc
        Atomic numbers (n,), masses in amu (n,), periodic directions (3,).
    positions, velocities
        Unwrapped positions in A and velocities in A/fs, (n, 3).
    cell
        Cell vectors in rows, A.
    forces, energy, stress
        Those of `positions`, in eV/A, eV and eV/A^3 (Voigt); empty, NaN and None before the first evaluation.
    thermostat
        Variables of thermostat and barostat by name.
    heat
        Energy in eV that thermostat and barostat put in so far.
    rng
        Source of every random number of the run.
    """

    step: int
    numbers: NDArray[np.int64]
    masses: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    cell: NDArray[np.float64]
    rng: np.random.Generator
    forces: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    energy: float = float("nan")
    stress: NDArray[np.float64] | None = None
    thermostat: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    heat: float = 0.0

    def copy(self) -> MDState:
        """Return a state that shares nothing with this one."""
        return deepcopy(self)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in A^3."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy in eV."""
        momenta = self.velocities * self.masses[:, None]
        return 0.5 * AMU_A2_PER_FS2_IN_EV * float(np.vdot(momenta, self.velocities))

    def same_point(self, other: MDState) -> bool:
        """Whether step, positions, velocities and cell are equal to the last bit."""
        return (
            self.step == other.step
            and np.array_equal(self.positions, other.positions)
            and np.array_equal(self.velocities, other.velocities)
            and np.array_equal(self.cell, other.cell)
        )

    def to_atoms(self) -> Atoms:
        """Return the frame as ASE atoms with velocities (in ASE's units)."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, masses=self.masses)
        atoms.set_velocities(self.velocities / units.fs)
        return atoms


def initial_state(atoms: Atoms, temperature_K: float | None, seed: int, *, fix_centre_of_mass: bool = True) -> MDState:
    """Make the state of step 0.

    Velocities that `atoms` has are kept; otherwise they are drawn from the Maxwell-Boltzmann distribution and scaled
    to `temperature_K` exactly.

    Raises
    ------
    InvalidInputError
        If there are no atoms, constraints on them, or velocities to be drawn without a temperature.
    """
    if len(atoms) == 0:
        raise InvalidInputError("Molecular dynamics needs at least one atom; the structure given has none.")
    if atoms.constraints:
        raise InvalidInputError(
            "The structure carries constraints, which molecular dynamics here does not honour: "
            "remove them with atoms.set_constraint()."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    masses = np.array(atoms.get_masses(), dtype=np.float64)
    velocities = np.array(atoms.get_velocities(), dtype=np.float64) * units.fs
    state = MDState(
        step=0,
        numbers=np.array(atoms.numbers, dtype=np.int64),
        masses=masses,
        pbc=np.array(atoms.pbc, dtype=bool),
        positions=np.array(atoms.positions, dtype=np.float64),
        velocities=velocities,
        cell=np.array(atoms.cell.array, dtype=np.float64),
        rng=rng,
    )
    freeze = fix_centre_of_mass and len(atoms) > 1
    drawn = not velocities.any()
    if drawn:
        if temperature_K is None:
            raise InvalidInputError("The atoms have no velocities: give temperature_K to draw them, or set them.")
        scale = np.sqrt(KB_EV_PER_K * temperature_K / (masses * AMU_A2_PER_FS2_IN_EV))
        state.velocities = scale[:, None] * rng.standard_normal(velocities.shape)
    if freeze:
        state.velocities -= masses @ state.velocities / masses.sum()
    if drawn and temperature_K:
        now = temperature(state, fix_centre_of_mass=fix_centre_of_mass)
        state.velocities *= np.sqrt(temperature_K / now)
    return state


def degrees_of_freedom(n_atoms: int, *, fix_centre_of_mass: bool) -> int:
    """Count the independent velocity components."""
    return 3 * n_atoms - (3 if fix_centre_of_mass and n_atoms > 1 else 0)


def temperature(state: MDState, *, fix_centre_of_mass: bool = True) -> float:
    """Kinetic temperature in K."""
    dof = degrees_of_freedom(state.n_atoms, fix_centre_of_mass=fix_centre_of_mass)
    return 2.0 * state.kinetic_energy / (dof * KB_EV_PER_K)


def pressure_tensor(state: MDState) -> NDArray[np.float64]:
    """Instantaneous pressure (kinetic part and virial) in eV/A^3, in the order xx yy zz yz xz xy."""
    if state.stress is None:
        raise InvalidInputError("The state holds no stress, so its pressure is not known.")
    kinetic = AMU_A2_PER_FS2_IN_EV * (state.velocities.T * state.masses) @ state.velocities / state.volume
    return np.asarray(_voigt(kinetic) - state.stress)


def pressure_tensor_diagonal(state: MDState) -> NDArray[np.float64]:
    """Instantaneous pressure (kinetic part and virial) along x, y and z, in eV/A^3."""
    return pressure_tensor(state)[:3]


class ForceEvaluator:
    """Evaluate an ASE calculator on states, with nothing between the steps but what the calculator itself does.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    state
        Gives the species, masses and periodicity.
    needs_stress
        Whether the stress is wanted at every evaluation.
    """

    def __init__(self, calculator: Any, state: MDState, *, needs_stress: bool) -> None:
        self.calculator = calculator
        self.needs_stress = needs_stress
        self.n_calls = 0
        self._atoms = Atoms(
            numbers=state.numbers, positions=state.positions, cell=state.cell, pbc=state.pbc, masses=state.masses
        )
        self._cell = state.cell.copy()

    def __call__(self, state: MDState) -> None:
        """Fill energy, forces (and stress) of `state`."""
        atoms, calculator = self._atoms, self.calculator
        atoms.arrays["positions"][...] = state.positions
        if not np.array_equal(self._cell, state.cell):
            self._cell[...] = state.cell
            atoms.cell[...] = state.cell
        state.forces = np.asarray(calculator.get_property("forces", atoms), dtype=np.float64)
        results = getattr(calculator, "results", {})
        energy = results.get("energy")
        state.energy = float(calculator.get_property("energy", atoms) if energy is None else energy)
        if self.needs_stress:
            try:
                stress = calculator.get_property("stress", atoms)
            except PropertyNotImplementedError:
                stress = None
            if stress is None:
                raise InvalidInputError(
                    f"This run needs the stress, which the calculator {type(calculator).__name__} does not give: "
                    "choose an ensemble at constant volume, without a record of pressures, or another calculator."
                )
            state.stress = _voigt(np.array(stress, dtype=np.float64))
        self.n_calls += 1

    def forget(self) -> None:
        """Make the calculator forget what it carries from step to step (results, neighbour lists)."""
        reset = getattr(self.calculator, "reset", None)
        if reset is not None:
            reset()


def _voigt(stress: NDArray[np.float64]) -> NDArray[np.float64]:
    if stress.shape == (3, 3):
        return stress.ravel()[[0, 4, 8, 5, 2, 1]]
    return stress
