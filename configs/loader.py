"""One strict YAML loader: every key is known, or the error says what was meant.

A config model stands right above the class it configures and derives from
`StrictModel`; this module only reads files and explains mistakes.
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
    """Frozen pydantic model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def did_you_mean(word: str, known: list[str]) -> str:
    """A hint such as `; did you mean 'town'?`, or the list of what is known."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(sorted(known))}"


def parse(model: type[Model], data: Mapping[str, Any], source: str = "config") -> Model:
    """Validate `data` against `model`.

    Raises:
        ConfigError: one line per mistake, each naming the key and what would fit.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping from `path`, or raise ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(data).__name__}")
    return data


def find_config(kind: str, name: str) -> Path:
    """Path of a shipped config such as ("world", "town"), or of a file of the user's.

    `name` may be a path to a YAML file or the name of a shipped one.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("configs"))) / kind
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise ConfigError(f"no {kind} config named '{name}'{did_you_mean(name, known)}")
    return path


def load(model: type[Model], kind: str, name: str) -> Model:
    """Read and validate a shipped or user-given config."""
    path = find_config(kind, name)
    return parse(model, read_yaml(path), source=str(path))


def _explain(model: type[BaseModel], item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        owner = _owner(model, item["loc"][:-1])
        hint = did_you_mean(str(item["loc"][-1]), list(owner.model_fields)) if owner else ""
        return f"unknown key '{where}'{hint}"
    return f"'{where}': {item['msg']} (got {item.get('input')!r})"


def _owner(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The nested model that `path` leads to, where it can be found."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        if field is None:
            continue  # a list index or a union tag: same owner
        candidates = [field.annotation, *get_args(field.annotation)]
        current = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
    return current
