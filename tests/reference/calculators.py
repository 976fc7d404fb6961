"""Calculators with one flaw each, named by dotted path in the tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Flawed(Calculator):
    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0, "forces": np.zeros((len(self.atoms), 3)), "stress": np.zeros(6)}


class Unconverged(Flawed):
    converged = False


class UnconvergedByNumpy(Flawed):
    converged = np.False_


class UnconvergedByMethod(Flawed):
    def converged(self) -> bool:
        return False


class SaysNothing(Flawed):
    converged = None


class NotANumber(Flawed):
    """A NaN in one property, by its name."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results[self.where] = np.full_like(self.results[self.where], np.nan)


class Raises(Flawed):
    """Raises the first time it is asked, and is broken from then on."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error or RuntimeError("the charge sloshes")
        self.asked = False

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        if not self.asked:
            self.asked = True
            raise self.error
        raise AssertionError("a broken calculator was used again")


def full_disk() -> Calculator:
    return Raises(OSError(28, "No space left on device"))


def no_memory() -> Calculator:
    return Raises(MemoryError())


class WithoutStress(EMT):
    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results.pop("stress", None)


class Smeared(Flawed):
    """Free energy and extrapolated energy differ, as in DFT with smearing."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["free_energy"] = -2.0


class FromFile(Flawed):
    """Takes its parameters from files."""

    def __init__(self, files: list[str], label: str = "x") -> None:
        super().__init__()
        self.text = "".join(Path(file).read_text(encoding="utf-8") for file in files)


def no_calculator() -> str:
    return "not a calculator"


class EnergyAndForces(EMT):
    """No stress, and no free energy either."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results = {name: self.results[name] for name in ("energy", "forces")}


class Deadly(EMT):
    """EMT that ends its process in cells of the volumes ``DEADLY_VOLUMES`` (A^3, four decimals, with commas between).

    How is said by ``DEADLY_HOW`` (``exit``, ``segfault``, or ``sleep`` until somebody else does it; ``live``: not at
    all). Every such calculation leaves a line in the file ``DEADLY_LOG``.
    """

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        how = os.environ.get("DEADLY_HOW", "exit")
        if how != "live" and f"{atoms.get_volume():.4f}" in os.environ["DEADLY_VOLUMES"].split(","):
            with Path(os.environ["DEADLY_LOG"]).open("a", encoding="ascii") as log:
                log.write(f"{os.getpid()} {atoms.get_volume():.4f}\n")
            if how == "sleep":
                time.sleep(60)
            elif how == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            os._exit(1)
        super().calculate(atoms, list(properties), list(system_changes))
