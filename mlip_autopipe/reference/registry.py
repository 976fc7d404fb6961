"""Reference engines by name; imported when asked for.

A package adds its own with an entry point in the group ``mlip_autopipe.reference_engines``, or by `register_engine`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.reference.base import ReferenceEngine
from mlip_autopipe.schemas.system import ReferenceSettings
from mlip_autopipe.schemas.words import suggestion

ENTRY_POINT_GROUP = "mlip_autopipe.reference_engines"

_targets: dict[str, str] = {
    "ase": "mlip_autopipe.reference.ase_engine:ASEEngine",
    "gpaw": "mlip_autopipe.reference.gpaw_engine:GPAWEngine",
}


def register_engine(name: str, target: str) -> None:
    """Add an engine under a name; ``target`` is ``package.module:Class``."""
    _targets[name] = target


def engine_names() -> list[str]:
    """Return the names of all engines, sorted."""
    return sorted({*_targets, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def engine_class(name: str) -> type[ReferenceEngine]:
    """Return the class of an engine.

    Raises
    ------
    InvalidInputError
        No engine has this name.
    EnvironmentProblemError
        What is registered under the name cannot be imported or is no engine.
    """
    target = _targets.get(name)
    if target is None:
        target = next((p.value for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name), None)
    if target is None:
        raise InvalidInputError(f"unknown reference engine {name!r}{suggestion(name, engine_names())}")
    try:
        found = EntryPoint(name, target, ENTRY_POINT_GROUP).load()
    except (ImportError, AttributeError, ValueError) as error:
        raise EnvironmentProblemError(
            f"reference engine {name} is registered as {target}, which cannot be imported: {error}; "
            "mend or reinstall the package that provides it"
        ) from error
    if not (isinstance(found, type) and issubclass(found, ReferenceEngine)):
        raise EnvironmentProblemError(f"reference engine {name} is registered as {target}, which is no ReferenceEngine")
    return found


def make_engine(settings: ReferenceSettings, *, cores: int = 1) -> ReferenceEngine:
    """Return an engine with the given settings, after checking that its code is there."""
    kind = engine_class(settings.engine)
    kind.check_available()
    return kind(settings, cores=cores)
