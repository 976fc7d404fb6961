"""Potentials by name; imported when asked for.

A package adds its own with an entry point in the group ``mlip_autopipe.potentials``, or by `register_potential`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.blob import backend_of
from mlip_autopipe.schemas.words import suggestion

ENTRY_POINT_GROUP = "mlip_autopipe.potentials"

_targets: dict[str, str] = {"polymlp": "mlip_autopipe.potentials.polymlp:PolymlpPotential"}


def register_potential(name: str, target: str) -> None:
    """Add a backend under a name; ``target`` is ``package.module:Class``."""
    _targets[name] = target


def potential_names() -> list[str]:
    """Return the names of all backends, sorted."""
    return sorted({*_targets, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def potential_class(name: str) -> type[Potential]:
    """Return the class of a backend.

    Raises
    ------
    InvalidInputError
        No backend has this name.
    EnvironmentProblemError
        What is registered under the name cannot be imported or is no potential.
    """
    target = _targets.get(name)
    if target is None:
        target = next((p.value for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name), None)
    if target is None:
        raise InvalidInputError(f"unknown potential {name!r}{suggestion(name, potential_names())}")
    try:
        found = EntryPoint(name, target, ENTRY_POINT_GROUP).load()
    except (ImportError, AttributeError, ValueError) as error:
        raise EnvironmentProblemError(
            f"potential {name} is registered as {target}, which cannot be imported: {error}; "
            "mend or reinstall the package that provides it"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Potential)):
        raise EnvironmentProblemError(f"potential {name} is registered as {target}, which is no Potential")
    return found


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
