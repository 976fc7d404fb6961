"""Reference engines by name; imported when asked for.

A package adds its own with an entry point in the group ``mlip_autopipe.reference_engines``, or by `register_engine`.
"""

from __future__ import annotations

from mlip_autopipe.plugins import PluginTable
from mlip_autopipe.reference.base import ReferenceEngine
from mlip_autopipe.schemas.system import ReferenceSettings

ENGINES: PluginTable[ReferenceEngine] = PluginTable(
    what="reference engine",
    base=ReferenceEngine,  # type: ignore[type-abstract]
    group="mlip_autopipe.reference_engines",
    targets={
        "ase": "mlip_autopipe.reference.ase_engine:ASEEngine",
        "gpaw": "mlip_autopipe.reference.gpaw_engine:GPAWEngine",
    },
)


def register_engine(name: str, target: str) -> None:
    """Add an engine under a name; ``target`` is ``package.module:Class``."""
    ENGINES.targets[name] = target


def engine_names() -> list[str]:
    """Return the names of all engines, sorted."""
    return ENGINES.names()


def engine_class(name: str) -> type[ReferenceEngine]:
    """Return the class of an engine; raises as `PluginTable.get` does."""
    return ENGINES.get(name)


def make_engine(settings: ReferenceSettings, *, cores: int = 1) -> ReferenceEngine:
    """Return an engine with the given settings, after checking that its code is there."""
    kind = engine_class(settings.engine)
    kind.check_available()
    return kind(settings, cores=cores)
