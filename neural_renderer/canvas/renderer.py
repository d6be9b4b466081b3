"""CanvasRenderer: the canvas alone, without a network.

It shows what the generator will be given, in motion, and what harmonising must improve on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import ByteArray, FloatArray, View
from sim2street.bridge.frame_by_frame import FrameByFrameRenderer
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest
from sim2street.neural_renderer.canvas.atlas import Atlas
from sim2street.neural_renderer.canvas.parts import atlas_parts
from sim2street.neural_renderer.canvas.placement import place
from sim2street.neural_renderer.canvas.sampling import sample
from sim2street.neural_renderer.canvas.weather_effects import (
    emission_of,
    lamps_are_lit,
    weather_effects,
)
from sim2street.neural_renderer.conditions.guessed_geometry import (
    guess_horizon,
    with_guessed_depth,
)

FLAT_COLOURS: dict[Tag, tuple[float, float, float]] = {
    Tag.POLE: (0.42, 0.43, 0.43),
    Tag.TRAFFIC_LIGHT: (0.12, 0.13, 0.12),
    Tag.TRAFFIC_SIGN: (0.55, 0.55, 0.56),
    Tag.CAR: (0.38, 0.39, 0.41),
    Tag.TRUCK: (0.5, 0.5, 0.5),
    Tag.BUS: (0.5, 0.25, 0.2),
    Tag.MOTORCYCLE: (0.15, 0.15, 0.16),
    Tag.BICYCLE: (0.17, 0.17, 0.19),
    Tag.PEDESTRIAN: (0.25, 0.25, 0.3),
    Tag.RIDER: (0.25, 0.25, 0.3),
    Tag.BUILDING: (0.55, 0.52, 0.48),
    Tag.WALL: (0.5, 0.47, 0.43),
    Tag.FENCE: (0.3, 0.28, 0.25),
    Tag.GUARD_RAIL: (0.55, 0.56, 0.57),
    Tag.VEGETATION: (0.2, 0.26, 0.13),
    Tag.SKY: (0.8, 0.85, 0.92),
    Tag.ROAD: (0.35, 0.35, 0.35),
    Tag.ROAD_LINES: (0.75, 0.75, 0.73),
    Tag.SIDEWALK: (0.48, 0.46, 0.44),
    Tag.TERRAIN: (0.3, 0.35, 0.2),
}
"""sRGB in [0, 1] where the atlas has no texture. Other tags are a neutral grey."""

_NEUTRAL = (0.4, 0.4, 0.4)

FOG_SHARE_AT_FAR = 0.35
FAR_M = 250.0
"""Distant surfaces fade towards the horizon's colour; this is the share at this distance."""


class CanvasRenderer(FrameByFrameRenderer):
    """Renders views with the textures of an atlas, in the weather of the request.

    Args:
        atlas: its name is the only style.
    """

    uses_surfaces = True

    def __init__(self, atlas: Atlas) -> None:
        super().__init__()
        self._name = atlas.name
        self._parts = atlas_parts(atlas)
        self._flat = np.array([FLAT_COLOURS.get(tag, _NEUTRAL) for tag in Tag], np.float32)

    def styles(self) -> tuple[str, ...]:
        return (self._name,)

    def paint(self, request: RenderRequest, scale: int, seed: int) -> ByteArray:
        view = request.view
        if view.labels is None:
            raise RendererError("view.labels is missing: configure a label camera in the world")
        if view.depth_m is None:
            view = with_guessed_depth(view, guess_horizon(view))
        view = enlarged(view, scale)
        assert view.labels is not None
        assert view.depth_m is not None
        weather = request.weather
        if weather is not None:
            weather.validate()
        surfaces = place(view, self._parts, seed, request.actors, weather)
        canvas = sample(surfaces, self._parts.packed)
        share = canvas.coverage[..., None]
        rgb = canvas.rgb * share + self._flat[view.labels] * (1.0 - share)
        rgb = faded(rgb, view.depth_m, view.labels)
        if weather is not None:
            lit = lamps_are_lit(weather)
            shine = emission_of(view, surfaces, self._parts, seed) if lit else None
            rgb = weather_effects(rgb, view, weather, request.tick, seed, shine)
        out: ByteArray = np.rint(rgb * 255.0).astype(np.uint8)
        return out


def faded(rgb: FloatArray, depth_m: FloatArray, labels: ByteArray) -> FloatArray:
    """The image with aerial perspective: distance takes on the colour of the low sky."""
    sky = labels == Tag.SKY
    if not sky.any():
        return rgb
    rows = np.flatnonzero(sky.any(axis=1))
    horizon = rgb[rows[-1]][sky[rows[-1]]].mean(axis=0)
    density = -np.log(1.0 - FOG_SHARE_AT_FAR) / FAR_M
    share = 1.0 - np.exp(-density * depth_m)[..., None]
    share[sky] = 0.0
    faded_rgb: FloatArray = rgb + (horizon - rgb) * share.astype(np.float32)
    return faded_rgb


def enlarged(view: View, scale: int) -> View:
    """The view with every pixel repeated `scale` times in both directions."""
    if scale == 1:
        return view

    def repeated(image: np.ndarray | None) -> np.ndarray | None:
        return None if image is None else image.repeat(scale, axis=0).repeat(scale, axis=1)

    camera = view.camera.resized(view.camera.width_px * scale, view.camera.height_px * scale)
    surfaces = view.surfaces
    if surfaces is not None:
        index, uv = repeated(surfaces.index), repeated(surfaces.uv)
        assert index is not None
        assert uv is not None
        surfaces = dataclasses.replace(surfaces, index=index, uv=uv)
    return View(
        camera,
        view.pose,
        repeated(view.labels),
        repeated(view.depth_m),
        repeated(view.instances),
        surfaces=surfaces,
    )
