"""Geometric guards: cheap signs, looked for at every step, that a run has left what any potential can describe."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from pydantic import BaseModel, ConfigDict, Field

from mlip_autopipe.dynamics.state import KB_EV_PER_K, degrees_of_freedom, temperature

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.dynamics.state import MDState

GuardKind = Literal["not_finite", "minimum_distance", "volume", "temperature"]

_SKIN_A = 1.0
_MAX_STRETCH = 0.02


class GuardSettings(BaseModel):
    """Limits of the guards.

    Attributes
    ----------
    min_distance_ratio
        Smallest distance as a fraction of the sum of covalent radii.
    volume_ratio
        Smallest and largest volume as a multiple of that at step 0.
    volume_per_atom_A3
        Smallest and largest volume per atom, for example those of the training set.
    temperature_ratio
        Largest kinetic temperature as a multiple of the target (of the start in NVE); ten standard deviations of a
        canonical ensemble of that size are always allowed.
    max_temperature_K
        Largest kinetic temperature instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_distance_ratio: float = Field(default=0.6, ge=0, lt=1)
    volume_ratio: tuple[float, float] = (0.6, 1.8)
    volume_per_atom_A3: tuple[float, float] | None = None
    temperature_ratio: float = Field(default=3.0, gt=1)
    max_temperature_K: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class GuardEvent:
    """A guard stopped the run.

    Attributes
    ----------
    kind
        Which guard.
    step
        Step of the frame.
    value, limit
        What was found and what is allowed: A, A^3 per atom or K.
    indices
        Atoms concerned, where there are some.
    message
        One sentence.
    atoms
        The frame; not to be labelled if it is not finite.
    """

    kind: GuardKind
    step: int
    value: float
    limit: float
    indices: tuple[int, ...]
    message: str
    atoms: Atoms


class Guards:
    """All guards of one run.

    Distances are looked at through a list of near pairs that is renewed when an atom has moved by half the list's
    skin, so a step costs a few array operations.
    """

    def __init__(
        self, limits: GuardSettings, settings: MDSettings, reference: dict[str, float], state: MDState
    ) -> None:
        self._limits = limits
        self._n_atoms = state.n_atoms
        dof = degrees_of_freedom(state.n_atoms, fix_centre_of_mass=settings.fix_centre_of_mass)
        self._temperature_factor = 2.0 / (dof * KB_EV_PER_K)
        base = settings.temperature_K or reference["temperature_K"]
        spread = 10.0 * sqrt(2.0 / dof)
        default = base * max(limits.temperature_ratio, 1.0 + spread) if base > 0 else float("inf")
        self._max_temperature = limits.max_temperature_K or default
        start_volume = reference["volume_A3"]
        low, high = (ratio * start_volume / state.n_atoms for ratio in limits.volume_ratio)
        if limits.volume_per_atom_A3 is not None:
            low, high = max(low, limits.volume_per_atom_A3[0]), min(high, limits.volume_per_atom_A3[1])
        self._volume_per_atom = (low, high)
        self._radii = covalent_radii[state.numbers] * limits.min_distance_ratio
        self._cell: NDArray[np.float64] | None = None
        self._positions = state.positions
        self._pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]] | None = None

    def check(self, state: MDState) -> GuardEvent | None:
        """Return what is wrong with this frame, or None."""
        kinetic = state.kinetic_energy
        # Forces that are not finite make the velocities so within the same step.
        if not (isfinite(kinetic) and isfinite(state.energy)):
            return self._event(state, "not_finite", float("nan"), float("nan"), (), "A force or energy is not finite")
        if kinetic * self._temperature_factor > self._max_temperature:
            now = kinetic * self._temperature_factor
            text = f"The temperature ran away to {now:.0f} K; the limit is {self._max_temperature:.0f} K"
            return self._event(state, "temperature", now, self._max_temperature, (), text)
        moved_cell = self._cell is None or not np.array_equal(self._cell, state.cell)
        if moved_cell and state.pbc.all():
            volume = state.volume / self._n_atoms
            low, high = self._volume_per_atom
            if not low <= volume <= high:
                limit = low if volume < low else high
                text = f"The volume per atom is {volume:.2f} A^3; allowed are {low:.2f} to {high:.2f} A^3"
                return self._event(state, "volume", volume, limit, (), text)
        return self._check_distances(state, moved_cell=moved_cell) if self._limits.min_distance_ratio else None

    def _check_distances(self, state: MDState, *, moved_cell: bool) -> GuardEvent | None:
        if self._pairs is None or (moved_cell and not self._follow_cell(state)):
            self._renew(state)
        else:
            displacements = state.positions - self._positions
            if 4.0 * float(np.einsum("ij,ij->i", displacements, displacements).max()) > self._allowed**2:
                self._renew(state)
        assert self._pairs is not None
        first, second, shifts, limits = self._pairs
        if len(first) == 0:
            return None
        vectors = state.positions[second] - state.positions[first] + shifts @ state.cell
        squares = np.einsum("ij,ij->i", vectors, vectors)
        close = squares < limits**2
        if not close.any():
            return None
        worst = int(np.argmin(np.where(close, squares / limits**2, np.inf)))
        i, j = int(first[worst]), int(second[worst])
        distance, limit = sqrt(float(squares[worst])), float(limits[worst])
        text = f"Atoms {i} and {j} are {distance:.2f} A apart; the limit is {limit:.2f} A"
        return self._event(state, "minimum_distance", distance, limit, (i, j), text)

    def _follow_cell(self, state: MDState) -> bool:
        """Carry the reference along with a cell that changed little since the list was made."""
        assert self._cell is not None
        stretch = np.linalg.solve(self._list_cell, state.cell)
        if np.abs(stretch - np.eye(3)).max() > _MAX_STRETCH / 3:
            return False
        self._positions = self._list_positions @ stretch
        self._cell = state.cell.copy()
        return True

    def _renew(self, state: MDState) -> None:
        reach = 2.0 * float(self._radii.max()) + _SKIN_A
        # A lattice that stretches brings pairs nearer by up to this much before the list is renewed.
        self._allowed = _SKIN_A - _MAX_STRETCH * reach
        first, second, shifts = primitive_neighbor_list(
            "ijS", state.pbc, state.cell, state.positions, reach, self_interaction=False
        )
        # Lists of non-periodic directions may have no cell at all; their shifts are zero.
        keep = first <= second
        first, second, shifts = first[keep], second[keep], shifts[keep].astype(np.float64)
        self._pairs = (first, second, shifts, self._radii[first] + self._radii[second])
        self._positions = state.positions.copy()
        self._list_positions = self._positions
        self._cell = state.cell.copy()
        self._list_cell = self._cell

    @staticmethod
    def _event(
        state: MDState, kind: GuardKind, value: float, limit: float, indices: tuple[int, ...], text: str
    ) -> GuardEvent:
        return GuardEvent(kind, state.step, value, limit, indices, f"{text} (step {state.step}).", state.to_atoms())


def guard_reference(state: MDState) -> dict[str, float]:
    """Return what the guards of a run compare with: taken at step 0 and kept in every checkpoint."""
    return {"volume_A3": state.volume, "temperature_K": temperature(state)}
