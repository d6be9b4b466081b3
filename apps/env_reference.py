"""Writes docs/environments.md from the code: `python -m sim2street.apps.env_reference > THE_PAGE`.

Ids, spaces, tasks, terms, options and info keys are read off the registry, the configs and
the models that check them; a test holds the page against the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import gymnasium
from gymnasium import spaces
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sim2street import envs
from sim2street.apps.compose import EnvConfig, env_config
from sim2street.bridge.town.world import TownOptions
from sim2street.configs import parse
from sim2street.envs.actions import ActionConfig
from sim2street.envs.driving import DrivingEnv
from sim2street.envs.episodes import EpisodeConfig
from sim2street.envs.images import PictureConfig
from sim2street.envs.observations import ObservationConfig
from sim2street.envs.state import VECTORS
from sim2street.envs.tasks import TaskConfig
from sim2street.envs.terms import ENDINGS, TERMS

INTRODUCTION = """\
# Environments

Written from the code by `python -m sim2street.apps.env_reference > docs/environments.md`; a \
test holds it against the code. How to use them: [tutorial.md](tutorial.md). What agents \
learn in them: [learning.md](learning.md).

```python
import gymnasium, envs  # registers the ids

env = gymnasium.make("sim2street/TownRouteState-v0", actions={"repeat": 4})
```

Keyword arguments of `make` change keys of the id's config, mapping by mapping; an unknown \
key is answered with the one that was meant."""

SPLITS = """\
Episodes differ by their seed. Which towns and styles they are drawn from is a split of the \
ids: `make(..., episodes={"split": "test"})`, or `reset(options={"split": "test"})` for one \
episode. Ids that are not here draw from what their world and renderer have."""

RENDERING = """\
`make(..., render_mode="rgb_array")` lets `render()` return the picture (uint8 (kH, kW, 3)), \
`"side_by_side"` labels, depth and picture next to each other; `"human"` shows the picture in \
a window at every step (extra `human`). An env without cameras has nothing to render.

`env.unwrapped.get_state()` and `set_state(state)` go back to where a snapshot was \
taken, what the renderer remembers included, where the world can."""

MODELS: Mapping[str, tuple[type[BaseModel], str]] = {
    "The env": (EnvConfig, "Keys of `gymnasium.make` and of `configs/env/*.yaml`."),
    "`observation`": (ObservationConfig, "What the agent gets."),
    "`observation.pictures`": (PictureConfig, "How pictures are made smaller."),
    "`actions`": (ActionConfig, "What the agent does."),
    "`task`": (TaskConfig, "What is rewarded, and when it ends."),
    "`episodes`": (EpisodeConfig, "What differs from episode to episode."),
    "`reset(options=...)` of the town": (
        TownOptions,
        "`split` (train or test) and, with a renderer, `style` go beside these.",
    ),
}
"""Heading -> the model behind it, and a sentence."""


def page() -> str:
    """The whole page, Markdown."""
    parts = [INTRODUCTION, "## Ids", _ids(), "## Spaces", _spaces(), "## Tasks", _tasks()]
    parts += ["## Splits", SPLITS, _splits()]
    parts += ["## Render modes and snapshots", RENDERING]
    parts += ["## Vectors", *(_vector(key) for key in VECTORS)]
    parts += ["## Reward terms and endings", _terms()]
    parts.append("## Options")
    for heading, (model, sentence) in MODELS.items():
        parts += [f"### {heading}", sentence, _fields(model)]
    parts += ["## Info", _info()]
    return "\n\n".join(parts) + "\n"


def _ids() -> str:
    rows = []
    for env_id, name in envs.ENV_CONFIGS.items():
        data = env_config(name, {})
        seen = parse(ObservationConfig, data.observation, name)
        keys = ", ".join(f"`{key}`" for key in seen.keys)
        rows.append((f"`{env_id}`", f"`{data.world}`", f"`{data.renderer or '–'}`", keys))
    return _table(("id", "world", "renderer", "observation"), rows)


def _spaces() -> str:
    """Of the town's ids, which can be opened anywhere; ids of equal spaces share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    others = []
    for env_id, name in envs.ENV_CONFIGS.items():
        if not env_config(name, {}).world.startswith("town"):
            others.append(f"`{env_id}`")
            continue
        env = gymnasium.make(env_id, renderer=_without_network(name)).unwrapped
        try:
            key = _space(env.observation_space), _space(env.action_space)
        finally:
            env.close()
        rows.setdefault(key, []).append(f"`{env_id.removeprefix('sim2street/')}`")
    text = _table(
        ("observation", "action", "ids"), [(*key, ", ".join(ids)) for key, ids in rows.items()]
    )
    if others:
        text += f"\n\n{', '.join(others)}: pictures have the size of the world's cameras."
    return text


def _without_network(name: str) -> str | None:
    """A renderer of the same space: the palette in the place of a network's weights."""
    return "palette" if env_config(name, {}).renderer is not None else None


def _space(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Dict):
        return "Dict: " + "; ".join(f"`{key}` {_space(part)}" for key, part in space.items())
    if isinstance(space, spaces.Box):
        low, high = space.low.min(), space.high.max()
        return f"Box {low:g} to {high:g} {space.shape} {space.dtype}"
    return str(space)


def _tasks() -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    for env_id, name in envs.ENV_CONFIGS.items():
        task = parse(TaskConfig, env_config(name, {}).task, name)
        key = (
            ", ".join(f"{term} {weight:g}" for term, weight in task.rewards.items()),
            ", ".join((*task.endings, *(f"{c} (cut off)" for c in task.cutoffs))) or "–",
            ", ".join(task.success),
            f"{task.time_limit_s:g} s",
            ", ".join(f"{k} {v}" for k, v in task.reset_options.items()) or "–",
        )
        rows.setdefault(key, []).append(f"`{env_id.removeprefix('sim2street/')}`")
    heads = ("ids", "rewards", "endings", "success", "time limit", "reset options")
    return _table(heads, [(", ".join(ids), *key) for key, ids in rows.items()])


def _splits() -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    for env_id, name in envs.ENV_CONFIGS.items():
        drawn = parse(EpisodeConfig, env_config(name, {}).episodes, name)
        key = (
            _range(drawn.train_towns),
            _range(drawn.test_towns),
            ", ".join(drawn.train_styles) or "–",
            ", ".join(drawn.test_styles) or "–",
            "–" if drawn.traffic is None else "{:g} to {:g}".format(*drawn.traffic),
        )
        if set(key) != {"–"}:
            rows.setdefault(key, []).append(f"`{env_id.removeprefix('sim2street/')}`")
    heads = ("ids", "training towns", "test towns", "training styles", "test styles", "traffic")
    return _table(heads, [(", ".join(ids), *key) for key, ids in rows.items()])


def _range(ids: tuple[int, int] | None) -> str:
    return "–" if ids is None else f"{ids[0]} to {ids[1] - 1}"


def _vector(key: str) -> str:
    names = VECTORS[key][0]
    lines = [f"`{key}`, float32 ({len(names)},), each clipped to [-1, 1]:", ""]
    return "\n".join(lines + [f"{i}. {name}" for i, name in enumerate(names)])


def _terms() -> str:
    rows = []
    for name, term in TERMS.items():
        what = ENDINGS.get(name, term)
        kind = "ending, and 1 on its tick as a term" if name in ENDINGS else "term"
        rows.append((f"`{name}`", kind, _first_sentence(what.__doc__)))
    return _table(("name", "kind", "what"), rows)


def _fields(model: type[BaseModel]) -> str:
    rows = []
    described = _attributes(model.__doc__ or "")
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        rows.append((f"`{name}`", kind, _default(field), described.get(name, "")))
    return _table(("key", "type", "default", "what"), rows)


def _kind(annotation: Any) -> str:
    """A type as words: `tuple[int, int] or None`; constraints are left to the checks."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return ", ".join(f'"{part}"' for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in parts)
    if origin is not None:
        inside = ["..." if part is Ellipsis else _kind(part) for part in parts]
        return f"{origin.__name__}[{', '.join(inside)}]"
    if annotation is type(None):
        return "None"
    return getattr(annotation, "__name__", str(annotation))


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        value = field.default_factory() if field.default_factory is not None else "required"
    else:
        value = field.default
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value in ({}, ()):
        return "–"
    return f"`{value}`"


def _attributes(docstring: str) -> dict[str, str]:
    """Attribute -> its description, of the section `Attributes:` of a docstring."""
    _, found, section = docstring.partition("Attributes:\n")
    if not found:
        return {}
    described: dict[str, str] = {}
    text = re.sub(r"\n\s{8,}(?=\S)", lambda m: "\n+ " if m else "", section)
    entry = re.compile(r"(?:^|(?<=[.:] )|(?<=\n))\s*((?:[a-z_]+, )*[a-z_]+): ")
    joined = re.sub(r"\s+", " ", text.replace("\n+ ", " ")).strip()
    places = list(entry.finditer(joined))
    for i, place in enumerate(places):
        stop = places[i + 1].start() if i + 1 < len(places) else len(joined)
        for name in place.group(1).split(", "):
            described[name] = joined[place.end() : stop].strip()
    return described


def _info() -> str:
    text = re.sub(r"\s+", " ", DrivingEnv.__doc__ or "")
    step = re.search(r"Info of a step: (.*?`reset` works[^.]*\.)", text)
    reset = re.search(r"Info of a reset: ([^.]*\.)", text)
    assert step is not None
    assert reset is not None
    return f"Of a step: {step.group(1)}\n\nOf a reset: {reset.group(1)}"


def _first_sentence(docstring: str | None) -> str:
    return re.sub(r"\s+", " ", (docstring or "").strip()).partition(". ")[0]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
