"""Places the textures of an atlas on the surfaces of a view.

Everything is fixed to the world: the same place gets the same texture from wherever it is seen.
Exact texture coordinates (`View.surfaces`) are used where a world sends them. Otherwise ground,
walls, plants and sky are placed by depth and pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import Actor, FloatArray, View, Weather
from sim2street.bridge.surfaces import SurfaceKind, Surfaces
from sim2street.neural_renderer.canvas.ground import place_ground
from sim2street.neural_renderer.canvas.lighting import light_factor, light_of
from sim2street.neural_renderer.canvas.objects import (
    place_people,
    place_roofs,
    place_signs,
    place_vehicles,
)
from sim2street.neural_renderer.canvas.parts import AtlasParts, Ints
from sim2street.neural_renderer.canvas.plants import place_plants
from sim2street.neural_renderer.canvas.sky import place_sky
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap, jacobian
from sim2street.neural_renderer.canvas.walls import Walls, place_walls
from sim2street.neural_renderer.conditions.facade_windows import wall_coordinates

FIRST_ROW = 64
"""Number of the first wall or exact surface, after those of label tags and of facets of plants."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Where the pixels of a view are.

    Attributes:
        points_m: float32 (3, H, W), surface points in the world.
        directions: float32 (3, H, W), viewing directions in the world, of length 1 along the
            optical axis.
    """

    points_m: FloatArray
    directions: FloatArray

    @classmethod
    def of(cls, view: View) -> _Geometry:
        assert view.depth_m is not None
        camera = view.camera
        x = ((np.arange(camera.width_px) - camera.cx_px) / camera.fx_px).astype(np.float32)
        y = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px).astype(np.float32)
        rotation = view.pose[:3, :3].astype(np.float32)
        across = rotation[:, 0, None] * x
        down = rotation[:, 1, None] * y + rotation[:, 2, None]
        directions = across[:, None, :] + down[:, :, None]
        points_m = directions * view.depth_m
        points_m += view.pose[:3, 3].astype(np.float32)[:, None, None]
        return cls(points_m, directions)


def place(
    view: View,
    parts: AtlasParts,
    seed: int,
    actors: Sequence[Actor] = (),
    weather: Weather | None = None,
) -> SurfaceMap:
    """The surface map of a view.

    Args:
        view: with labels and depth (`with_guessed_depth` gives depth to one without).
        seed: another one chooses other textures everywhere.
        actors: of the same frame; vehicles cast contact shadows.
        weather: sun and clouds; None: the default.
    """
    assert view.labels is not None
    labels = view.labels
    geometry = _Geometry.of(view)
    surfaces = SurfaceMap.empty(*labels.shape)
    surface = labels.astype(np.int32)
    place_sky(surfaces, labels, geometry.directions, parts, seed)
    place_ground(surfaces, labels, geometry.points_m, parts, seed)
    place_plants(surfaces, labels, view.instances, geometry.points_m, parts, seed, surface)
    place_people(surfaces, labels, view.instances, geometry.points_m, parts, seed)
    if view.surfaces is not None:
        rows = view.surfaces.index.astype(np.int32) - 1
        place_roofs(surfaces, view.surfaces, rows, parts, seed)
        place_vehicles(surfaces, view.surfaces, rows, parts, seed)
        place_signs(surfaces, view.surfaces, rows, parts, seed)
        surface = np.where(rows >= 0, rows + FIRST_ROW, surface)
    continuous = surfaces.texel.copy()
    walls = _exact_walls(view.surfaces) if view.surfaces is not None else _guessed_walls(view)
    if walls is not None:
        pixels, row, along_m, up_m, table = walls
        across, upward = place_walls(surfaces, pixels, row, along_m, up_m, table, parts, seed)
        flat = continuous.reshape(2, -1)
        flat[0, pixels], flat[1, pixels] = along_m * across, -up_m * upward
        surface.reshape(-1)[pixels] = row + FIRST_ROW
    surfaces.jacobian[:] = jacobian(continuous, surface)
    light = light_of(weather or Weather(), seed)
    surfaces.tint[:] *= light_factor(view, surface, geometry.points_m, actors, light)
    return surfaces


_WallPixels = tuple[Ints, Ints, FloatArray, FloatArray, Walls]
"""Flat pixel indices, row of the table, metres along and up of each, and the table."""


def _exact_walls(exact: Surfaces) -> _WallPixels | None:
    """The walls of a world that sends texture coordinates."""
    index = exact.index.reshape(-1).astype(np.int32) - 1
    is_wall = np.append(exact.kind == SurfaceKind.WALL, False)
    pixels = np.flatnonzero(is_wall[index]).astype(np.int32)
    if not len(pixels):
        return None
    along_m, up_m = exact.uv.reshape(-1, 2)[pixels].T
    table = Walls(
        exact.key, exact.size_m[:, 0], exact.size_m[:, 1], exact.material.astype(np.int32)
    )
    return pixels, index[pixels], along_m, up_m, table


def _guessed_walls(view: View) -> _WallPixels | None:
    """Walls from depth: one per building and direction, without known ends."""
    assert view.labels is not None
    assert view.depth_m is not None
    camera = (view.camera.fx_px, view.camera.fy_px, view.camera.cx_px, view.camera.cy_px)
    found = wall_coordinates(view.labels, view.instances, view.depth_m, camera, view.pose)
    if found is None:
        return None
    keys, row = np.unique(found.wall, return_inverse=True)
    unknown = np.zeros(len(keys), np.float32)
    table = Walls(
        keys.astype(np.uint32) << np.uint32(8), unknown, unknown, np.zeros(len(keys), np.int32)
    )
    return found.pixels.astype(np.int32), row.astype(np.int32), found.along_m, found.up_m, table
