"""`sim2street style`: makes styles from a few photographs, lists and blends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape

from sim2street.apps.commands.options import (
    RendererOption,
    SeedOption,
    TrustNamingOption,
    WorldOption,
    make_renderer,
    make_world,
    parse_size,
    parse_style,
)
from sim2street.apps.compose import (
    is_shipped,
    needs_extra,
    opened,
    style_folders,
    weights_file,
)
from sim2street.apps.console import progress, say
from sim2street.apps.filming import driven, pick_view
from sim2street.apps.output import partial_file
from sim2street.apps.user_files import styles_of_user
from sim2street.apps.video import contact_sheet, save_image
from sim2street.bridge.datasets.naming import find_map
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.bridge.style_files import StyleError, style_name
from sim2street.configs import ConfigError, did_you_mean, parse

if TYPE_CHECKING:
    from torch import Tensor

    from sim2street.neural_renderer.styles.make import StyleFit

style = typer.Typer(name="style", help="Make, list and blend styles.", no_args_is_help=True)

SHIPPED = Path("tiny")

WeightsOption = Annotated[
    Path, typer.Option("--weights", help="The weights the style is for: a file, or tiny, small.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder of styles. Without it: `styles` next to your own weights; for shipped weights "
        "a folder of your own below $SIM2STREET_HOME.",
    ),
]
FitOption = Annotated[
    int, typer.Option("--fit", min=0, help="Fit the style to its photographs in this many steps.")
]
Vgg16Option = Annotated[
    Path | None, typer.Option("--vgg16", help="VGG16's weights, needed by --fit.")
]


@style.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Name of the style, such as dusk.")],
    photos: Annotated[
        Path, typer.Argument(help="Folder with images/ and labels/ of the same names.")
    ],
    weights: WeightsOption = SHIPPED,
    folder: FolderOption = None,
    naming: Annotated[
        str,
        typer.Option("--naming", "-n", help="Meaning of the label ids (see sim2street render)."),
    ] = "cityscapes-train",
    trust_naming: TrustNamingOption = False,
    count: Annotated[
        int, typer.Option("--count", min=1, help="Number of photographs to use, evenly spread.")
    ] = 4,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="WxH", help="Size at which the photographs enter the network."
        ),
    ] = "512x256",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The same seed gives the same style.")
    ] = 0,
    fit: FitOption = 0,
    vgg16: Vgg16Option = None,
) -> None:
    """Make a style from a few labelled photographs."""
    with needs_extra("neural"):
        import torch

        from sim2street.neural_renderer.checkpoint import load_generator
        from sim2street.neural_renderer.styles.files import style_to_bytes
        from sim2street.neural_renderer.styles.make import compile_style
    weights = weights_file(weights)
    size_px = network_size(size)
    generator, info = load_generator(weights)
    target = new_style_file(name, weights, folder)
    with progress() as bar:
        task = bar.add_task("fitting", total=fit, visible=fit > 0)
        fitted = style_fit(fit, vgg16, seed, lambda done, of: bar.update(task, completed=done))
        source = {
            "name": name, "root": photos, "layout": "folder", "labels": find_map(naming).name,
            "trust_naming": trust_naming,
        }  # fmt: skip
        rgb, tags = _exemplars(source, count, size_px, seed)
        with torch.inference_mode():
            code = compile_style(generator, info.class_map, rgb, tags, fitted)
    with partial_file(target) as unfinished:
        unfinished.write_bytes(style_to_bytes(code, name, info.sha256))
    say(f"style of {len(rgb)} photographs: {escape(str(target))}")


def style_fit(
    steps: int,
    vgg16: Path | None,
    seed: int,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> StyleFit | None:
    """The fit of `--fit` and `--vgg16`, or None; `report` gets the steps done and their total."""
    if bool(steps) != (vgg16 is not None):
        raise ConfigError(
            "--fit and --vgg16 need each other: the number of steps, and VGG16's weights file"
        )
    if vgg16 is None:
        return None
    with needs_extra("train"):
        from sim2street.neural_renderer.training.style_fit import StyleFitConfig
        from sim2street.neural_renderer.training.style_fit import style_fit as fit_through
    return fit_through(vgg16, StyleFitConfig(iterations=steps, seed=seed), report)


def _exemplars(
    source: dict[str, object], count: int, size_px: tuple[int, int], seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Images (3, H, W) in [-1, 1] and sets of tags (29, H, W) of `count` photographs."""
    from sim2street.neural_renderer.data.crops import (
        CropConfig,
        choose_crop,
        crop_labels,
        crop_rgb,
        multihot_tags,
    )
    from sim2street.neural_renderer.data.photos import PhotoSourceConfig
    from sim2street.neural_renderer.data.prepare import load_photos

    config = parse(PhotoSourceConfig, source, "style make")
    rng = np.random.default_rng(seed)
    crops = CropConfig(size_px=size_px, zoom=(1.0, 1.0), flip=False)
    rgb, tags = [], []
    for photo in load_photos(config, most=count):
        crop = choose_crop(photo, crops, rng)
        rgb.append(crop_rgb(photo, crop, size_px, None))
        tags.append(multihot_tags(crop_labels(photo, crop, size_px, rng, None).ids, photo.sets))
    return rgb, tags


@style.command("list")
def list_styles(weights: WeightsOption = SHIPPED, folder: FolderOption = None) -> None:
    """List the styles of some weights, and style files that were made for other weights."""
    with needs_extra("neural"):
        from sim2street.neural_renderer.checkpoint import read_checkpoint
        from sim2street.neural_renderer.styles.files import style_from_bytes
    weights = weights_file(weights)
    _, info = read_checkpoint(weights)
    for path in found_styles(weights, folder):
        try:
            code = style_from_bytes(path.read_bytes(), info.sha256, path.name)
            tokens, size_kib = code.keys.shape[1], path.stat().st_size / 1024
            where = escape(str(path.parent))
            say(f"{escape(style_name(path)):16} {tokens} tokens, {size_kib:.0f} KiB, in {where}")
        except StyleError as error:
            say(f"[dim]{escape(str(error))}[/]")


@style.command("blend")
def blend(
    name: Annotated[str, typer.Argument(help="Name of the new style.")],
    parts: Annotated[str, typer.Argument(help="Styles and weights, such as day=0.3,dusk=0.7.")],
    weights: WeightsOption = SHIPPED,
    folder: FolderOption = None,
) -> None:
    """Blend styles into a new one. (`--style day=0.3,dusk=0.7` blends without a file.)"""
    with needs_extra("neural"):
        from sim2street.neural_renderer.checkpoint import read_checkpoint
        from sim2street.neural_renderer.networks.style import blend_styles
        from sim2street.neural_renderer.styles.files import style_from_bytes, style_to_bytes
    weights = weights_file(weights)
    shares = parse_style(parts)
    if not isinstance(shares, Mapping) or min(shares.values()) <= 0:
        raise ConfigError(
            f"expected NAME=WEIGHT,NAME=WEIGHT with weights above 0 such as day=0.3,dusk=0.7, "
            f"got '{parts}'"
        )
    _, info = read_checkpoint(weights)
    known = {style_name(path): path for path in found_styles(weights, folder)}
    for part in shares:
        if part not in known:
            raise ConfigError(
                f"no style '{part}' for {weights.name}{did_you_mean(part, list(known))}"
            )
    codes = [style_from_bytes(known[n].read_bytes(), info.sha256, n) for n in shares]
    target = new_style_file(name, weights, folder)
    with partial_file(target) as unfinished:
        mixed = blend_styles(codes, list(shares.values()))
        unfinished.write_bytes(style_to_bytes(mixed, name, info.sha256))
    say(f"blend of {len(codes)} styles: {escape(str(target))}")


@style.command("gallery")
def gallery(
    picture: Annotated[
        Path, typer.Option("--out", "-o", help="The image to write (.png or .jpg).")
    ] = Path("out/styles.png"),
    renderer: RendererOption = "neural",
    world: WorldOption = "town",
    seed: SeedOption = 7,
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Drive this far first.")] = 60,
) -> None:
    """Render one frame of a world in every style of a renderer, side by side."""
    with make_renderer(renderer) as engine:
        with opened(make_world(world, surfaces=engine.uses_surfaces)) as source:
            *_, frame = driven(source, ticks, seed)
        view = pick_view(frame, None)
        size_px = (view.camera.width_px, view.camera.height_px)
        names = engine.styles()
        configs = [SessionConfig(name, view.camera, size_px) for name in names]
        requests = [
            RenderRequest(
                engine.open_session(config),
                view,
                frame.tick,
                frame.episode,
                frame.actors,
                weather=frame.weather,
            )
            for config in configs
        ]
        images = [rendering.rgb for rendering in engine.render(requests)]
    save_image(contact_sheet(images, names, columns=3), picture)
    say(f"{len(names)} styles: {escape(str(picture))}")


def found_styles(weights: Path, folder: Path | None) -> list[Path]:
    """The style files in `folder`; without it, wherever renderers look for those of the weights.

    Raises:
        ConfigError: there are none.
    """
    places = [folder] if folder is not None else style_folders(weights)
    files = [file for place in places for file in sorted(place.glob("*.safetensors"))]
    if not files:
        where = " or ".join(str(place) for place in places)
        raise ConfigError(f"no styles in {where}: make one with `sim2street style make`")
    return files


def new_style_file(name: str, weights: Path, folder: Path | None) -> Path:
    """Where a new style is written: to `folder`, or where renderers look for it.

    That is `styles` next to the weights, or the user's folder for weights of the package. An own
    style of the same name there is replaced.

    Raises:
        ConfigError: the name is no file name, or the weights come with a style of this name.
    """
    if not name or Path(name).name != name:
        raise ConfigError(f"a style's name becomes a file name, got '{name}'")
    file = f"{name}.safetensors"
    if folder is not None:
        return folder / file
    beside = weights.parent / "styles" / file
    if not is_shipped(weights):
        return beside
    if beside.exists():
        raise ConfigError(f"the shipped weights have a style '{name}' already: choose another name")
    return styles_of_user(weights) / file


def network_size(size: str) -> tuple[int, int]:
    """`512x256` as (width, height). Raises ConfigError unless both are multiples of 32."""
    size_px = parse_size(size)
    if size_px is None or size_px[0] % 32 or size_px[1] % 32:
        raise ConfigError(f"--size: expected multiples of 32 such as 512x256, got '{size}'")
    return size_px
