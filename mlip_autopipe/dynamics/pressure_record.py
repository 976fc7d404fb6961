"""The pressure tensor along a run, from which transport coefficients follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.dynamics.state import GPA_IN_EV_PER_A3, pressure_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.state import MDState


class PressureRecord:
    """Collect instantaneous pressure tensors, kinetic part included.

    Parameters
    ----------
    every
        Steps between records: those whose number is a multiple of it.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._rows: list[NDArray[np.float64]] = []

    def add(self, state: MDState) -> None:
        """Record a state whose stress is known, if it is its turn."""
        if state.step % self.every == 0:
            self._rows.append(pressure_tensor(state))

    @property
    def tensors_GPa(self) -> NDArray[np.float32]:
        """All records (n, 6), positive under compression, in the order xx yy zz yz xz xy."""
        return np.array(self._rows, dtype=np.float32).reshape(-1, 6) / np.float32(GPA_IN_EV_PER_A3)
