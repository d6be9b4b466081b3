"""The composition root: the only place that builds Worlds, Renderers and Envs from YAML.

A world or renderer is named in one of three ways: a shipped config (`town`, `palette`,
`neural`), a YAML file of the user's (`my_town.yaml`), or the thing itself (an endpoint
`tcp://host:5555`, a recording `drive.mcap`, weights `mine.safetensors`). Each kind's own
model checks its keys; what a kind needs is imported only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from bridge.renderer import PaletteRenderer, RenderedWorld, Renderer, StyleChoice
from bridge.world import World
from configs import ConfigError, StrictModel, did_you_mean, find_config, parse, read_yaml

if TYPE_CHECKING:
    from envs.driving import DrivingEnv

Built = TypeVar("Built")
Settings = Mapping[str, Any]
Builder = Callable[[dict[str, Any], str], Built]

ENDPOINT_SCHEMES = ("tcp://", "ipc://", "inproc://")


class ReplayConfig(StrictModel):
    """Which recording to play. `recover`: read as far as a broken file goes."""

    path: Path
    recover: bool = False


class PaletteConfig(StrictModel):
    """The palette renderer has nothing to configure."""


def build_world(name: str, settings: Settings | None = None) -> World:
    """A World by name, endpoint, recording or YAML file; `settings` replace its keys."""
    if name.startswith(ENDPOINT_SCHEMES):
        return _build("world", WORLDS, {"kind": "remote", "endpoint": name}, name, settings)
    if name.endswith(".mcap"):
        return _build("world", WORLDS, {"kind": "replay", "path": name}, name, settings)
    return _build("world", WORLDS, read_yaml(find_config("world", name)), name, settings)


def build_renderer(name: str, settings: Settings | None = None) -> Renderer:
    """A Renderer by name, endpoint, weights or YAML file; `settings` replace its keys."""
    if name.startswith(ENDPOINT_SCHEMES):
        return _build("renderer", RENDERERS, {"kind": "remote", "endpoint": name}, name, settings)
    if name.endswith(".safetensors"):
        data = {"kind": "neural", "checkpoint": name}
        return _build("renderer", RENDERERS, data, name, settings)
    data = read_yaml(find_config("renderer", name))
    return _build("renderer", RENDERERS, data, name, settings)


@contextmanager
def open_rendered(
    world: World, renderer: Renderer, style: StyleChoice = "default", scale: int = 1
) -> Iterator[RenderedWorld]:
    """An open RenderedWorld; both parts are released however this ends."""
    rendered = RenderedWorld(world, renderer, style, scale)
    try:
        rendered.open()
        yield rendered
    finally:
        rendered.close()


class EnvConfig(StrictModel):
    """An env as YAML: a world, perhaps a renderer around it, and a task.

    Attributes:
        world, renderer: names as `build_world` and `build_renderer` take them.
        world_settings, renderer_settings: replace keys of those configs.
        style: of the renderer; `reset(options={"style": ...})` chooses per episode.
        image_scale: size of the image over the size of the labels.
        actions, observation, task: see `envs.actions`, `envs.observations`, `envs.tasks`.
    """

    world: str = "town"
    world_settings: dict[str, Any] = Field(default_factory=dict)
    renderer: str | None = None
    renderer_settings: dict[str, Any] = Field(default_factory=dict)
    style: str = "default"
    image_scale: int = Field(default=1, ge=1)
    actions: dict[str, Any] = Field(default_factory=dict)
    observation: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)


def make_env(
    config: str = "town_follow", render_mode: str | None = None, **settings: Any
) -> DrivingEnv:
    """A DrivingEnv by the name of its config; `settings` replace keys of `EnvConfig`.

    `gymnasium.make("sim2street/TownFollow-v0", renderer="tcp://gpu:5556")` ends up here.
    """
    with needs_extra("env"):
        from envs.actions import ActionConfig, make_actions
        from envs.driving import DrivingEnv
        from envs.observations import ObservationConfig
        from envs.tasks import Task, TaskConfig
    data = parse(EnvConfig, {**read_yaml(find_config("env", config)), **settings}, config)
    task = Task(parse(TaskConfig, data.task, f"{config}: task"))
    actions = make_actions(parse(ActionConfig, data.actions, f"{config}: actions"))
    observation = parse(ObservationConfig, data.observation, f"{config}: observation")
    world = build_world(data.world, data.world_settings)
    if data.renderer is not None:
        renderer = build_renderer(data.renderer, data.renderer_settings)
        world = RenderedWorld(world, renderer, data.style, data.image_scale)
    return DrivingEnv(world, task, actions, observation, data.image_scale, render_mode)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns a missing third-party package into the `pip install` that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs the package '{error.name}', which is not installed: "
            f'pip install "sim2street[{extra}]"'
        ) from error


def _town(data: dict[str, Any], source: str) -> World:
    with needs_extra("town"):
        from bridge.town.world import TownConfig, TownWorld
    return TownWorld(parse(TownConfig, data, source))


def _remote_world(data: dict[str, Any], source: str) -> World:
    from bridge.transport import ClientConfig, RemoteWorld

    return RemoteWorld(parse(ClientConfig, data, source))


def _replay(data: dict[str, Any], source: str) -> World:
    with needs_extra("recording"):
        from bridge.recording import ReplayWorld
    config = parse(ReplayConfig, data, source)
    return ReplayWorld(config.path, recover=config.recover)


def _palette(data: dict[str, Any], source: str) -> Renderer:
    parse(PaletteConfig, data, source)
    return PaletteRenderer()


def _neural(data: dict[str, Any], source: str) -> Renderer:
    with needs_extra("neural"):
        from neural_renderer.session import NeuralConfig, NeuralRenderer
    return NeuralRenderer(parse(NeuralConfig, data, source))


def _remote_renderer(data: dict[str, Any], source: str) -> Renderer:
    from bridge.transport import ClientConfig, RemoteRenderer

    return RemoteRenderer(parse(ClientConfig, data, source))


WORLDS: Mapping[str, Builder[World]] = {
    "town": _town,
    "remote": _remote_world,
    "replay": _replay,
}

RENDERERS: Mapping[str, Builder[Renderer]] = {
    "palette": _palette,
    "neural": _neural,
    "remote": _remote_renderer,
}


def _build(
    what: str,
    builders: Mapping[str, Builder[Built]],
    data: Mapping[str, Any],
    source: str,
    settings: Settings | None,
) -> Built:
    rest = {**data, **(settings or {})}
    kind = rest.pop("kind", None)
    if kind is None:
        raise ConfigError(f"{source}: the key 'kind' is missing; one of {', '.join(builders)}")
    if kind not in builders:
        raise ConfigError(
            f"{source}: unknown {what} kind '{kind}'{did_you_mean(str(kind), list(builders))}"
        )
    return builders[kind](rest, source)
