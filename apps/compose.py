"""Builds Worlds, Renderers and envs from YAML configs; the only module that does.

A world or renderer is named in one of three ways: a shipped config (`town`, `palette`, `neural`),
a YAML file of the user's (`my_town.yaml`), or directly by an endpoint (`tcp://host:5555`), a
recording (`drive.mcap`) or weights (`mine.safetensors`). Each kind has a config model that checks
its keys, and imports its packages only when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from sim2street.apps.user_files import styles_of_user
from sim2street.bridge.closing import closed_on_error
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.remapped_world import RemappedWorld, remap_table
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.renderer import Renderer, StyleBlob, StyleChoice
from sim2street.bridge.style_files import read_style_file as read_style
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, StrictModel, did_you_mean, find_config, parse, read_yaml
from sim2street.configs.errors import UnknownKeyword

if TYPE_CHECKING:
    from sim2street.bridge.recording import ReplayWorld
    from sim2street.envs.driving import DrivingEnv

Built = TypeVar("Built")
AnyWorld = TypeVar("AnyWorld", bound=World)
Settings = Mapping[str, Any]
Builder = Callable[[dict[str, Any], str], Built]

MOST_RENDER_EVERY = 10
"""Upper limit of `render_every`: renderers restart after a gap of more ticks."""

ENDPOINT_SCHEMES = ("tcp://", "ipc://", "inproc://")


class ReplayConfig(StrictModel):
    """Which recording to play.

    Attributes:
        path: the recording.
        recover: read a damaged file as far as possible.
        any_seed: let a seed that was not recorded select an episode as well.
    """

    path: Path
    recover: bool = False
    any_seed: bool = False


WEIGHTS_FOLDER = Path(str(resources.files("sim2street.neural_renderer"))) / "weights"
"""Shipped weights: a folder each with NAME.safetensors, styles/ and the model card NAME.md."""


class NeuralConfig(StrictModel):
    """Weights and styles of the neural renderer, and where it runs.

    Attributes:
        weights: a checkpoint file, or the name of shipped weights ("small", "tiny").
        styles: folder of styles made for these weights; None: `styles` next to the weights, and
            the user's folder (`user_files.styles_of_user`).
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
        precision: "float32", "bfloat16", or "auto": the faster one on this kind of processor.
    """

    weights: Path = Path("tiny")
    styles: Path | None = None
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class CanvasConfig(StrictModel):
    """The canvas renderer's textures.

    Attributes:
        atlas: an .atlas file; None: the one that is part of the package.
    """

    atlas: Path | None = None


class PaletteConfig(StrictModel):
    """The palette renderer has no settings."""


def build_world(
    name: str,
    settings: Settings | None = None,
    size_px: tuple[int, int] | None = None,
    surfaces: bool = False,
) -> World:
    """A World by name, endpoint, recording or YAML file.

    Args:
        settings: keys of its config to change. The key `remap`, such as
            `{building: vegetation}`, replaces labels, in any world.
        size_px: (width, height) of its cameras.
        surfaces: views have exact texture coordinates, if it is an embedded town.
    """
    if size_px is not None and not _is_config(name):
        raise ConfigError(
            f"the image size of {name} is set where it is served or was recorded: leave it out here"
        )
    if name.startswith(ENDPOINT_SCHEMES):
        return _build_world({"kind": "remote", "endpoint": name, **(settings or {})}, name)
    if name.endswith(".mcap"):
        return _build_world({"kind": "replay", "path": name, **(settings or {})}, name)
    file = _config_file("world", name, "a recording (NAME.mcap)")
    data = _merged(read_yaml(file), settings or {})
    if size_px is not None:
        data = _merged(data, _camera_sizes(name, data, size_px))
    if surfaces and data.get("kind") == "town":
        data = _merged(data, {"surfaces": True})
    return _build_world(data, name)


def _build_world(data: Settings, source: str) -> World:
    """The world of complete settings, with its labels remapped if they have the key `remap`."""
    rest = dict(data)
    changes = rest.pop("remap", None)
    if changes is None:
        return _build("world", WORLDS, rest, source, None)
    remap_table(changes)  # raises for a wrong tag name before anything is built
    return RemappedWorld(_build("world", WORLDS, rest, source, None), changes)


def build_renderer(name: str, settings: Settings | None = None) -> Renderer:
    """A Renderer by name, endpoint, weights or YAML file.

    "auto" is the neural renderer if it can run, else the palette renderer. `settings` change keys
    of its config.
    """
    if name == "auto":
        name = "neural" if neural_can_run() else "palette"
    if name.startswith(ENDPOINT_SCHEMES):
        return _build("renderer", RENDERERS, {"kind": "remote", "endpoint": name}, name, settings)
    if name.endswith(".safetensors"):
        data = {"kind": "neural", "weights": name}
        return _build("renderer", RENDERERS, data, name, settings)
    data = read_yaml(_config_file("renderer", name, "weights (NAME.safetensors)"))
    return _build("renderer", RENDERERS, data, name, settings)


def build_recording(path: Path, recover: bool = False, any_seed: bool = False) -> ReplayWorld:
    """A recording as a World. Arguments: see `ReplayConfig`."""
    with needs_extra("recording"):
        from sim2street.bridge.recording import ReplayWorld
    return ReplayWorld(path, recover=recover, any_seed=any_seed)


@contextmanager
def opened(world: AnyWorld, sensors: bool = True) -> Iterator[AnyWorld]:
    """Open a world, and close it at the end, also if `open` fails.

    It learns of errors, as in a `with` statement: a Recorder marks its file as incomplete.
    """
    try:
        world.open(sensors)
        yield world
    except BaseException as error:  # also on Ctrl-C: leave no world open
        world.__exit__(type(error), error, error.__traceback__)
        raise
    world.close()


@contextmanager
def open_rendered(
    world: World, renderer: Renderer, style: StyleChoice = "default", scale: int = 1
) -> Iterator[RenderedWorld]:
    """Open a RenderedWorld, and close the world and the renderer at the end."""
    with opened(RenderedWorld(world, renderer, style, scale)) as rendered:
        yield rendered


def neural_can_run() -> bool:
    """Whether torch and shipped weights are installed."""
    has_packages = all(find_spec(name) is not None for name in ("torch", "safetensors"))
    return has_packages and bool(shipped_weights())


class EnvConfig(StrictModel):
    """Config of an env: a world, a renderer if there is one, and a task.

    Attributes:
        world, renderer: names as `build_world` and `build_renderer` take them.
        world_settings, renderer_settings: keys of those configs to change.
        style: of the renderer; `reset(options={"style": ...})` sets it for an episode.
        image_scale: size of the image over the size of the labels.
        render_every: render every n-th tick, and repeat the last image in between; None: render
            whenever the agent acts.
        host, port: address of a world that has one (CARLA).
        recording: file of a world that replays one.
        record: file (.mcap) to record the env to, with its actions and rewards.
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
    record: Path | None = None
    actions: dict[str, Any] = Field(default_factory=dict)
    observation: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    episodes: dict[str, Any] = Field(default_factory=dict)

    def all_world_settings(self) -> dict[str, Any]:
        """`world_settings` together with the host, the port and the recording."""
        named = {"host": self.host, "port": self.port, "path": self.recording}
        told = {key: value for key, value in named.items() if value is not None}
        return {**self.world_settings, **told}


def make_env(
    config: str = "town_follow", render_mode: str | None = None, **settings: Any
) -> DrivingEnv:
    """A DrivingEnv by the name of its config. The entry point of the registered ids.

    `settings` change keys of `EnvConfig`; nested mappings are merged.
    """
    return assemble_env(env_config(config, settings), config, render_mode)


def env_config(config: str, settings: Settings) -> EnvConfig:
    """The env config of that name (shipped, or a YAML file), changed by `settings`."""
    for name in settings:
        if name not in EnvConfig.model_fields:
            hint = did_you_mean(name, list(EnvConfig.model_fields))
            # The wording of Python: TorchRL offers `frameskip`, and looks for it.
            raise UnknownKeyword(f"{config}: got an unexpected keyword argument '{name}'{hint}")
    return parse(EnvConfig, _merged(_read_env(config), settings), config)


def _read_env(config: str) -> dict[str, Any]:
    """An env's YAML, merged over the YAML that its key `base` names."""
    data = read_yaml(find_config("env", config))
    base = data.pop("base", None)
    return data if base is None else _merged(_read_env(str(base)), data)


def assemble_env(
    data: EnvConfig,
    source: str,
    render_mode: str | None = None,
    renderer: Renderer | None = None,
    surfaces: bool = False,
) -> DrivingEnv:
    """The env of a config.

    `source` names the config in errors. `renderer` replaces the one that the config names: the
    envs of a vector share one; `surfaces` is its `uses_surfaces`.
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
    own = None
    if data.renderer is not None and renderer is None:
        renderer = own = build_renderer(data.renderer, data.renderer_settings)
        surfaces = own.uses_surfaces
    with closed_on_error(own):
        world = build_world(data.world, data.all_world_settings(), surfaces=surfaces)
    if renderer is not None:
        every = data.render_every or min(action.repeat, MOST_RENDER_EVERY)
        world = RenderedWorld(world, renderer, data.style, data.image_scale, every)
    kind = DrivingEnv
    if data.record is not None:
        with needs_extra("recording"):
            from sim2street.apps.env_recording import RecordedDrivingEnv, recorder_of
        world, kind = recorder_of(world, data.record), RecordedDrivingEnv
    return kind(
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
    """Turn a missing third-party package into an error that names the `pip install` to run."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "sim2street":
            raise  # a bug of ours, not a package to install
        raise ConfigError(
            f"the package '{error.name}' is not installed: {install_hint(extra)}"
        ) from error


def install_hint(extra: str) -> str:
    """The command that adds an extra to an installed sim2street."""
    return f'pip install "sim2street[{extra}]"'


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


def _canvas(data: dict[str, Any], source: str) -> Renderer:
    config = parse(CanvasConfig, data, source)
    with needs_extra("neural"):
        from sim2street.neural_renderer.canvas.atlas import load_atlas
        from sim2street.neural_renderer.canvas.renderer import CanvasRenderer
    return CanvasRenderer(load_atlas(config.atlas))


def _neural(data: dict[str, Any], source: str) -> Renderer:
    config = parse(NeuralConfig, data, source)
    with needs_extra("neural"):
        from sim2street.neural_renderer.session import NeuralRenderer
    weights = weights_file(config.weights)
    if config.styles and not any(config.styles.glob("*.safetensors")):
        raise ConfigError(f"{source}: styles: no style files (.safetensors) in {config.styles}")
    styles = [config.styles] if config.styles else style_folders(weights)
    return NeuralRenderer(weights, styles, config.device, config.precision)


def style_folders(weights: Path) -> list[Path]:
    """Where renderers look for styles of these weights: beside them, and in the user's folder."""
    folders = [weights.parent / "styles"]
    with suppress(ConfigError):  # without weights or a home folder there is nothing to find
        folders.append(styles_of_user(weights))
    return folders


def is_shipped(weights: Path) -> bool:
    """Whether these weights are part of the package, whose folder is not for users' files."""
    return weights.resolve().is_relative_to(WEIGHTS_FOLDER.resolve())


def read_style_file(path: str | PathLike[str]) -> StyleBlob:
    """The content of a style file. Raises StyleError where it is none."""
    return read_style(Path(path))


def shipped_weights() -> dict[str, Path]:
    """The weights that are part of the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*/*.safetensors"))}


def weights_file(weights: Path) -> Path:
    """The file of `weights`: a path, or the name of shipped weights ("small", "tiny")."""
    if weights.suffix or len(weights.parts) > 1:
        return weights
    shipped = shipped_weights()
    if weights.name not in shipped:
        raise ConfigError(
            f"there are no shipped weights named '{weights}'"
            f"{did_you_mean(weights.name, list(shipped))}. Or name a file such as "
            "mine.safetensors, or use the renderer 'palette'"
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
    "canvas": _canvas,
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


def _config_file(kind: str, name: str, other: str) -> Path:
    """The YAML file of a world or renderer. Raises ConfigError; `other` is what else it may be."""
    try:
        return find_config(kind, name)
    except ConfigError as error:
        if not Path(name).exists():
            raise
        what = "folder" if Path(name).is_dir() else "file"
        raise ConfigError(
            f"{name} is a {what}, and not a {kind}: expected a shipped config, {other}, an "
            f"endpoint (tcp://host:port) or a YAML file (.yaml)"
        ) from error


def _is_config(name: str) -> bool:
    return not name.startswith(ENDPOINT_SCHEMES) and not name.endswith(".mcap")


def _camera_sizes(name: str, data: Settings, size_px: tuple[int, int]) -> dict[str, Any]:
    names = data["cameras"] if "cameras" in data else _default_cameras(data.get("kind"))
    if not names:
        raise ConfigError(f"{name}: this world's config has no cameras, so it takes no image size")
    size = {"width_px": size_px[0], "height_px": size_px[1]}
    return {"cameras": dict.fromkeys(names, size)}


def _default_cameras(kind: Any) -> tuple[str, ...]:
    """Names of the cameras of a world whose config leaves out the key `cameras`."""
    if kind == "town":
        with needs_extra("town"):
            from sim2street.bridge.town.world import TownConfig
        return tuple(TownConfig().cameras)
    if kind in ("carla", "carla-standin"):
        from sim2street.bridge.carla.config import CarlaConfig

        return tuple(CarlaConfig().cameras)
    return ()


def _merged(data: Settings, changes: Settings) -> dict[str, Any]:
    """`data` with `changes`; nested mappings are merged."""
    merged = dict(data)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
