"""Reference calculators that can be watched and told to fail; inputs name them by dotted path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.emt import EMT

COMPUTED: list[bytes] = []
"""Structures that this process has computed, in order; tests empty it."""


class WatchedEMT(EMT):
    """EMT that notes every calculation, and raises where `trouble` says so."""

    trouble: Callable[[Atoms], bool] = staticmethod(lambda atoms: False)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        COMPUTED.append(atoms.positions.tobytes() + atoms.cell.array.tobytes())
        if type(self).trouble(atoms):
            raise RuntimeError("the density did not settle")
        super().calculate(atoms, list(properties), list(system_changes))


class LoggedEMT(EMT):
    """EMT of worker processes: appends a line with process and times to the file ``EMT_LOG`` per calculation."""

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        started = time.time()
        time.sleep(float(os.environ.get("EMT_SECONDS", "0")))
        super().calculate(atoms, list(properties), list(system_changes))
        with Path(os.environ["EMT_LOG"]).open("a", encoding="ascii") as log:
            log.write(f"{os.getpid()} {started} {time.time()}\n")
