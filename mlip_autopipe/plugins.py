"""Classes by name, imported when asked for: ours, registered ones, and those of other packages' entry points."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.schemas.words import suggestion

T = TypeVar("T")


@dataclass
class PluginTable(Generic[T]):
    """Names and what they stand for.

    Attributes
    ----------
    what
        Names the kind in messages, e.g. ``reference engine``.
    base
        Every class is a subclass of it.
    group
        Entry-point group in which other packages offer theirs.
    targets
        ``package.module:Class`` by name.
    """

    what: str
    base: type[T]
    group: str
    targets: dict[str, str]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self.targets, *(point.name for point in entry_points(group=self.group))})

    def get(self, name: str) -> type[T]:
        """Return the class of a name.

        Raises
        ------
        InvalidInputError
            There is no such name; the message has the nearest one.
        EnvironmentProblemError
            What is registered under the name cannot be imported or is something else.
        """
        target = self.targets.get(name)
        if target is None:
            target = next((p.value for p in entry_points(group=self.group) if p.name == name), None)
        if target is None:
            raise InvalidInputError(f"unknown {self.what} {name!r}{suggestion(name, self.names())}")
        try:
            found = EntryPoint(name, target, self.group).load()
        except (ImportError, AttributeError, ValueError) as error:
            raise EnvironmentProblemError(
                f"{self.what} {name} is registered as {target}, which cannot be imported: {error}; "
                "mend or reinstall the package that provides it"
            ) from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise EnvironmentProblemError(
                f"{self.what} {name} is registered as {target}, which is no {self.base.__name__}"
            )
        return found
