"""Options that several commands share, each spelt and explained once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from sim2street.apps.compose import ENDPOINT_SCHEMES, build_renderer, build_world, needs_extra
from sim2street.apps.console import announce_licence
from sim2street.bridge.renderer import Renderer
from sim2street.bridge.transport import ClientConfig, query_status
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

MEETING_S = 10.0
"""How long a server may take to say who it is."""

WorldOption = Annotated[
    str,
    typer.Option(
        "--world",
        "-w",
        help="Which world: [b]town[/b], [b]carla[/b], [b]carla-standin[/b], an endpoint "
        "(tcp://host:5555), a recording (.mcap) or a YAML file.",
    ),
]
RendererOption = Annotated[
    str,
    typer.Option(
        "--renderer",
        "-r",
        help="Which renderer: [b]palette[/b], [b]neural[/b], [b]small[/b], [b]auto[/b] (neural "
        "where its weights are), an endpoint (tcp://host:5556), weights (.safetensors) or a YAML "
        "file.",
    ),
]
StyleOption = Annotated[
    str,
    typer.Option("--style", help="A style of the renderer, a blend (day=0.3,dusk=0.7) or random."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same drive.")]
SizeOption = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Size of the labels, such as 512x256."),
]
ScaleOption = Annotated[
    int, typer.Option("--scale", min=1, help="Size of the rendered frames over that of the labels.")
]
CameraOption = Annotated[
    str | None, typer.Option("--camera", help="Which camera to film; the first one otherwise.")
]
SecretKeyOption = Annotated[
    Path | None,
    typer.Option("--secret-key", help="Our NAME.key_secret: encrypts and authenticates (CURVE)."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda.")
]


def make_world(name: str, size: str | None = None) -> World:
    """The world that `--world` and `--size` name; a server must answer soon."""
    _meet(name)
    return build_world(name, size_px=parse_size(size))


def make_renderer(name: str) -> Renderer:
    """The renderer that `--renderer` names; says what its weights may be used for."""
    _meet(name)
    renderer = build_renderer(name)
    announce_licence(renderer)
    return renderer


def _meet(name: str) -> None:
    """Raise PeerTimeout soon where an endpoint is silent: opening may take much longer."""
    if name.startswith(ENDPOINT_SCHEMES):
        query_status(ClientConfig(endpoint=name, open_deadline_s=MEETING_S))


def parse_size(size: str | None) -> tuple[int, int] | None:
    """`512x256` as (width, height) in pixels."""
    if size is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if match is None or "0" in match.groups():
        raise ConfigError(f"--size: expected WIDTHxHEIGHT in pixels such as 512x256, got '{size}'")
    return int(match[1]), int(match[2])


def parse_style(style: str) -> str | dict[str, float]:
    """A style's name, or a blend such as `day=0.3,dusk=0.7`."""
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
    """`auto` as the device it means here."""
    if name != "auto":
        return name
    with needs_extra("neural"):
        import torch
    return "cuda" if torch.cuda.is_available() else "cpu"
