"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from sim2street.apps.compose import (
    ENDPOINT_SCHEMES,
    build_renderer,
    build_world,
    needs_extra,
)
from sim2street.apps.console import announce_licence
from sim2street.bridge.closing import closed_on_error
from sim2street.bridge.renderer import Renderer, StyleChoice
from sim2street.bridge.style_files import STYLE_SUFFIX, read_style_file
from sim2street.bridge.transport import ClientConfig, query_status
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

FIRST_ANSWER_S = 10.0
"""Seconds that a server may take to answer the first message."""

WorldOption = Annotated[
    str,
    typer.Option(
        "--world",
        "-w",
        help="The world: [b]town[/b], [b]carla[/b], [b]carla-standin[/b], an endpoint "
        "(tcp://host:5555), a recording (.mcap) or a YAML file.",
    ),
]
RendererOption = Annotated[
    str,
    typer.Option(
        "--renderer",
        "-r",
        help="The renderer: [b]palette[/b], [b]neural[/b], [b]small[/b], [b]auto[/b] (neural "
        "if it can run, else palette), an endpoint (tcp://host:5556), weights (.safetensors) or a "
        "YAML file.",
    ),
]
StyleOption = Annotated[
    str,
    typer.Option(
        "--style",
        help="A style of the renderer, a style file (.safetensors), a blend such as "
        "day=0.3,dusk=0.7, or random.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="The same seed gives the same drive.")
]
SizeOption = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Size of the labels, such as 512x256."),
]
ScaleOption = Annotated[
    int,
    typer.Option("--scale", min=1, help="Size of the rendered frames over the size of the labels."),
]
CameraOption = Annotated[
    str | None, typer.Option("--camera", help="The camera to film; without it, the first one.")
]
SecretKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-key", help="Our own NAME.key_secret file, to encrypt and authenticate (CURVE)."
    ),
]
ServerKeyOption = Annotated[
    Path | None, typer.Option("--server-key", help="The server's public key file, NAME.key.")
]
AllowedClientsOption = Annotated[
    Path | None,
    typer.Option(
        "--allowed-clients",
        help="Folder with the public key file of every client that may connect.",
    ),
]
PublishOption = Annotated[
    str | None,
    typer.Option(
        "--publish",
        metavar="ENDPOINT",
        help="Also publish every frame here, such as tcp://127.0.0.1:5557, for "
        "[b]sim2street watch[/b].",
    ),
]
TrustNamingOption = Annotated[
    bool,
    typer.Option(
        "--trust-naming",
        help="Use the labels as --naming says, even if they look like those of another naming.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda, cuda:1, mps."),
]
RecoverOption = Annotated[
    bool,
    typer.Option(
        "--recover", help="Read an interrupted or damaged recording as far as it is whole."
    ),
]
TownOption = Annotated[
    int | None,
    typer.Option("--town", min=0, help="Number of the town; without it, drawn with the seed."),
]
WeatherOption = Annotated[
    str | None,
    typer.Option("--weather", help="Such as clear or rain; without it, drawn with the seed."),
]
TrafficOption = Annotated[
    float | None,
    typer.Option("--traffic", min=0.0, help="Factor on the usual number of road users."),
]


def make_world(name: str, size: str | None = None, surfaces: bool = False) -> World:
    """The world that `--world` and `--size` name. A server must answer within `FIRST_ANSWER_S`."""
    _check_answers(name)
    return build_world(name, size_px=parse_size(size), surfaces=surfaces)


def make_renderer(name: str) -> Renderer:
    """The renderer that `--renderer` names. Prints the licence of its weights."""
    _check_answers(name)
    renderer = build_renderer(name)
    announce_licence(renderer)
    return renderer


def make_world_and_renderer(world: str, size: str | None, renderer: str) -> tuple[World, Renderer]:
    """`make_world` and `make_renderer`; the world sends surfaces if the renderer uses them."""
    _check_answers(renderer)
    engine = build_renderer(renderer)
    with closed_on_error(engine):
        inner = make_world(world, size, engine.uses_surfaces)
    announce_licence(engine)
    return inner, engine


def _check_answers(name: str) -> None:
    """Raise PeerTimeout if nothing answers at an endpoint; opening it may take much longer."""
    if name.startswith(ENDPOINT_SCHEMES):
        query_status(ClientConfig(endpoint=name, open_deadline_s=FIRST_ANSWER_S))


def parse_size(size: str | None) -> tuple[int, int] | None:
    """`512x256` as (width, height) in pixels."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if match is None or "0" in match.groups():
        raise ConfigError(f"--size: expected WIDTHxHEIGHT in pixels such as 512x256, got '{size}'")
    return int(match[1]), int(match[2])


def reset_options(
    world: World, town: int | None, weather: str | None, traffic: float | None
) -> dict[str, Any]:
    """Options of the world's reset that `--town`, `--weather` and `--traffic` stand for.

    Raises:
        ConfigError: one is given, and this world has no such option.
    """
    given = {"town": town, "weather": weather, "traffic": traffic}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    known = world.option_names
    if known is None:  # the server will say
        return options
    for name in options:
        if name not in known:
            has = ", ".join(sorted(known & given.keys())) or "none of the three"
            raise ConfigError(
                f"--{name}: this world's episodes have no option '{name}' (of town, weather and "
                f"traffic: {has}); leave it out, or see the keys of the world's YAML file"
            )
    return options


def parse_style(style: str) -> StyleChoice:
    """The style of `--style`: a name, a style file, or a blend such as `day=0.3,dusk=0.7`."""
    if style.endswith(STYLE_SUFFIX) and "," not in style:
        return read_style_file(Path(style))
    if "=" not in style:
        return style
    blend: dict[str, float] = {}
    for part in style.split(","):
        name, _, weight = part.partition("=")
        try:
            blend[name.strip()] = float(weight)
        except ValueError:
            raise ConfigError(
                f"--style: expected NAME=WEIGHT,NAME=WEIGHT such as day=0.3,dusk=0.7, got '{style}'"
            ) from None
    return blend


def chosen_device(name: str) -> str:
    """The device of `--device`. Raises ConfigError where this machine does not have it."""
    with needs_extra("neural"):
        from sim2street.neural_renderer.runtimes.devices import chosen_device as choose
    return str(choose(name))
