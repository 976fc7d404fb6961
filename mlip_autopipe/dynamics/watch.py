"""The uncertainty watch: asks, as often as is affordable, whether the potential is unsure."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.state import MDState


@dataclass(frozen=True)
class TriggerEvent:
    """The potential is unsure.

    Attributes
    ----------
    step
        Step of the frame.
    atom
        Index of the atom with the largest value.
    value_eV_per_A, threshold_eV_per_A
        Its force standard deviation, and the limit that it passed. NaN is beyond every limit.
    atoms
        The frame.
    force_std
        Values of all atoms, eV/A.
    """

    step: int
    atom: int
    value_eV_per_A: float
    threshold_eV_per_A: float
    atoms: Atoms
    force_std: NDArray[np.float64]


class UncertaintyWatch:
    """Ask a potential for its force standard deviation every k steps.

    Asking changes nothing in the run: the potential gets a copy of the frame, and no random number of the run is used.
    k is chosen from measured times, so it may differ from run to run; the trajectory does not.

    Parameters
    ----------
    force_std
        Takes ASE atoms and returns one value in eV/A per atom.
    threshold_eV_per_A
        The run stops at the first checked frame where one atom is above.
    cost_fraction
        Largest part of the run's time that asking may take.
    every
        Fixed number of steps between checks instead of one chosen from the cost.
    max_every
        Never more steps than this between checks, whatever they cost.

    Attributes
    ----------
    history
        Steps of the checks, and the value of the atom with the largest one.
    least_sure
        The largest of these values, and its frame.
    """

    def __init__(
        self,
        force_std: Callable[[Atoms], NDArray[np.float64]],
        threshold_eV_per_A: float,
        *,
        cost_fraction: float = 0.1,
        every: int | None = None,
        max_every: int | None = None,
    ) -> None:
        if not threshold_eV_per_A > 0:
            raise InvalidInputError(f"The uncertainty threshold must be positive, not {threshold_eV_per_A} eV/A.")
        if not 0 < cost_fraction < 1:
            raise InvalidInputError(f"cost_fraction must lie between 0 and 1, not {cost_fraction}.")
        if every is not None and every < 1:
            raise InvalidInputError(f"every must be at least 1, not {every}.")
        self.threshold_eV_per_A = threshold_eV_per_A
        self.every = every or 10
        self.last_step = -1
        self.n_checks = 0
        self.seconds = 0.0
        self.history: list[tuple[int, float]] = []
        self.least_sure: tuple[float, Atoms] | None = None
        self._force_std = force_std
        self._fixed = every is not None
        self._max_every = max_every
        # Checks take at most this many times the time of the steps between them.
        self._ratio = cost_fraction / (1.0 - cost_fraction)
        self._check_seconds: deque[float] = deque(maxlen=5)

    def due(self, step: int) -> bool:
        """Whether this step's frame is to be checked."""
        return self.last_step < 0 or step - self.last_step >= self.every

    def check(self, state: MDState) -> TriggerEvent | None:
        """Ask, and return an event if the answer is beyond the threshold."""
        start = time.perf_counter()
        frame = state.to_atoms()
        values = np.asarray(self._force_std(frame.copy()), dtype=np.float64)
        if values.shape != (state.n_atoms,):
            raise InvalidInputError(
                f"force_std must return one value per atom: shape ({state.n_atoms},), not {values.shape}."
            )
        atom = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
        value = float(values[atom])
        self.last_step = state.step
        self.n_checks += 1
        self.history.append((state.step, value))
        if self.least_sure is None or not value <= self.least_sure[0]:
            self.least_sure = value, frame
        elapsed = time.perf_counter() - start
        self.seconds += elapsed
        # The first answer often includes imports and set-up; it leaves the memory after the next ones.
        if self.n_checks == 2:
            self._check_seconds.clear()
        self._check_seconds.append(elapsed)
        if value <= self.threshold_eV_per_A:
            return None
        return TriggerEvent(state.step, atom, value, self.threshold_eV_per_A, frame, values)

    def adapt(self, seconds_per_step: float) -> None:
        """Choose the steps between checks from the measured time of one step without checks."""
        if self._fixed or not self._check_seconds or not seconds_per_step > 0:
            return
        mean = sum(self._check_seconds) / len(self._check_seconds)
        every = max(1, ceil(mean / (self._ratio * seconds_per_step)))
        self.every = min(every, self._max_every) if self._max_every else every

    def memory(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"every": self.every, "last_step": self.last_step}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint's memory."""
        self.last_step = int(memory.get("last_step", -1))
        if not self._fixed:
            self.every = int(memory.get("every", self.every))
