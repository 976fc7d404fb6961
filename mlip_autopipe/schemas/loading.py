"""Read ``input.yaml`` and turn every mistake in it into one sentence that says how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.config import UserConfig
from mlip_autopipe.schemas.words import suggestion


def load_user_config(path: Path | str) -> UserConfig:
    """Read and validate an input file.

    A relative ``target_system.structure`` or one of ``structures``, and files that ``reference.kwargs`` name, are taken
    relative to the input file.

    Parameters
    ----------
    path
        A YAML file.

    Returns
    -------
    UserConfig
        The validated input; ``target_system.structure`` is absolute.

    Raises
    ------
    InvalidInputError
        The file is missing, is no YAML mapping, or breaks the schema.
    """
    path = Path(path).expanduser()
    data = load_yaml(path)
    if data is None:
        raise InvalidInputError(f"{path} is empty; `mlip-auto init` writes an example")
    if not isinstance(data, dict):
        raise InvalidInputError(
            f"{path} must hold `key: value` lines such as `project_name: al-elastic`, not {_kind(data)}"
        )
    config = parse_user_config(data, origin=str(path))
    structure = config.target_system.structure
    if structure is not None:
        config.target_system.structure = (path.parent / structure.expanduser()).resolve()
    if config.target_system.structures is not None:
        config.target_system.structures = [
            (path.parent / one.expanduser()).resolve() for one in config.target_system.structures
        ]
    config.reference.kwargs = _files_beside(path.parent, config.reference.kwargs)
    return config


def _files_beside(folder: Path, value: Any) -> Any:
    """Make absolute what names a file relative to a folder; everything else stays as it is."""
    if isinstance(value, dict):
        return {key: _files_beside(folder, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_files_beside(folder, inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        file = folder / Path(value).expanduser()
        return str(file.resolve()) if file.is_file() else value
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, the home of nobody
        return value


def load_yaml(path: Path) -> Any:
    """Read a YAML file by the rules of YAML 1.2: ``No`` is nobelium, ``1e-3`` a number, a repeated key a mistake.

    Raises
    ------
    InvalidInputError
        The file is missing, unreadable or no YAML.
    """
    import yaml

    from mlip_autopipe.schemas.yaml_loader import CoreSchemaLoader

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"input file {path} does not exist; `mlip-auto init` writes one") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"input file {path} is not text in UTF-8; save it as such") from None
    except OSError as error:
        raise InvalidInputError(f"input file {path} cannot be read: {error.strerror or error}") from None
    try:
        return yaml.load(text, Loader=CoreSchemaLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        hint = "; indent with spaces, not tabs" if "\\t" in problem else ""
        raise InvalidInputError(f"{path} is not valid YAML{where}: {problem}{hint}") from None


def parse_user_config(data: dict[str, Any], *, origin: str = "input") -> UserConfig:
    """Validate a mapping that holds the user's input.

    Raises
    ------
    InvalidInputError
        With one sentence about the first mistake (unknown keys come first).
    """
    try:
        return UserConfig.model_validate(data)
    except ValidationError as error:
        # a key or value of the user's may hold line breaks; the sentence does not
        sentence = " ".join(describe(error, UserConfig).splitlines())
        raise InvalidInputError(f"{origin}: {sentence}") from None


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in one sentence what is wrong first, and what to write instead."""
    first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    kind = first["type"]
    if kind == "extra_forbidden":
        key = str(first["loc"][-1])
        siblings = list(_model_at(model, first["loc"][:-1]).model_fields)
        return f"unknown key {where!r}{suggestion(key, siblings)}"
    if kind == "missing":
        example = _EXAMPLES.get(where)
        return f"{where} is missing; add it" + (f", for example `{example}`" if example else "")
    if kind == "literal_error":
        valid = _literal_values(model, first["loc"])
        return f"{where} is {first['input']!r}{suggestion(str(first['input']), valid)}"
    if kind == "string_pattern_mismatch":
        return (
            f"{where} is {first['input']!r}; use at most 63 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    wanted = _WANTED.get(kind)
    if wanted is not None:
        return f"{where or 'input'} must be {wanted.format(**first.get('ctx', {}))}, not {_shown(first['input'])}" + (
            _HINTS.get(kind, "").format(input=first["input"])
        )
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


_EXAMPLES = {
    "project_name": "project_name: al-elastic",
    "target_system": "target_system: {elements: [Al]}",
    "simulation_goal": "simulation_goal: elastic",
}

_WHOLE = "a whole number"
_WANTED = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a group of `key: value` lines",
    "model_type": "a group of `key: value` lines",
    "model_attributes_type": "a group of `key: value` lines",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "the path of a file",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
"""What a pydantic error type asks for, in the user's words."""

_HINTS = {"string_type": "; put it in quotes", "list_type": "; write [{input}]"}


def _shown(value: Any) -> str:
    """Show a wrong value briefly; groups by their kind only."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list) or value is None:
        return _kind(value)
    return repr(value) if isinstance(value, str) else str(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a group of `key: value` lines"
    return "a list" if isinstance(value, list) else f"the single value {_shown(value)}"


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return model


def _literal_values(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    annotation = _model_at(model, loc[:-1]).model_fields[str(loc[-1])].annotation
    args = get_args(annotation)
    nested = [value for arg in args for value in get_args(arg)]
    return [str(v) for v in (nested or args)]
