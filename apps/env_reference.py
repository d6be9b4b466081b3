"""Writes docs/environments.md: `python -m sim2street.apps.env_reference > docs/environments.md`.

Ids, spaces, tasks, reward terms, options and info keys come from the registry, the configs and
the docstrings of the models that validate them. A test compares the page with this output.
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
from sim2street.envs.images import ImageConfig
from sim2street.envs.observations import ObservationConfig
from sim2street.envs.rewards import ENDINGS, REWARD_TERMS
from sim2street.envs.state import VECTOR_OBSERVATIONS
from sim2street.envs.tasks import TaskConfig

INTRODUCTION = """\
# Environments

This page is generated from the code by \
`python -m sim2street.apps.env_reference > docs/environments.md`; do not edit it by hand. \
[tutorial.md](tutorial.md) shows how to use the environments, [learning.md](learning.md) what \
agents learn in them.

```python
import gymnasium
import sim2street  # registers the ids

env = gymnasium.make("sim2street/TownRouteState-v0", actions={"repeat": 4})
```

Each id has a config, `configs/env/<name>.yaml`. Keyword arguments of `make` replace keys of it; \
mappings are merged key by key. An unknown key raises an error with a suggestion.

To change the reward of a task, give other weights: \
`make(..., task={"rewards": {"collision": -20.0}})`, or edit its config. To add a reward term, \
write a function in `envs/rewards.py`."""

PACE = """\
No trick earns more than driving by the rules, and none is a success; a test tries standing, \
crawling, spinning, the pavement, red lights and speeding in every task. Two imaginary cars decide \
what is too slow and too fast (`envs/pace.py`). The slow one drives half the speed limit, and \
waits for a red or yellow light within 30 m, a vehicle ahead within 15 m and a hazard within 30 m. \
The fast one drives a tenth more than the limit, and brakes gently where the limit falls. \
`too_slow` is met 30 m behind the slow car, `too_fast` 3 m ahead of the fast one. Ground that was \
lost can be made up for."""

IDS = """\
Ids with `State` have no camera. Ids with `Neural` give photorealistic images. All other ids \
give images in the colours of their labels."""

SPLITS = """\
Each episode draws its town, its traffic and, with `Neural`, its style from its seed. Training \
and test episodes draw from different towns and styles. Training is the default; \
`make(..., episodes={"split": "test"})` selects test episodes, and \
`reset(options={"split": "test"})` selects one for this reset only. Ids that are not in the \
table have no splits.

With a fixed town (`world_settings={"town": 3}`) there are no towns to choose from. Where a split \
would choose neither a town nor a style, `reset(options={"split": ...})` raises an error."""

RENDERING = """\
- `make(..., render_mode="rgb_array")`: `render()` returns the camera image, uint8 (kH, kW, 3), \
where k is `image_scale`.
- `render_mode="side_by_side"`: `render()` returns labels, depth and camera image in a row.
- `render_mode="human"`: every step and reset shows the camera image in a window. Needs the \
extra `human`.
- `render_mode="rgb_array_list"` or `"side_by_side_list"`: `render()` returns all images since \
its last call, as a list.

An env whose world has no camera cannot render.

`state = env.unwrapped.get_state()` takes a snapshot, and `env.unwrapped.set_state(state)` goes \
back to it, including the memory of the renderer. Only the embedded town, in the same process, \
can save its state; other worlds raise a `WorldError`.

A snapshot fits every env with the same task in a town with the same tick, layout and ego \
settings; elsewhere `set_state` raises a `ConfigError` that names what differs. Observations may \
differ: a snapshot of `TownRouteState-v0` continues in `TownRoute-v0`, with images. Then stacked \
and delayed observations begin anew, and so does the memory of another renderer or camera.

`copy.deepcopy(env)` gives an env of its own in the same state, where everything in it can be \
copied; it builds its meshes anew when it renders. An env that talks to a server, a CARLA process \
or a file raises a `TypeError`."""

VECTORS = """\
All are float32 vectors, and every element is clipped to [-1, 1]. `3. lane offset / 2 m` means \
that element 3 is the lane offset divided by 2 m. Positive is to the left, and counter-clockwise.

`hazards` tells of up to six vehicles, pedestrians and two-wheelers that are on the ego's path or \
will reach it within six seconds at their present speed, at most 50 m ahead, the nearest first. \
The path is the route, or the lane where there is no route. Distances are from the ego's front \
bumper to the near end of the other; offsets are of its centre. A place without a hazard is 0, but \
its distance is 1. Parked cars beside the lane, oncoming traffic in its own lane and pedestrians \
on the pavement are no hazards."""

MODELS: Mapping[str, tuple[type[BaseModel], str]] = {
    "The env": (EnvConfig, "Keys of `gymnasium.make` and of `configs/env/*.yaml`."),
    "`observation`": (ObservationConfig, "What the agent sees (`envs/observations.py`)."),
    "`observation.pictures`": (
        ImageConfig,
        "Size of images, and classes of the label map (`envs/images.py`).",
    ),
    "`actions`": (ActionConfig, "What the agent does (`envs/actions.py`)."),
    "`task`": (TaskConfig, "What is rewarded, and when an episode ends (`envs/tasks.py`)."),
    "`episodes`": (EpisodeConfig, "What differs between episodes (`envs/episodes.py`)."),
    "`reset(options=...)` of the town": (
        TownOptions,
        'Besides these, there are `split` ("train" or "test") and, with a renderer, `style`.',
    ),
}
"""Heading -> the config model of its table, and a sentence above it."""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, "## Ids", IDS, _ids(), "## Spaces", _spaces(), "## Tasks", _tasks()]
    parts += ["## Reward terms and endings", PACE, _terms()]
    parts += ["## Splits", SPLITS, _splits()]
    parts += ["## Render modes and snapshots", RENDERING]
    parts += ["## Elements of `state`, `route` and `hazards`", VECTORS]
    parts += [_vector(key) for key in VECTOR_OBSERVATIONS]
    parts.append("## Options")
    for heading, (model, sentence) in MODELS.items():
        parts += [f"### {heading}", sentence, _fields(model)]
    parts += ["## Info", _info()]
    return "\n\n".join(parts) + "\n"


def _ids() -> str:
    rows = []
    for env_id, name in envs.ENV_CONFIGS.items():
        data = env_config(name, {})
        observation = parse(ObservationConfig, data.observation, name)
        keys = ", ".join(f"`{key}`" for key in observation.keys)
        renderer = f"`{data.renderer}`" if data.renderer else "–"
        rows.append((f"`{env_id}`", f"`{name}`", f"`{data.world}`", renderer, keys))
    return _table(("id", "config", "world", "renderer", "observation"), rows)


def _spaces() -> str:
    """Spaces of the town's ids; ids with equal spaces share a row."""
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
        text += f"\n\n{', '.join(others)}: the image has the size of the world's camera."
    return text


def _without_network(name: str) -> str | None:
    """The palette in place of a neural renderer: it gives the same space without torch."""
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
            ", ".join((*task.endings, *(f"{c} (truncates)" for c in task.cutoffs))) or "–",
            ", ".join(task.success) or "–",
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
    names = VECTOR_OBSERVATIONS[key].fields
    lines = [f"`{key}`, float32 ({len(names)},):", ""]
    return "\n".join(lines + [f"{i}. {name}" for i, name in enumerate(names)])


def _terms() -> str:
    rows = []
    for name, term in REWARD_TERMS.items():
        described = ENDINGS.get(name, term)
        kind = "ending; as a reward term, 1 on the tick it is met" if name in ENDINGS else "term"
        rows.append((f"`{name}`", kind, _one_line(described.__doc__)))
    return _table(("name", "kind", "value"), rows)


def _fields(model: type[BaseModel]) -> str:
    rows = []
    described = _attributes(model.__doc__ or "")
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        rows.append((f"`{name}`", kind, _default(field), described.get(name, "")))
    return _table(("key", "type", "default", "meaning"), rows)


def _kind(annotation: Any) -> str:
    """A type as text, such as `tuple[int, int] or None`, without its constraints."""
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
        return "see its table"
    if value is None or value in ({}, ()):
        return "–"
    return f"`{value}`"


def _attributes(docstring: str) -> dict[str, str]:
    """Attribute -> its description, from the section `Attributes:` of a docstring.

    A description ends with a full stop; after it, the next attribute may begin on the same line.
    """
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
    """The paragraph of DrivingEnv's docstring about `info`."""
    paragraphs = (DrivingEnv.__doc__ or "").split("\n\n")
    chosen = [_one_line(text) for text in paragraphs if text.lstrip().startswith("Info of ")]
    assert chosen
    return "\n\n".join(chosen)


def _one_line(docstring: str | None) -> str:
    return re.sub(r"\s+", " ", docstring or "").strip()


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
