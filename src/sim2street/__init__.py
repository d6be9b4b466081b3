"""sim2street: turns what a driving simulator knows about a street into photorealistic frames.

    import sim2street

    renderer = sim2street.load_renderer("tiny")
    image = renderer.render_labels(label_map, style="day")     # uint8 (H, W) -> (H, W, 3)

    world = sim2street.make_world("town", seed=7)
    frame = world.reset()

Importing it registers the Gymnasium ids (`sim2street/TownFollow-v0`, ...) where gymnasium is
installed. It loads neither torch nor panda3d: what a world or a renderer needs is imported when
one is made, and a missing package is an error that names the `pip install` to run.
"""

from __future__ import annotations

from importlib.util import find_spec
from os import PathLike
from typing import Any

from sim2street.bridge.frame import Camera, Control, SensorFrame, View
from sim2street.bridge.renderer import Renderer, StyleBlob
from sim2street.bridge.world import World
from sim2street.configs import Sim2StreetError

if find_spec("gymnasium") is not None:
    from sim2street import envs as envs

__all__ = [
    "Camera",
    "Control",
    "Renderer",
    "SensorFrame",
    "Sim2StreetError",
    "StyleBlob",
    "View",
    "World",
    "load_renderer",
    "load_style",
    "make_world",
]


def make_world(
    name: str = "town",
    *,
    seed: int | None = None,
    sensors: bool = True,
    size_px: tuple[int, int] | None = None,
    **settings: Any,
) -> World:
    """Make a world and open it: call `reset`, then `step` for each tick, and `close` at the end.

    `with sim2street.make_world("town") as world:` closes it by itself.

    Args:
        name: a shipped config ("town", "carla", "carla-standin", ...), an endpoint
            ("tcp://host:5555"), a recording ("drive.mcap") or a YAML file.
        seed: of the first episode; the same seed gives the same episodes.
        sensors: False for a world without images, which is much faster.
        size_px: (width, height) of the images, if the world makes them itself.
        settings: keys of the world's config to change, such as `weather="rain"`.

    Raises:
        ConfigError: an unknown name or key, or a missing package.
        WorldError: the world cannot be opened.
    """
    from sim2street.apps.compose import build_world
    from sim2street.bridge.ready_world import ReadyWorld

    return ReadyWorld(build_world(name, settings, size_px), sensors, seed)


def load_renderer(name: str = "tiny", *, device: str | None = None, **settings: Any) -> Renderer:
    """Load a renderer. `Renderer.render_labels` renders stills, sessions render videos.

    Args:
        name: shipped weights ("tiny", "small"), "palette", an endpoint ("tcp://host:5556"), a
            weights file ("mine.safetensors") or a YAML file.
        device: "auto" (a GPU where there is one), "cpu" or "cuda"; for neural renderers only.
        settings: keys of the renderer's config to change, such as `precision="float32"`.

    Raises:
        ConfigError: an unknown name or key, or a missing package.
        RendererError: the weights cannot be read, or the server does not answer.
    """
    from sim2street.apps.compose import build_renderer

    if device is not None:
        settings["device"] = device
    return build_renderer(name, settings)


def load_style(path: str | PathLike[str]) -> StyleBlob:
    """Read a style file made by `sim2street style make`, to be used as `style=` anywhere.

    Raises:
        StyleError: the file is no style file.
    """
    from sim2street.apps.compose import read_style_file

    return read_style_file(path)
