"""Read ``input.yaml`` and turn every mistake in it into one sentence that says how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.config import UserConfig


def load_user_config(path: Path | str) -> UserConfig:
    """Read and validate an input file.

    A relative ``target_system.structure`` is taken relative to the input file.

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
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInputError(
            f"input file {path} does not exist; `mlip-auto init` writes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"input file {path} cannot be read: {error}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidInputError(f"{path} is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path} must hold `key: value` lines such as `project_name: al-elastic`")
    config = parse_user_config(data, origin=str(path))
    structure = config.target_system.structure
    if structure is not None:
        config.target_system.structure = (path.parent / structure).resolve()
    return config


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
        raise InvalidInputError(f"{origin}: {describe(error, UserConfig)}") from None


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in one sentence what is wrong first, and what to write instead."""
    first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
    where = ".".join(str(part) for part in first["loc"])
    kind = first["type"]
    if kind == "extra_forbidden":
        key = str(first["loc"][-1])
        siblings = list(_model_at(model, first["loc"][:-1]).model_fields)
        return f"unknown key {where!r}{suggestion(key, siblings)}"
    if kind == "missing":
        return f"{where} is missing; add it"
    if kind == "literal_error":
        valid = _literal_values(model, first["loc"])
        return f"{where} is {first['input']!r}{suggestion(str(first['input']), valid)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


def suggestion(word: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean X?``, or the list of valid words when it is short, or nothing."""
    valid = list(valid)
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.6) or [
        v for v in valid if v.lower() == word.lower()
    ]
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(valid)}" if len(valid) <= 12 else ""


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
