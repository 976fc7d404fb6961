"""The ``overrides:`` of the input: which paths exist, and whether a value fits."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.system import SystemConfig

PARAMETERS = "reference.parameters"
MAX_SHOWN = 20

_SET_ELSEWHERE: dict[str, str] = {
    "project_name": "set project_name at the top of the input",
    "goal": "set simulation_goal at the top of the input",
    "via": "set via at the top of the input",
    "otf.backend": "set potential.backend at the top of the input",
    "otf.potential": "set potential.kwargs at the top of the input",
    "material.formula": "describe the material under target_system",
    "material.elements": "describe the material under target_system",
    "material.n_atoms": "describe the material under target_system",
    "material.structure": "describe the material under target_system",
    "phase_diagram.elements": "set target_system.elements",
    "phase_diagram.composition_range": "set target_system.composition_range",
    "phase_diagram.structures": "name the files in target_system.structures",
    "reference.engine": "set reference.engine at the top of the input",
    "reference.files": "name the files in reference.kwargs or reference.parameters",
    "schema_version": "it belongs to this version of the package",
    "run_id": "it follows from the plan",
    "estimate": "it follows from the plan; limits stand under resources",
    "reasons": "they follow from the plan",
    "warnings": "they follow from the plan",
}


class Overrides:
    """The user's overrides, flattened to dotted paths and checked against `SystemConfig`.

    Parameters
    ----------
    given
        Nested mappings, dotted keys, or both.

    Raises
    ------
    InvalidInputError
        A path does not exist, is not the user's to set, is set twice, or a value has the wrong type.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._fields = leaf_fields(SystemConfig)
        self._values: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {}
        for path, value in _pairs(given, self._fields):
            if path.startswith(f"{PARAMETERS}."):
                self._add_parameter(path, value)
            else:
                self._add(path, self._checked(path, value))

    def __contains__(self, path: str) -> bool:
        return path in self._values

    def __getitem__(self, path: str) -> Any:
        return self._values[path]

    def paths(self) -> list[str]:
        """Return the paths that the user set (without the engine's parameters)."""
        return list(self._values)

    def _add(self, path: str, value: Any) -> None:
        if path in self._values:
            raise InvalidInputError(f"overrides sets {path} twice; keep one of the two lines")
        self._values[path] = value

    def _add_parameter(self, path: str, value: Any) -> None:
        key, *inner = path.removeprefix(f"{PARAMETERS}.").split(".")
        for part in reversed(inner):
            value = {part: value}
        known = self.parameters.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and not known.keys() & value.keys():
            value = {**known, **value}
        elif key in self.parameters:
            raise InvalidInputError(f"overrides sets {path} twice; keep one of the two lines")
        self.parameters[key] = value

    def _checked(self, path: str, value: Any) -> Any:
        refuse_if_not_settable(path)
        if path not in self._fields:
            raise InvalidInputError(f"overrides: {path} does not exist{nearest(path, self.settable_paths())}")
        field = self._fields[path]
        kind: Any = Annotated[field.annotation, field]
        adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
        if isinstance(value, bool) and not _accepts_bool(field.annotation):
            raise InvalidInputError(f"overrides: {path} must be {_wanted(field)}, not {_yaml(value)}")
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("Input ")
            raise InvalidInputError(f"overrides: {path} {message} ({_wanted(field)}), not {_yaml(value)}") from None

    def settable_paths(self) -> list[str]:
        """Return the paths that a user may set (without the engine's parameters)."""
        return [p for p in self._fields if p not in _SET_ELSEWHERE and p.split(".")[0] not in _SET_ELSEWHERE]

    def apply_to_parameters(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the engine's parameters with the user's values in place.

        Parameters
        ----------
        chosen
            Parameters that the engine chose; they also say which names and types exist.

        Raises
        ------
        InvalidInputError
            Unknown parameter, or a value of another kind than the chosen one.
        """
        result = dict(chosen)
        for key, value in self.parameters.items():
            path = f"{PARAMETERS}.{key}"
            if key not in chosen:
                raise InvalidInputError(
                    f"overrides: {path} does not exist{nearest(path, [f'{PARAMETERS}.{k}' for k in chosen])}"
                )
            if isinstance(chosen[key], Mapping) and isinstance(value, Mapping):
                result[key] = {**chosen[key], **_like_inside(chosen[key], value, path)}
            else:
                result[key] = like(chosen[key], value, path)
        return result


def leaf_fields(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return the fields of a model and of the models inside it, by dotted path; containers are left out."""
    leaves: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None:
            leaves[f"{prefix}{name}"] = field
        else:
            leaves |= leaf_fields(inner, f"{prefix}{name}.")
    return leaves


def refuse_if_not_settable(path: str) -> None:
    """Raise `InvalidInputError` when a path belongs elsewhere in the input or to the package."""
    for known in (path, path.split(".")[0], ".".join(path.split(".")[:2])):
        if known in _SET_ELSEWHERE:
            raise InvalidInputError(f"overrides cannot set {path}; {_SET_ELSEWHERE[known]}")


def nearest(path: str, valid: list[str]) -> str:
    """Return ``; did you mean X?`` with the nearest path, or the valid paths when nothing is near."""
    last = path.rsplit(".", 1)[-1]
    by_last = {p.rsplit(".", 1)[-1]: p for p in valid}
    close = (
        difflib.get_close_matches(path, valid, n=1, cutoff=0.75)
        or [by_last[k] for k in difflib.get_close_matches(last, by_last, n=1, cutoff=0.6)]
        or difflib.get_close_matches(path, valid, n=1, cutoff=0.6)
    )
    if close:
        return f"; did you mean {close[0]}?"
    if len(valid) > MAX_SHOWN:
        groups = ", ".join(dict.fromkeys(path.split(".")[0] for path in valid))
        return f"; its groups are {groups}, and `mlip-auto plan` shows every path"
    return f"; valid: {', '.join(valid)}" if valid else "; this engine has no parameters to set"


def like(chosen: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the kind of thing that ``chosen`` is.

    Strings that YAML 1.1 does not see as numbers (``1e-6``) become numbers where a number is meant.

    Raises
    ------
    InvalidInputError
        The kinds differ.
    """
    wanted: str
    if chosen is None:
        return value
    if isinstance(chosen, bool):
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    elif isinstance(chosen, int | float):
        number = _as_number(value)
        if number is not None and (isinstance(chosen, float) or number == int(number)):
            return float(number) if isinstance(chosen, float) else int(number)
        wanted = "a number" if isinstance(chosen, float) else "a whole number"
    elif isinstance(chosen, list | tuple):
        if isinstance(value, list | tuple) and len(value) == len(chosen):
            return [like(c, v, path) for c, v in zip(chosen, value, strict=True)]
        wanted = f"a list of {len(chosen)} values such as {_yaml(chosen)}"
    elif isinstance(chosen, str):
        if isinstance(value, str):
            return value
        wanted = f"a word such as {chosen}"
    else:
        if isinstance(value, Mapping):
            return dict(value)
        wanted = "a mapping of names to values"
    raise InvalidInputError(f"overrides: {path} must be {wanted}, not {_yaml(value)}")


def _like_inside(chosen: Mapping[str, Any], value: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Check a group of values; names that the engine did not choose pass unless they look misspelled."""
    checked = {}
    for name, inner in value.items():
        if name not in chosen:
            close = difflib.get_close_matches(str(name), list(chosen), n=1, cutoff=0.75)
            if close:
                raise InvalidInputError(f"overrides: {path}.{name} does not exist; did you mean {path}.{close[0]}?")
            checked[name] = inner
        else:
            checked[name] = like(chosen[name], inner, f"{path}.{name}")
    return checked


def _pairs(given: Mapping[str, Any], fields: Mapping[str, FieldInfo], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten down to the leaves of the schema; below ``reference.parameters`` down to the engine's keys."""
    containers = {path[:i] for path in fields for i, c in enumerate(path) if c == "."} | {PARAMETERS}
    pairs: list[tuple[str, Any]] = []
    for key, value in given.items():
        path = f"{prefix}{key}"
        if path in containers and path not in _SET_ELSEWHERE:
            if not isinstance(value, Mapping):
                raise InvalidInputError(
                    f"overrides: {path} is a group of values; write {path}.<name>: value, not {path}: {_yaml(value)}"
                )
            pairs += _pairs(value, fields, f"{path}.")
        elif isinstance(value, Mapping) and path not in fields and not path.startswith(f"{PARAMETERS}."):
            inner = _pairs(value, fields, f"{path}.")
            pairs += inner or [(path, value)]
        else:
            pairs.append((path, value))
    return pairs


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            # dict[str, Model] is one leaf
            return candidate if candidate is annotation or _is_union(annotation) else None
    return None


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _accepts_bool(annotation: Any) -> bool:
    return annotation is bool or bool in get_args(annotation)


def _wanted(field: FieldInfo) -> str:
    annotation = field.annotation
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    names = [kinds[k] for k in (annotation, *get_args(annotation)) if k in kinds]
    if names:
        return names[0]
    if get_origin(annotation) is Literal:
        return "a word"
    inner = [one for part in (annotation, *get_args(annotation)) if get_origin(part) is list for one in get_args(part)]
    if any(float in (one, *get_args(one)) for one in inner):
        return "a list of numbers"
    return "a list of words" if any(get_origin(one) is Literal for one in inner) else "a list of six-component strains"


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _yaml(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, width=10_000) if _is_plain(value) else repr(value)
    return text.removesuffix("...\n").strip()


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | list | dict | None)
