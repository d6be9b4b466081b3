"""Vehicle sheets rendered from free models: side, front, back and top, with a map of parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sim2street.neural_renderer.canvas.atlas import Part, Texture
from tools.atlas.images import Bytes, Floats, blur, read, resize, to_bytes, to_linear
from tools.atlas.models import Model, joined, load_gltf, load_obj
from tools.atlas.raster import VIEWS, Buffers, render

SHEET_PX_PER_M = 56
_SAMPLES = 3
UP_Z = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
"""Models have y up and face +z; sheets have z up and face +x."""


@dataclass(frozen=True)
class Source:
    """A model and what its materials are.

    Attributes:
        path: below the data folder.
        size_m: length, width and height on the sheet.
        paint, glass, lamps, wheels, plates: names of materials (beginnings).
        hidden: materials that are left out (emblems).
        colours: material -> linear colour that replaces the model's own.
        models: names in the town's catalogue that this sheet suits.
        flipped: the model faces backwards.
        axles: x of wheels that are added, in half lengths; wheel_radius_m: their radius.
        discs: middles of wheels without a material of their own, in shares of the side view.
        smudges: (view, box, grey) of plates and emblems that are covered; see `_smudge`.
    """

    name: str
    path: str
    size_m: tuple[float, float, float]
    paint: tuple[str, ...]
    glass: tuple[str, ...]
    lamps: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    colours: tuple[tuple[str, tuple[float, float, float]], ...] = ()
    models: tuple[str, ...] = ()
    flipped: bool = False
    wheel_radius_m: float = 0.32
    axles: tuple[float, ...] = ()
    discs: tuple[float, ...] = ()
    smudges: tuple[tuple[str, tuple[float, float, float, float], float], ...] = ()


_S = "models_sweethome3d"
SOURCES = (
    Source(
        "microcar",
        f"{_S}/scopia/smart-car/smart-car.obj",
        (2.55, 1.6, 1.55),
        ("first-color", "second-color"),
        ("glass", "black-glass", "dark-roof"),
        ("back-lights", "grey-light"),
        ("black-rubber", "wheels-rubber"),
        ("brand",),
        smudges=(("front", (0.33, 0.7, 0.68, 0.8), 0.55), ("back", (0.34, 0.41, 0.66, 0.51), 0.55)),
        models=("city_car",),
    ),
    Source(
        "beetle",
        "models_metadrive_ccby/beetle/scene.gltf",
        (4.1, 1.6, 1.5),
        (),
        (),
        discs=(0.178, 0.8),
        flipped=True,
        smudges=(("back", (0.42, 0.39, 0.58, 0.49), -1.0),),
        models=("compact",),
    ),
    Source(
        "coupe",
        "models_metadrive_ccby/130/vehicle.gltf",
        (4.5, 1.75, 1.3),
        ("body",),
        ("glass",),
        ("lens",),
        hidden=("number",),
        models=("sedan",),
        flipped=True,
        axles=(0.57, -0.5),
        discs=(0.215, 0.75),
    ),
    Source(
        "truck_box",
        f"{_S}/scopia/truck/truck.obj",
        (7.4, 2.4, 3.2),
        ("red-cabin",),
        ("glass",),
        ("orange-lights",),
        ("black-metal",),
        models=("box_truck",),
    ),
    Source(
        "coach",
        f"{_S}/scopia/bus/bus.obj",
        (12.0, 2.55, 3.4),
        ("firstcolor",),
        ("glass",),
        (),
        ("tires",),
        smudges=(
            ("front", (0.39, 0.815, 0.61, 0.875), 0.6),
            ("front", (0.45, 0.72, 0.56, 0.79), 0.015),
            ("back", (0.12, 0.71, 0.47, 0.77), -1.0),
            ("back", (0.36, 0.81, 0.63, 0.885), 0.6),
        ),
        models=("bus",),
    ),
    Source(
        "city_bus",
        f"{_S}/scopia/cityBus/cityBus.obj",
        (11.6, 2.52, 3.1),
        ("accentColor", "whiteBase"),
        ("glass", "darkglass", "display"),
        (),
        ("tires", "blackRubber"),
        smudges=(
            ("front", (0.12, 0.05, 0.9, 0.18), 0.02),
            ("front", (0.4, 0.83, 0.61, 0.9), 0.6),
            ("back", (0.37, 0.69, 0.61, 0.77), 0.6),
        ),
        models=("bus",),
    ),
)


def environment(panorama: Floats, normal: Floats, view: str) -> Floats:
    """What a polished surface mirrors, (H, W, 3): the panorama by reflected direction.

    The eye is three picture widths away, so that flat panes mirror a gradient.
    """
    height, width = normal.shape[:2]
    x = (np.arange(width) - width / 2) / width
    y = (height / 2 - np.arange(height)) / width
    eye = np.dstack([*np.meshgrid(-x * 0.7, -y * 0.7), np.ones((height, width))])
    eye /= np.linalg.norm(eye, axis=2, keepdims=True)
    mirrored = 2 * (normal * eye).sum(2, keepdims=True) * normal - eye
    axes = VIEWS[view]
    world = mirrored @ axes
    rows, columns = panorama.shape[:2]
    elevation = np.arcsin(np.clip(world[..., 2], -1, 1))
    azimuth = np.arctan2(world[..., 1], world[..., 0])
    place = [(0.5 - elevation / np.pi) * (rows - 1), (azimuth / (2 * np.pi) + 0.5) * (columns - 1)]
    channels = [
        ndimage.map_coordinates(panorama[..., k], place, order=1, mode="nearest") for k in range(3)
    ]
    return np.stack(channels, axis=2).astype(np.float32)


def lit(
    colour: Floats, kind: np.ndarray, normal: Floats, depth: Floats, panorama: Floats, view: str
) -> Floats:
    """Shades an orthographic view: sky light, contact darkness, clear coat, mirroring glass."""
    axes = VIEWS[view]
    up = (normal @ axes)[..., 2]
    grey = panorama.mean(axis=2, keepdims=True)
    street = panorama * 0.45 + grey * 0.55
    mirrored = environment(blur(street, 5, True), normal, view)
    sharp = environment(blur(street, 1.2, True), normal, view)
    facing = np.clip(normal[..., 2], 0, 1)
    fresnel = 0.05 + 0.5 * (1 - facing) ** 4
    # Broad light: sky from above, road from below.
    diffuse = 0.48 + 0.34 * up + 0.18 * facing
    hidden = np.clip(blur(depth, 5) - depth, 0, 12)
    diffuse = diffuse * np.exp(-hidden * 0.11)
    out = colour * diffuse[..., None]
    coat = (kind == Part.PAINT)[..., None]
    glass = (kind == Part.PANE)[..., None]
    lamp = (kind == Part.LAMP)[..., None]
    out = np.where(coat, out + mirrored * (fresnel * 1.6)[..., None], out)
    dark = np.array([0.012, 0.013, 0.014], np.float32)
    pane = dark + colour * 0.8 + sharp * (0.12 + 0.5 * fresnel)[..., None]
    out = np.where(glass, pane, out)
    return np.where(lamp, out * 1.25 + mirrored * 0.22, out).astype(np.float32)


def _kinds(source: Source, model: Model) -> np.ndarray:
    table = [
        (source.glass, Part.PANE),
        (source.lamps, Part.LAMP),
        (source.wheels, Part.WHEEL),
        (source.paint, Part.PAINT),
    ]
    kinds = np.zeros(len(model.materials) + 1, np.int64)
    for i, material in enumerate(model.materials):
        for names, part in table:
            if names and material.name.startswith(names):
                kinds[i] = part
    return kinds


def _colours(model: Model, kinds: np.ndarray, seen: Buffers) -> Floats:
    """Base colours of a view: textures where there are, light grey paint."""
    table = np.array([m.colour for m in model.materials] + [(1, 1, 1)], np.float32)
    colour = table[seen.material]
    for i, material in enumerate(model.materials):
        if material.texture is None:
            continue
        where = seen.material == i
        height, width = material.texture.shape[:2]
        row = ((1 - seen.uv[where][:, 1]) * height).astype(int) % height
        column = (seen.uv[where][:, 0] * width).astype(int) % width
        colour[where] = to_linear(material.texture[row, column] / 255.0)
    kind = kinds[seen.material]
    colour[kind == Part.PAINT] = 0.72
    colour[kind == Part.PANE] = 0.012
    colour[kind == Part.WHEEL] = np.clip(colour[kind == Part.WHEEL], 0.012, 0.05)
    return colour


def _by_colour(colour: Floats, kind: np.ndarray) -> None:
    """Finds paint and panes of a model whose parts share one texture, by their colour."""
    red, blue = colour[..., 0], colour[..., 2]
    light = colour.mean(axis=2)
    pane = (blue > red * 1.15) & (red > 0.22) & (kind == 0)
    paint = (blue > red * 1.6) & ~pane & (kind == 0)
    if paint.any():
        tone = np.clip(light[paint] / np.median(light[paint]), 0.3, 1.5)
        colour[paint] = (0.72 * tone)[:, None]
        kind[paint] = int(Part.PAINT)
    colour[pane] = 0.012
    kind[pane] = int(Part.PANE)


def _smudge(rgb: Floats, box: tuple[float, float, float, float], colour: float) -> None:
    """Covers a plate, a display or (colour < 0: by a blur) an emblem.

    The box is (left, top, right, bottom) in fractions of the view.
    """
    height, width = rgb.shape[:2]
    left, top, right, bottom = box
    area = rgb[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    if colour < 0:
        area[:] = blur(area, 4)
        return
    area[:] = colour
    if area.shape[0] > 4:
        letters = (np.arange(area.shape[1]) % 4 > 0) & (np.arange(area.shape[1]) % 16 < 12)
        middle = slice(int(area.shape[0] * 0.3), int(area.shape[0] * 0.72))
        area[middle, 2:-2] *= np.where(letters, 0.45, 1.0)[None, 2:-2, None]


def view_of(
    source: Source, model: Model, view: str, panorama: Floats
) -> tuple[Floats, Floats, Bytes]:
    """Colour, coverage and parts of one view."""
    axes = VIEWS[view]
    scale = SHEET_PX_PER_M * (0.72 if source.size_m[0] > 6 else 1.0)
    if view == "top" and source.size_m[0] > 6:
        scale *= 0.5
    extent = np.abs(axes) @ np.array(source.size_m)
    width, height = (round(x * scale) for x in extent[:2])
    seen = render(model, axes, (width * _SAMPLES, height * _SAMPLES))
    kinds = _kinds(source, model)
    colour = _colours(model, kinds, seen)
    kind = kinds[seen.material].copy()
    if not source.paint:
        _by_colour(colour, kind)
    if view == "side":
        for share in source.discs:
            y, x = np.ogrid[: kind.shape[0], : kind.shape[1]]
            radius = source.wheel_radius_m * scale * _SAMPLES
            far = np.hypot(x - share * kind.shape[1], y - kind.shape[0] + radius)
            kind[(far < radius) & (seen.material >= 0)] = int(Part.WHEEL)
    unit = scale * _SAMPLES
    covered = seen.material >= 0
    through = ndimage.binary_fill_holes(covered) & ~covered if view != "top" else ~covered & False
    through = ndimage.binary_opening(through, iterations=4)
    kind[through], colour[through] = int(Part.PANE), 0.012
    seen.normal[through] = (0.0, 0.25, 0.97)
    depth = np.where(covered, seen.depth, seen.depth[covered].min()).astype(np.float32) * unit
    shaded = lit(colour, kind, seen.normal.astype(np.float32), depth, panorama, view)
    low = np.linspace(1, 0, shaded.shape[0], dtype=np.float32)[:, None]
    if view != "top":
        shaded *= np.clip(0.45 + low * 3.2, 0, 1)[..., None]
    covered = covered | through
    alpha = covered.astype(np.float32)
    weight = resize(alpha, width, height)
    rgb = resize(shaded * alpha[..., None], width, height) / np.maximum(weight, 1e-3)[..., None]
    for place, box, tone in source.smudges:
        if place == view:
            _smudge(rgb, box, tone)
    parts = np.where(covered, kind, 0)[_SAMPLES // 2 :: _SAMPLES, _SAMPLES // 2 :: _SAMPLES]
    return rgb, weight, parts[:height, :width].astype(np.uint8)


def spread(kind: Bytes, near: npt.NDArray[np.int64]) -> Bytes:
    """Continues parts beyond the outline, and paint over the dark seals beside it.

    A look-up just beside the paint then still finds paint; dark texels stay dark when multiplied.
    """
    grown = kind[tuple(near)]
    paint = ndimage.binary_dilation(grown == Part.PAINT, iterations=2)
    return np.where(paint & (grown == Part.NONE), int(Part.PAINT), grown).astype(np.uint8)


def packed(
    name: str, views: dict[str, tuple[Floats, Floats, Bytes]], meta: dict[str, object]
) -> Texture:
    """Views side by side on one sheet: side and top views above, front and back below."""
    gap = 4
    side, top, front, back = (views[k] for k in ("side", "top", "front", "back"))
    below = front[1].shape[1] + back[1].shape[1] + 2 * gap
    y = side[1].shape[0] + 2 * gap
    under = below + top[1].shape[1] + gap <= side[1].shape[1]
    left, above = (below, y) if under else (max(side[1].shape[1], below) + 2 * gap, gap)
    width = max(side[1].shape[1] + gap, left + top[1].shape[1]) + gap
    height = max(y + front[1].shape[0], above + top[1].shape[0]) + gap
    width, height = -(-width // 8) * 8, -(-height // 8) * 8
    colour = np.full((height, width, 3), 0.1, np.float32)
    alpha = np.zeros((height, width), np.float32)
    parts = np.zeros((height, width), np.uint8)
    places = {
        "side": (gap, gap),
        "top": (left, above),
        "front": (gap, y),
        "back": (2 * gap + front[1].shape[1], y),
    }
    boxes: dict[str, object] = {}
    for view, (x, top_y) in places.items():
        rgb, weight, kind = views[view]
        rows, columns = slice(top_y, top_y + weight.shape[0]), slice(x, x + weight.shape[1])
        near = ndimage.distance_transform_edt(weight < 0.5, return_indices=True)[1]
        colour[rows, columns] = np.where((weight < 0.5)[..., None], rgb[tuple(near)], rgb)
        alpha[rows, columns], parts[rows, columns] = weight, spread(kind, near)
        boxes[view] = [x, top_y, weight.shape[1], weight.shape[0]]
    picture = to_bytes(colour, alpha)
    return Texture(
        f"vehicle_{name}", "vehicle", picture, 0.0, (False, False), {**boxes, **meta}, parts
    )


def load(source: Source, data: Path) -> Model:
    """The model turned to x forward, z up, at its size."""
    path = data / source.path
    model = load_obj(path) if path.suffix == ".obj" else load_gltf(path, ("color", "body_number"))
    model = model.turned(UP_Z)
    if source.flipped:
        model = model.turned(np.diag([-1.0, -1.0, 1.0]))
    mirrors = ("sweethome3d_window_mirror", *source.hidden)
    model = model.without(*mirrors)
    model = model.fitted(source.size_m)
    if source.axles:
        model = joined([model, *_wheels(source, data)]).fitted(source.size_m)
    return model


def _wheels(source: Source, data: Path) -> list[Model]:
    """Wheels for a model that comes without them."""
    wheel = load_gltf(data / "models_metadrive_ccby/130/right_tire_back.gltf").turned(UP_Z)
    for material in wheel.materials:
        tyre = "tire" in material.name
        material.texture, material.colour = None, (0.014,) * 3 if tyre else (0.42,) * 3
    radius, out = source.wheel_radius_m, []
    for axle in source.axles:
        for side in (-1, 1):
            turned = wheel.turned(np.diag([1.0, float(side), 1.0]))
            turned = turned.fitted((2 * radius, 0.22, 2 * radius))
            move = np.array([axle * source.size_m[0] / 2, side * (source.size_m[1] / 2 - 0.16), 0])
            turned.corners = turned.corners + move
            out.append(turned)
    return out


def rendered_vehicles(data: Path) -> Iterator[Texture]:
    """One sheet per model."""
    panorama = read(data / "hdri_polyhaven_cc0/venice.jpg")
    for source in SOURCES:
        model = load(source, data)
        views = {view: view_of(source, model, view, panorama) for view in VIEWS}
        meta = {"size_m": list(source.size_m), "models": list(source.models)}
        yield packed(source.name, views, meta)
