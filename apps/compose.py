"""The composition root: the only place that builds Worlds, Renderers and Envs from YAML.

A world or renderer is named in one of three ways: a shipped config (`town`, `palette`,
`neural`), a YAML file of the user's (`my_town.yaml`), or the thing itself (an endpoint
`tcp://host:5555`, a recording `drive.mcap`, weights `mine.safetensors`). Each kind's own
model checks its keys; what a kind needs is imported only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.remapped_world import RemappedWorld, remap_table
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.renderer import Renderer, StyleChoice
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, StrictModel, did_you_mean, find_config, parse, read_yaml

if TYPE_CHECKING:
    from sim2street.bridge.recording import ReplayWorld
    from sim2street.envs.driving import DrivingEnv

Built = TypeVar("Built")
AnyWorld = TypeVar("AnyWorld", bound=World)
Settings = Mapping[str, Any]
Builder = Callable[[dict[str, Any], str], Built]

OUR_PACKAGES = ("apps", "bridge", "configs", "envs", "neural_renderer")
MOST_RENDER_EVERY = 10
"""Renderers start afresh when more ticks than this have passed."""

ENDPOINT_SCHEMES = ("tcp://", "ipc://", "inproc://")


class ReplayConfig(StrictModel):
    """Which recording to play.

    Attributes:
        recover: read as far as a broken file goes.
        any_seed: a seed that was never recorded chooses an episode too.
    """

    path: Path
    recover: bool = False
    any_seed: bool = False


WEIGHTS_FOLDER = Path(str(resources.files("neural_renderer"))) / "weights"
"""What ships, a folder each: NAME/NAME.safetensors, its styles in styles/, its model card."""


class NeuralConfig(StrictModel):
    """Which weights and styles the neural renderer uses, and where it runs.

    Attributes:
        weights: a checkpoint, or the name of a shipped one ("small", "tiny").
        styles: folder of styles made with these weights; `styles` beside them otherwise.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...
        precision: "auto" times float32 and bfloat16 and keeps the faster.
    """

    weights: Path = Path("tiny")
    styles: Path | None = None
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class PaletteConfig(StrictModel):
    """The palette renderer has nothing to configure."""


def build_world(
    name: str, settings: Settings | None = None, size_px: tuple[int, int] | None = None
) -> World:
    """A World by name, endpoint, recording or YAML file.

    `settings` replace its keys; `size_px` (width, height) that of its cameras. The key
    `remap` (such as `{building: vegetation}`) changes labels on the way, in any world.
    """
    if size_px is not None and not _is_config(name):
        raise ConfigError(f"the size of {name} is set where it is served or was recorded")
    if name.startswith(ENDPOINT_SCHEMES):
        return _build_world({"kind": "remote", "endpoint": name, **(settings or {})}, name)
    if name.endswith(".mcap"):
        return _build_world({"kind": "replay", "path": name, **(settings or {})}, name)
    data = _merged(read_yaml(find_config("world", name)), settings or {})
    if size_px is not None:
        data = _merged(data, _camera_sizes(name, data, size_px))
    return _build_world(data, name)


def _build_world(data: Settings, source: str) -> World:
    """The world of merged settings, remapped where they say so."""
    rest = dict(data)
    changes = rest.pop("remap", None)
    if changes is None:
        return _build("world", WORLDS, rest, source, None)
    remap_table(changes)  # a wrong name, before anything is built
    return RemappedWorld(_build("world", WORLDS, rest, source, None), changes)


def build_renderer(name: str, settings: Settings | None = None) -> Renderer:
    """A Renderer by name, endpoint, weights or YAML file; `settings` replace its keys.

    "auto" is the neural renderer where it can run, else the palette.
    """
    if name == "auto":
        name = "neural" if neural_can_run() else "palette"
    if name.startswith(ENDPOINT_SCHEMES):
        return _build("renderer", RENDERERS, {"kind": "remote", "endpoint": name}, name, settings)
    if name.endswith(".safetensors"):
        data = {"kind": "neural", "weights": name}
        return _build("renderer", RENDERERS, data, name, settings)
    data = read_yaml(find_config("renderer", name))
    return _build("renderer", RENDERERS, data, name, settings)


def build_recording(path: Path, recover: bool = False, any_seed: bool = False) -> ReplayWorld:
    """A recording as a World; see `ReplayConfig`."""
    with needs_extra("recording"):
        from sim2street.bridge.recording import ReplayWorld
    return ReplayWorld(path, recover=recover, any_seed=any_seed)


@contextmanager
def opened(world: AnyWorld, sensors: bool = True) -> Iterator[AnyWorld]:
    """The world, open; it is closed however this ends, a failed `open` included."""
    try:
        world.open(sensors)
        yield world
    finally:
        world.close()


@contextmanager
def open_rendered(
    world: World, renderer: Renderer, style: StyleChoice = "default", scale: int = 1
) -> Iterator[RenderedWorld]:
    """An open RenderedWorld; both parts are released however this ends."""
    with opened(RenderedWorld(world, renderer, style, scale)) as rendered:
        yield rendered


def neural_can_run() -> bool:
    """Whether torch is installed and weights have been shipped or put in place."""
    has_packages = all(find_spec(name) is not None for name in ("torch", "safetensors"))
    return has_packages and bool(shipped_weights())


class EnvConfig(StrictModel):
    """An env as YAML: a world, perhaps a renderer around it, and a task.

    Attributes:
        world, renderer: names as `build_world` and `build_renderer` take them.
        world_settings, renderer_settings: replace keys of those configs.
        style: of the renderer; `reset(options={"style": ...})` chooses per episode.
        image_scale: size of the image over the size of the labels.
        render_every: rgb every n-th tick, the last picture in between; as often as the
            agent acts where it is left out.
        host, port: of a world that has them (CARLA). recording: of one that plays a file.
        actions, observation, task, episodes: see the modules of `envs`.
    """

    world: str = "town"
    world_settings: dict[str, Any] = Field(default_factory=dict)
    renderer: str | None = None
    renderer_settings: dict[str, Any] = Field(default_factory=dict)
    style: str = "default"
    image_scale: int = Field(default=1, ge=1)
    render_every: int | None = Field(default=None, ge=1, le=MOST_RENDER_EVERY)
    host: str | None = None
    port: int | None = None
    recording: Path | None = None
    actions: dict[str, Any] = Field(default_factory=dict)
    observation: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    episodes: dict[str, Any] = Field(default_factory=dict)

    def all_world_settings(self) -> dict[str, Any]:
        """`world_settings` with the host, the port and the recording among them."""
        named = {"host": self.host, "port": self.port, "path": self.recording}
        told = {key: value for key, value in named.items() if value is not None}
        return {**self.world_settings, **told}


def make_env(
    config: str = "town_follow", render_mode: str | None = None, **settings: Any
) -> DrivingEnv:
    """A DrivingEnv by the name of its config; `settings` change keys of `EnvConfig`,
    mapping by mapping.

    `gymnasium.make("sim2street/TownFollow-v0", renderer="tcp://gpu:5556")` ends up here.
    """
    return assemble_env(env_config(config, settings), config, render_mode)


def env_config(config: str, settings: Settings) -> EnvConfig:
    """The shipped or the user's env config of that name, changed by `settings`."""
    return parse(EnvConfig, _merged(_read_env(config), settings), config)


def _read_env(config: str) -> dict[str, Any]:
    """An env's YAML over that of its `base`, where it names one."""
    data = read_yaml(find_config("env", config))
    base = data.pop("base", None)
    return data if base is None else _merged(_read_env(str(base)), data)


def assemble_env(
    data: EnvConfig, source: str, render_mode: str | None = None, renderer: Renderer | None = None
) -> DrivingEnv:
    """The env of a config. `renderer` takes the place of the one that it names, if it does.

    (A vector of envs has one renderer for all of them.)
    """
    with needs_extra("env"):
        from sim2street.envs.actions import ActionConfig, make_actions
        from sim2street.envs.driving import DrivingEnv
        from sim2street.envs.episodes import EpisodeConfig
        from sim2street.envs.observations import ObservationConfig
        from sim2street.envs.tasks import Task, TaskConfig
    task = Task(parse(TaskConfig, data.task, f"{source}: task"))
    action = parse(ActionConfig, data.actions, f"{source}: actions")
    episodes = parse(EpisodeConfig, data.episodes, f"{source}: episodes")
    observation = parse(ObservationConfig, data.observation, f"{source}: observation")
    world = build_world(data.world, data.all_world_settings())
    if data.renderer is not None:
        renderer = renderer or build_renderer(data.renderer, data.renderer_settings)
        every = data.render_every or min(action.repeat, MOST_RENDER_EVERY)
        world = RenderedWorld(world, renderer, data.style, data.image_scale, every)
    return DrivingEnv(
        world,
        task,
        make_actions(action),
        observation,
        data.image_scale,
        render_mode,
        action.repeat,
        episodes,
    )


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns a missing third-party package into the `pip install` that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in OUR_PACKAGES:
            raise  # a bug of ours, not a package to install
        raise ConfigError(
            f"this needs the package '{error.name}', which is not installed: {install_hint(extra)}"
        ) from error


def install_hint(extra: str) -> str:
    """How an extra is installed (the package is on no index, so its name alone finds nothing)."""
    return f'pip install -e ".[{extra}]" where sim2street lies'


def _town(data: dict[str, Any], source: str) -> World:
    with needs_extra("town"):
        from sim2street.bridge.town.world import TownConfig, TownWorld
    return TownWorld(parse(TownConfig, data, source))


def _remote_world(data: dict[str, Any], source: str) -> World:
    from sim2street.bridge.transport import ClientConfig, RemoteWorld

    return RemoteWorld(parse(ClientConfig, data, source))


def _carla(data: dict[str, Any], source: str) -> World:
    from sim2street.bridge.carla.config import CarlaConfig
    from sim2street.bridge.carla.world import CarlaWorld

    return CarlaWorld(parse(CarlaConfig, data, source))


def _carla_standin(data: dict[str, Any], source: str) -> World:
    with needs_extra("carla-standin"):
        from sim2street.bridge.carla.standin.world import StandInWorld, StandInWorldConfig
    return StandInWorld(parse(StandInWorldConfig, data, source))


def _replay(data: dict[str, Any], source: str) -> World:
    config = parse(ReplayConfig, data, source)
    return build_recording(config.path, config.recover, config.any_seed)


def _palette(data: dict[str, Any], source: str) -> Renderer:
    parse(PaletteConfig, data, source)
    return PaletteRenderer()


def _neural(data: dict[str, Any], source: str) -> Renderer:
    config = parse(NeuralConfig, data, source)
    with needs_extra("neural"):
        from sim2street.neural_renderer.session import NeuralRenderer
    weights = weights_file(config.weights)
    styles = config.styles or weights.parent / "styles"
    return NeuralRenderer(weights, styles, config.device, config.precision)


def shipped_weights() -> dict[str, Path]:
    """The checkpoints that came with the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*/*.safetensors"))}


def weights_file(weights: Path) -> Path:
    """A checkpoint: the file itself, or the shipped one of that name ("small", "tiny")."""
    if weights.suffix or len(weights.parts) > 1:
        return weights
    shipped = shipped_weights()
    if weights.name not in shipped:
        raise ConfigError(
            f"no weights '{weights}' came with the package"
            f"{did_you_mean(weights.name, list(shipped))}: train some (docs/training.md), name a "
            "file such as mine.safetensors, or render with the palette"
        )
    return shipped[weights.name]


def _remote_renderer(data: dict[str, Any], source: str) -> Renderer:
    from sim2street.bridge.transport import ClientConfig, RemoteRenderer

    return RemoteRenderer(parse(ClientConfig, data, source))


WORLDS: Mapping[str, Builder[World]] = {
    "town": _town,
    "remote": _remote_world,
    "replay": _replay,
    "carla": _carla,
    "carla-standin": _carla_standin,
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
    rest = _merged(data, settings or {})
    kind = rest.pop("kind", None)
    if kind is None:
        raise ConfigError(f"{source}: the key 'kind' is missing; one of {', '.join(builders)}")
    if kind not in builders:
        raise ConfigError(
            f"{source}: unknown {what} kind '{kind}'{did_you_mean(str(kind), list(builders))}"
        )
    return builders[kind](rest, source)


def _is_config(name: str) -> bool:
    return not name.startswith(ENDPOINT_SCHEMES) and not name.endswith(".mcap")


def _camera_sizes(name: str, data: Settings, size_px: tuple[int, int]) -> dict[str, Any]:
    if not data.get("cameras"):
        raise ConfigError(f"{name}: this world has no cameras of its own to give a size to")
    size = {"width_px": size_px[0], "height_px": size_px[1]}
    return {"cameras": dict.fromkeys(data["cameras"], size)}


def _merged(data: Settings, changes: Settings) -> dict[str, Any]:
    """`data` with `changes`, mapping by mapping."""
    merged = dict(data)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
