"""Sun, sky and contact shadows on the canvas, from geometry alone.

Textures are free of light, so a wall that faces the sun and one that does not would look alike.
Each surface is lit by the mean normal of its pixels (Lambert), and ground next to a vehicle is
darkened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import Actor, FloatArray, View, Weather
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.parts import Reals
from sim2street.neural_renderer.canvas.surface_map import jacobian

GROUND_TAGS = (Tag.ROAD, Tag.ROAD_LINES, Tag.SIDEWALK, Tag.TERRAIN, Tag.GROUND)
LIT_TAGS = (Tag.BUILDING, Tag.WALL, Tag.CAR, Tag.TRUCK, Tag.BUS, Tag.TRAFFIC_SIGN)
"""Surfaces whose normals are measured. Plants and people have none that could be measured well."""

SHADOW_TAGS = (Tag.CAR, Tag.TRUCK, Tag.BUS)
SHADOW_REACH_M = 0.45
SHADOW_DEPTH = 0.75
"""Contact shadows take away this share of the light below a vehicle, falling off over the reach."""

SHADOW_RANGE_M = 45.0

_GAMMA = 2.2

_LIT, _GROUND = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
_LIT[list(LIT_TAGS)] = True
_GROUND[list(GROUND_TAGS)] = True


@dataclass(frozen=True, slots=True)
class Light:
    """Light of a scene, linear; ground in full sun has brightness 1.

    Attributes:
        direction: float32 (3,), unit vector towards the sun, world frame.
        sun, sky: brightness that the sun and the sky add to the ground.
    """

    direction: Reals
    sun: float
    sky: float


def light_of(weather: Weather, seed: int) -> Light:
    """Sun and sky of a weather; the seed chooses the compass direction of the sun."""
    turn = 2.0 * np.pi * float(unit(mixed(seed, 81)))
    altitude = np.radians(np.clip(weather.sun_altitude_deg, 12.0, 90.0))
    direction = np.array(
        [np.cos(turn) * np.cos(altitude), np.sin(turn) * np.cos(altitude), np.sin(altitude)]
    )
    overcast = min(1.0, max(weather.cloudiness, weather.rain, weather.fog))
    risen = min(max((weather.sun_altitude_deg + 2.0) / 10.0, 0.0), 1.0)
    sun = 0.6 * risen * (1.0 - overcast) ** 1.5
    return Light(direction.astype(np.float32), sun, 1.0 - sun)


def light_factor(
    view: View,
    surface: npt.NDArray[np.int32],
    points_m: FloatArray,
    actors: Sequence[Actor],
    light: Light,
) -> FloatArray:
    """Factor on the sRGB values of the canvas, float32 (H, W).

    Args:
        surface: int32 (H, W), >= 0, equal on the pixels of one flat surface.
        points_m: float32 (3, H, W), surface points in the world.
    """
    assert view.labels is not None
    lit = _LIT.take(view.labels)
    factor = np.ones(view.labels.shape, np.float32)
    if lit.any():
        factor[lit] = _lambert(view, surface, lit, light)
    ground = _GROUND.take(view.labels)
    factor[ground] *= contact_shadow(points_m[:, ground], actors, view.pose)
    return factor


def _lambert(
    view: View, surface: npt.NDArray[np.int32], lit: npt.NDArray[np.bool_], light: Light
) -> Reals:
    """Factor of the lit pixels by the mean normal of their surfaces, float32 (P,)."""
    assert view.depth_m is not None
    camera = view.camera
    inverse = 1.0 / np.maximum(view.depth_m, np.float32(0.1))
    slope = jacobian(np.stack([inverse, inverse]), surface)
    rows, columns = np.nonzero(lit)
    x = (columns - camera.cx_px) / camera.fx_px
    y = (rows - camera.cy_px) / camera.fy_px
    # On a plane n . X = d the inverse depth is (n . ray) / d, so its gradient gives n / d.
    nx, ny = slope[0][lit] * camera.fx_px, slope[2][lit] * camera.fy_px
    nz = inverse[lit] - x * nx - y * ny
    world = view.pose[:3, :3].astype(np.float64) @ np.stack([nx, ny, nz])
    # Facing the camera: the offset d of a visible surface is positive for this sign.
    world /= -np.linalg.norm(world, axis=0) - 1e-12
    member = surface[lit]
    mean = np.stack([np.bincount(member, axis) for axis in world])
    mean = mean / (np.linalg.norm(mean, axis=0) + 1e-12)
    facing = np.clip(light.direction @ mean, 0.0, None) / max(float(light.direction[2]), 0.2)
    brightness = light.sun * np.minimum(facing, 1.6) + light.sky * (0.62 + 0.38 * mean[2])
    factor: Reals = (brightness ** (1.0 / _GAMMA)).astype(np.float32)[member]
    return factor


def contact_shadow(points_m: FloatArray, actors: Sequence[Actor], pose: FloatArray) -> Reals:
    """Factor on ground points (3, P): dark below vehicles, 1 farther away; float32 (P,)."""
    light = np.ones(points_m.shape[1], np.float32)
    for actor in actors:
        offset = actor.pose[:2, 3] - pose[:2, 3]
        if actor.tag not in SHADOW_TAGS or float(np.hypot(*offset)) > SHADOW_RANGE_M:
            continue
        reach = float(np.hypot(*actor.extent_m[:2])) + 4.0 * SHADOW_REACH_M
        dx, dy = points_m[0] - actor.pose[0, 3], points_m[1] - actor.pose[1, 3]
        near = np.flatnonzero((np.abs(dx) < reach) & (np.abs(dy) < reach))
        if not len(near):
            continue
        forward, left = actor.pose[:2, 0], actor.pose[:2, 1]
        along = np.abs(dx[near] * forward[0] + dy[near] * forward[1]) - actor.extent_m[0]
        across = np.abs(dx[near] * left[0] + dy[near] * left[1]) - actor.extent_m[1]
        outside_m = np.hypot(np.maximum(along, 0.0), np.maximum(across, 0.0))
        dark = SHADOW_DEPTH * np.exp(-outside_m / SHADOW_REACH_M)
        light[near] = np.minimum(light[near], (1.0 - dark) ** (1.0 / _GAMMA))
    return light
