"""Potentials by name; imported when asked for.

A package adds its own with an entry point in the group ``mlip_autopipe.potentials``, or by `register_potential`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.plugins import PluginTable
from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.blob import backend_of
from mlip_autopipe.potentials.errors import PotentialFileError
from mlip_autopipe.potentials.files import read_potential_file

if TYPE_CHECKING:
    from mlip_autopipe.potentials.calculator import ForceFieldCalculator

POTENTIALS: PluginTable[Potential] = PluginTable(
    what="potential",
    base=Potential,  # type: ignore[type-abstract]
    group="mlip_autopipe.potentials",
    targets={
        "mace": "mlip_autopipe.potentials.mace:MacePotential",
        "polymlp": "mlip_autopipe.potentials.polymlp:PolymlpPotential",
    },
)


def register_potential(name: str, target: str) -> None:
    """Add a backend under a name; ``target`` is ``package.module:Class``."""
    POTENTIALS.targets[name] = target


def potential_names() -> list[str]:
    """Return the names of all backends, sorted."""
    return POTENTIALS.names()


def potential_class(name: str) -> type[Potential]:
    """Return the class of a backend; raises as `PluginTable.get` does."""
    return POTENTIALS.get(name)


def make_potential(name: str, **settings: Any) -> Potential:
    """Return an untrained potential, after checking that its trainer is there."""
    kind = potential_class(name)
    kind.check_available()
    return kind(**settings)


def load_potential(data: bytes, *, sha256: str | None = None) -> Potential:
    """Return the potential that some bytes hold, whatever its backend.

    Raises
    ------
    PotentialFileError
        The bytes are damaged or hold no potential.
    """
    kind = potential_class(backend_of(data))
    kind.check_available()
    return kind.load(data, sha256=sha256)


def load_calculator(path: str | Path) -> ForceFieldCalculator:
    """Return the ASE calculator of a potential file (``.mlip``).

    Energy, forces and stress come as from any calculator; ``calculator.force_std(atoms)`` gives the calibrated
    uncertainty of the forces.

    Examples
    --------
    >>> from mlip_autopipe.potentials.registry import load_calculator  # doctest: +SKIP
    >>> atoms.calc = load_calculator("ni.mlip")  # doctest: +SKIP
    >>> print(atoms.get_potential_energy())  # doctest: +SKIP

    Raises
    ------
    PotentialFileError
        The file is missing, damaged, or no potential of this package.
    EnvironmentProblemError
        The potential's backend is not installed.
    """
    from mlip_autopipe.potentials.calculator import ForceFieldCalculator

    data = read_potential_file(path)
    try:
        return ForceFieldCalculator(load_potential(data))
    except (InvalidInputError, PotentialFileError) as error:
        raise PotentialFileError(f"{path}: {error}") from error
