"""Loads YAML files into strict pydantic models.

An unknown key is an error that suggests the nearest known one. A config model derives from
`StrictModel` and stands in the module of the class that it configures.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sim2street.configs.errors import ConfigError

Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """A frozen pydantic model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def did_you_mean(word: str, known: list[str]) -> str:
    """End of an error message: `; did you mean 'town'?`, or all known words if none is close."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(sorted(known))}"


def parse(model: type[Model], data: Mapping[str, Any], source: str = "config") -> Model:
    """Validate `data` against `model`; `source` starts the error message.

    Raises:
        ConfigError: lists every mistake with its key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping. ConfigError if it is not."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {type(data).__name__}")
    return data


def find_config(kind: str, name: str) -> Path:
    """Path of a config file.

    Args:
        kind: folder of shipped configs, such as "world".
        name: name of a shipped config, such as "town", or a path that ends in .yaml or .yml.

    Raises:
        ConfigError: there is no shipped config with this name.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("sim2street.configs"))) / kind
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise ConfigError(f"no {kind} config named '{name}'{did_you_mean(name, known)}")
    return path


def load(model: type[Model], kind: str, name: str) -> Model:
    """Read and validate a config; `kind` and `name` as in `find_config`."""
    path = find_config(kind, name)
    return parse(model, read_yaml(path), source=str(path))


def _explain(model: type[BaseModel], item: Any) -> str:
    """One of pydantic's error items as text."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        owner = _owner(model, item["loc"][:-1])
        hint = did_you_mean(str(item["loc"][-1]), list(owner.model_fields)) if owner else ""
        return f"unknown key '{where}'{hint}"
    return f"'{where}': {item['msg']} (got {item.get('input')!r})"


def _owner(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The nested model that `path` leads to; None if it cannot be found."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        if field is None:
            continue  # a list index or the tag of a union, which stays in the same model
        candidates = [field.annotation, *get_args(field.annotation)]
        current = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
    return current
