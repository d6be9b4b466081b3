"""Weather and time of day on a finished picture: light, wet ground, fog and rain.

`weather_effects` takes any picture of a view, from the canvas or from a network, and computes in
linear light: exposure and colour of the daylight, the sky, artificial light after sunset,
reflections on wet ground, fog by distance (Koschmieder) and rain streaks. The same inputs give
the same picture. In clear daylight the picture is returned as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sim2street.bridge.frame import SKY_DEPTH_M, FloatArray, View, Weather
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import VEHICLE_MODEL_BITS, SurfaceKind, VehicleSide
from sim2street.neural_renderer.canvas.atlas import Part
from sim2street.neural_renderer.canvas.ground import patches
from sim2street.neural_renderer.canvas.hashing import mixed, unit
from sim2street.neural_renderer.canvas.lighting import GROUND_TAGS
from sim2street.neural_renderer.canvas.parts import AtlasParts, parts_at
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap

Colour = npt.NDArray[np.float32]

GAMMA = 2.2

CLEAR_VISIBILITY_M, DENSE_VISIBILITY_M = 12000.0, 40.0
"""Visibility (distance at which 5 % of the contrast is left) without fog and with fog 1; between
them it falls exponentially."""

KOSCHMIEDER = 3.0
"""Extinction times visibility: the logarithm of the contrast that is left at that distance."""

RAIN_EXTINCTION_PER_M = 0.004
"""Rain 1 adds this to the extinction of the fog."""

FOG_LAYER_M = 60.0
"""Height of the fog: rays to the sky leave it."""

WET_DARKENING = 0.45
"""A soaked road reflects this share less of the light."""

WET_GLOSS = 0.8
"""Share of a mirror's reflection that a soaked road shows."""

WATER_REFLECTANCE = 0.02
"""Of water seen from straight above; at grazing angles it rises to 1 (Schlick)."""

LAMP_SPACING_M = 26.0
LAMP_HEIGHT_M = 6.0
LAMP_COLOUR = (1.0, 0.75, 0.48)
"""Street lamps: a grid in the world. Their light falls off above their height."""

LIT_SHARE = 0.35
"""Share of the rooms with light in their windows at night."""

ROOM_M = 3.0
ROOM_COLOURS = ((0.75, 0.42, 0.17), (0.6, 0.38, 0.2), (0.7, 0.55, 0.36), (0.35, 0.2, 0.09))
"""Rooms are cells of this size of a wall; linear colours of their light."""

HEADLAMP, TAILLAMP = (1.6, 1.5, 1.3), (0.9, 0.03, 0.02)
"""Linear colours of vehicles' lamps."""

SKY_RAMP = 0.18
"""Sine of the elevation over which the sky goes from its colour at the horizon to that overhead."""

USUAL_CAMERA_M = 1.5
"""Height of the camera where a view shows no ground."""

_SUN_DEG = (-18.0, -8.0, -4.0, 0.0, 6.0, 14.0)
_EXPOSURE = (0.02, 0.03, 0.11, 0.28, 0.65, 1.0)
_BLUE_HOUR = (1.0, 1.0, 0.8, 0.35, 0.0, 0.0)
_SUNSET = (0.0, 0.15, 0.7, 1.0, 0.7, 0.0)
_LAMPS = (1.0, 1.0, 0.55, 0.2, 0.0, 0.0)
"""By the sun's altitude: daylight, blueness of its light, colour of the low sky, lamps lit."""

_GROUND = np.zeros(256, np.bool_)
_GROUND[list(GROUND_TAGS)] = True
_WETTABLE = np.zeros(256, np.float32)
_WETTABLE[[Tag.ROAD, Tag.ROAD_LINES]] = 1.0
_WETTABLE[Tag.SIDEWALK] = 0.6
_LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)


@dataclass(frozen=True, slots=True)
class _Sky:
    """What a weather makes of light and sky; colours are linear, ground in full sun is about 1.

    Attributes:
        exposure: float32 (3,), factor on daylight.
        overcast: in [0, 1], how much of the sky is one layer of clouds.
        low, high: float32 (3,), colour of the sky at the horizon and overhead.
        own: in [0, 1], share of the sky that `low` and `high` replace.
        lamps: in [0, 1], street lamps and lit windows.
        extinction_per_m: of fog and rain.
    """

    exposure: Colour
    overcast: float
    low: Colour
    high: Colour
    own: float
    lamps: float
    extinction_per_m: float


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where the pixels of a view are.

    Attributes:
        view: with labels and depth.
        x: float32 (W,), y: float32 (H,), viewing rays (x, y, 1) of the camera.
        rise: float32 (H, W), sine of the viewing ray's elevation above the horizon.
        length: float32 (H, W), length of the ray (x, y, 1).
        horizon: float32 (W,), row of the horizon in each column.
        camera_m: height of the camera above the ground.
        sky: integers (P,), flat indices of the sky's pixels.
    """

    view: View
    x: FloatArray
    y: FloatArray
    rise: FloatArray
    length: FloatArray
    horizon: FloatArray
    camera_m: float
    sky: npt.NDArray[np.intp]

    @classmethod
    def of(cls, view: View) -> _Scene:
        assert view.labels is not None
        assert view.depth_m is not None
        camera = view.camera
        x = ((np.arange(camera.width_px) - camera.cx_px) / camera.fx_px).astype(np.float32)
        y = ((np.arange(camera.height_px) - camera.cy_px) / camera.fy_px).astype(np.float32)
        across, down, ahead = view.pose[2, :3].astype(np.float32)
        length = np.sqrt((1.0 + x * x)[None, :] + (y * y)[:, None])
        rise = (across * x + ahead)[None, :] + (down * y)[:, None]
        rows = slice(3 * camera.height_px // 4, None, 4)
        drops_m = -view.depth_m[rows, ::8] * rise[rows, ::8]
        near = drops_m[_GROUND.take(view.labels[rows, ::8])]
        rise /= length
        steep = down if abs(down) > 1e-3 else np.float32(-1e-3)
        horizon = camera.cy_px - camera.fy_px * (across * x + ahead) / steep
        camera_m = max(float(np.median(near)), 0.0) if near.size else USUAL_CAMERA_M
        sky = np.flatnonzero(view.labels == Tag.SKY)
        return cls(view, x, y, rise, length, horizon.astype(np.float32), camera_m, sky)

    @property
    def depth_m(self) -> FloatArray:
        """float32 (H, W), along the optical axis."""
        assert self.view.depth_m is not None
        return self.view.depth_m

    def points_m(self, first_row: int = 0, step: int = 1) -> FloatArray:
        """Surface points in the world of every `step`th pixel from a row on: (3, rows, columns)."""
        turn = self.view.pose[:3, :3].astype(np.float32)
        x, y = self.x[::step], self.y[first_row::step]
        across = turn[:, 0, None] * x + turn[:, 2, None]
        rays = across[:, None, :] + (turn[:, 1, None] * y)[:, :, None]
        rays *= self.depth_m[first_row::step, ::step]
        points: FloatArray = rays + self.view.pose[:3, 3].astype(np.float32)[:, None, None]
        return points


def weather_effects(
    rgb: FloatArray,
    view: View,
    weather: Weather,
    tick: int = 0,
    seed: int = 0,
    emission: FloatArray | None = None,
) -> FloatArray:
    """A picture of a view under a weather: float32 (H, W, 3), sRGB in [0, 1].

    Args:
        rgb: float32 (H, W, 3), sRGB in [0, 1], in plain daylight; not modified.
        view: with labels and depth of the same size (H, W).
        tick: chooses the rain streaks of this picture.
        seed: chooses where puddles and streaks lie.
        emission: float32 (3, H, W), linear, what shines by itself after sunset; see `emission_of`.
    """
    if not _has_effects(weather):
        return rgb
    sky, scene = _sky_of(weather), _Scene.of(view)
    daylight = _planes(_power(np.maximum(rgb, np.float32(0.0)), GAMMA))
    planes = _lit(daylight, sky)
    _paint_sky(planes, scene, sky)
    if sky.lamps > 0.0:
        _add_lamps(planes, daylight, scene, sky, emission)
    wet = _Wet.of(scene, weather, seed)
    if wet is not None:
        planes[:, wet.top :] *= 1.0 - np.float32(WET_DARKENING) * wet.share
    _add_fog_and_rain(planes, scene, sky, weather.rain, (seed, tick))
    if wet is not None:
        _add_reflections(planes, scene, wet, weather.rain)
    if sky.lamps > 0.0:
        _add_bloom(planes, sky.lamps)
    np.clip(planes, 0.0, 1.0, out=planes)
    return _power(np.asarray(cv2.merge(tuple(planes)), np.float32), 1.0 / GAMMA)


def lamps_are_lit(weather: Weather) -> bool:
    """Whether the sun is so low that lamps and windows are lit. If not, emission has no effect."""
    return weather.sun_altitude_deg < _SUN_DEG[_LAMPS.index(0.0)]


def emission_of(
    view: View, surfaces: SurfaceMap, parts: AtlasParts, seed: int
) -> FloatArray | None:
    """Light of lit rooms and of vehicles' lamps: float32 (3, H, W), linear.

    None where the world sends no exact surfaces: windows of one room are not told apart then.

    Args:
        surfaces: of the same view, from `place`.
    """
    exact = view.surfaces
    if exact is None:
        return None
    out = np.zeros((3, surfaces.window.size), np.float32)
    row = exact.index.reshape(-1).astype(np.int32) - 1
    kind = np.append(exact.kind, 0)[row]
    panes = np.flatnonzero((kind == SurfaceKind.WALL) & surfaces.window.reshape(-1))
    u, v = exact.uv.reshape(-1, 2)[panes].T
    room = (np.floor(u / np.float32(ROOM_M)), np.floor(v / np.float32(ROOM_M)))
    number = mixed(exact.key[row[panes]], *(side.astype(np.int32) for side in room), seed, 61)
    chance = unit(number)
    ceiling = np.float32(0.55) + np.float32(0.45) * (v / np.float32(ROOM_M) - room[1])
    light = np.where(chance < LIT_SHARE, (0.25 + 0.75 * chance / LIT_SHARE) * ceiling, 0.0)
    warmth = np.array(ROOM_COLOURS, np.float32)[mixed(number, 5) % np.uint32(len(ROOM_COLOURS))]
    out[:, panes] = light * warmth.T
    cars = np.flatnonzero(kind == SurfaceKind.VEHICLE)
    x, y = surfaces.texel.reshape(2, -1)[:, cars]
    piece = surfaces.texture.reshape(-1)[cars]
    lamps = (piece >= 0) & (parts_at(parts, piece, x, y) == Part.LAMP)
    side = exact.material[row[cars]] >> np.uint8(VEHICLE_MODEL_BITS)
    for which, colour in ((VehicleSide.FRONT, HEADLAMP), (VehicleSide.BACK, TAILLAMP)):
        out[:, cars[lamps & (side == which)]] = np.array(colour, np.float32)[:, None]
    return out.reshape(3, *surfaces.window.shape)


def _has_effects(weather: Weather) -> bool:
    """Whether a weather differs from fair daylight, which pictures show anyway."""
    wet = max(weather.rain, weather.fog, weather.wetness) > 0.0
    return wet or weather.cloudiness > 0.35 or weather.sun_altitude_deg < _SUN_DEG[-1]


def _sky_of(weather: Weather) -> _Sky:
    """Light and sky of a weather, by the sun's altitude and the clouds."""

    def by_sun(values: tuple[float, ...]) -> float:
        return float(np.interp(weather.sun_altitude_deg, _SUN_DEG, values))

    overcast = max(weather.cloudiness, weather.rain, weather.fog)
    overcast = float(np.clip((overcast - 0.35) / 0.45, 0.0, 1.0))
    day, blue, sunset = by_sun(_EXPOSURE), by_sun(_BLUE_HOUR), by_sun(_SUNSET) * (1.0 - overcast)
    warm = sunset * (1.0 - blue)
    tint = np.array((1.0 - 0.25 * blue, 1.0 - 0.08 * blue, 1.0 + 0.2 * blue))
    tint *= (1.0 + 0.12 * warm, 1.0, 1.0 - 0.2 * warm)
    cloudy = 1.0 - 0.12 * overcast - 0.12 * weather.rain * overcast
    grey = (0.72 - 0.24 * weather.rain) * np.array((0.97, 1.0, 1.03))
    glow = sunset * np.array((1.0, 0.6, 0.33)) + (1.0 - sunset) * np.array((0.5, 0.62, 0.8))
    dusk_low = max(day, 0.02) ** 0.4 * glow
    dusk_high = max(day, 0.015) ** 0.65 * np.array((0.25, 0.38, 0.75))
    lamps = by_sun(_LAMPS)
    low = overcast * grey * day + (1.0 - overcast) * dusk_low + lamps * 0.03 * np.array(LAMP_COLOUR)
    high = overcast * 1.1 * grey * day + (1.0 - overcast) * dusk_high
    late = float(np.clip((_SUN_DEG[-1] - weather.sun_altitude_deg) / 8.0, 0.0, 1.0))
    visibility_m = CLEAR_VISIBILITY_M * (DENSE_VISIBILITY_M / CLEAR_VISIBILITY_M) ** weather.fog
    fog_per_m = KOSCHMIEDER / visibility_m if weather.fog > 0.0 else 0.0
    return _Sky(
        (day * cloudy * tint).astype(np.float32),
        overcast,
        low.astype(np.float32),
        high.astype(np.float32),
        max(overcast, late),
        lamps,
        fog_per_m + RAIN_EXTINCTION_PER_M * weather.rain,
    )


def _power(image: FloatArray, exponent: float) -> FloatArray:
    """Every value of an image to a power; faster than NumPy's."""
    return np.asarray(cv2.pow(image, exponent), np.float32)


def _planes(image: FloatArray) -> FloatArray:
    """An image (H, W, 3) as (3, H, W)."""
    planes = np.zeros((3, *image.shape[:2]), np.float32)
    cv2.split(image, list(planes))
    return planes


def _lit(daylight: FloatArray, sky: _Sky) -> FloatArray:
    """The picture (3, H, W) in the light of this weather: exposure, and paler without sun."""
    grey = np.float32(0.18 * sky.overcast + 0.3 * sky.lamps)
    planes: FloatArray = daylight * (sky.exposure * (1.0 - grey))[:, None, None]
    if grey > 0.0:
        luma = np.tensordot(_LUMA, daylight, 1)
        for plane, exposure in zip(planes, sky.exposure, strict=True):
            plane += luma * (exposure * grey)
    return planes


def _paint_sky(planes: FloatArray, scene: _Scene, sky: _Sky) -> None:
    """A layer of clouds, or the colours of a low sun; the sky keeps its detail."""
    if sky.own == 0.0 or not len(scene.sky):
        return
    flat = planes.reshape(3, -1)
    colours = flat[:, scene.sky]
    luma = _LUMA @ colours + np.float32(1e-4)
    detail = np.clip(np.sqrt(luma / luma.mean()), 0.75, 1.25)
    rise = np.maximum(scene.rise.reshape(-1)[scene.sky], 0.0)
    up = 1.0 - np.exp(rise * np.float32(-1.0 / SKY_RAMP))
    own = (sky.low[:, None] + up * (sky.high - sky.low)[:, None]) * detail
    flat[:, scene.sky] = colours + (own - colours) * np.float32(sky.own)


def _add_lamps(
    planes: FloatArray,
    daylight: FloatArray,
    scene: _Scene,
    sky: _Sky,
    emission: FloatArray | None,
) -> None:
    """Light of street lamps on everything near the ground, and what shines by itself."""
    points_m = scene.points_m(step=2)
    turn = np.float32(2.0 * np.pi / LAMP_SPACING_M)
    pools = np.square(np.cos(points_m[0] * turn) + np.cos(points_m[1] * turn) + np.float32(2.0))
    ground_m = np.float32(scene.view.pose[2, 3] - scene.camera_m)
    height = np.maximum(points_m[2] - ground_m, 0.0) * np.float32(1.0 / LAMP_HEIGHT_M)
    half = (np.float32(0.12) + np.float32(0.03) * pools) * np.exp(-height * height)
    light = cv2.resize(half * np.float32(sky.lamps), planes.shape[:0:-1])
    light.reshape(-1)[scene.sky] = 0.0
    for plane, colour, factor in zip(planes, daylight, LAMP_COLOUR, strict=True):
        plane += colour * light * np.float32(factor)
    if emission is not None:
        planes += emission * np.float32(sky.lamps)


def _add_bloom(planes: FloatArray, lamps: float) -> None:
    """Glow around what is bright in the dark."""
    height_px, width_px = planes.shape[1:]
    size = max(width_px // 4, 1), max(height_px // 4, 1)
    for plane in planes:
        small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        bright = np.maximum(small - np.float32(0.25), 0.0)
        wide = cv2.GaussianBlur(bright, (0, 0), height_px / 64.0)
        plane += cv2.resize(wide, (width_px, height_px)) * np.float32(0.4 * lamps)


@dataclass(frozen=True, slots=True)
class _Wet:
    """Wet ground in the rows from `top`, the horizon, on.

    Attributes:
        share: float32 (H - top, W), how wet, in [0, 1].
        mirror: float32 (H - top, W), share of a mirror's reflection, in [0, 1].
    """

    top: int
    share: FloatArray
    mirror: FloatArray

    @classmethod
    def of(cls, scene: _Scene, weather: Weather, seed: int) -> _Wet | None:
        """None where no ground is wet."""
        labels = scene.view.labels
        assert labels is not None
        top = int(np.clip(np.floor(scene.horizon.min()), 0, len(labels) - 1))
        soak = _WETTABLE.take(labels[top:])
        if weather.wetness == 0.0 or not soak.any():
            return None
        soak *= np.float32(weather.wetness)
        points_m = scene.points_m(top, 2)[:2]
        noise = patches(points_m.reshape(2, -1), seed + 1).reshape(points_m.shape[1:])
        puddles = np.clip(np.float32(0.62) + np.float32(0.75) * noise, 0.25, 1.0)
        grazing = 1.0 - np.clip(-scene.rise[top::2, ::2], 0.0, 1.0)
        fresnel = np.square(np.square(grazing)) * grazing
        fresnel = WATER_REFLECTANCE + (1.0 - WATER_REFLECTANCE) * fresnel
        share = soak * cv2.resize(puddles, soak.shape[::-1])
        gloss = np.float32(WET_GLOSS * (1.0 - 0.3 * weather.rain))
        return cls(top, share, share * cv2.resize(fresnel, soak.shape[::-1]) * gloss)


def _add_reflections(planes: FloatArray, scene: _Scene, wet: _Wet, rain: float) -> None:
    """Let wet ground mirror what stands behind it, at half the picture's size.

    A ray is reflected about the horizon. What it meets at distance D seems lower in the mirror by
    twice the camera's height; what lies outside of the picture is replaced by its edge.
    """
    height_px, width_px = planes.shape[1:]
    rows = np.arange(wet.top, height_px, 2, dtype=np.float32)[:, None]
    x = np.arange(0, width_px, 2, dtype=np.float32)
    x = np.ascontiguousarray(np.broadcast_to(x, (len(rows), len(x))))
    horizon = scene.horizon[::2]
    y = np.float32(2.0) * horizon - rows
    edge = cv2.BORDER_REPLICATE
    depth_m = cv2.remap(scene.depth_m, x, y, cv2.INTER_NEAREST, borderMode=edge)
    foot_px = np.float32(scene.view.camera.fy_px * scene.camera_m) / np.maximum(depth_m, 2.0)
    y = np.minimum(y + np.float32(2.0) * foot_px, horizon + foot_px)
    spread_px = max(3, round(height_px * (0.03 + 0.06 * rain)))
    half_size = (width_px + 1) // 2, (height_px + 1) // 2
    for plane in planes:
        small = cv2.resize(plane, half_size, interpolation=cv2.INTER_AREA)
        small = cv2.blur(small, (3, spread_px), borderType=edge)
        mirrored = cv2.remap(small, x * 0.5, y * 0.5, cv2.INTER_LINEAR, borderMode=edge)
        mirrored = cv2.blur(mirrored, (3, 5), borderType=edge)
        part = plane[wet.top :]
        part += (cv2.resize(mirrored, part.shape[::-1]) - part) * wet.mirror


def _add_fog_and_rain(
    planes: FloatArray, scene: _Scene, sky: _Sky, rain: float, seeds: tuple[int, int]
) -> None:
    """Koschmieder's law: a colour fades with distance, and airlight takes its place.

    Streaks of drops are airlight too, drawn anew for each picture.
    """
    if sky.extinction_per_m == 0.0:
        return
    path_m = scene.depth_m * scene.length
    rise = np.maximum(scene.rise.reshape(-1)[scene.sky], FOG_LAYER_M / SKY_DEPTH_M)
    path_m.reshape(-1)[scene.sky] = np.float32(FOG_LAYER_M) / rise
    left = np.exp(path_m * np.float32(-sky.extinction_per_m))
    random = np.random.default_rng([*seeds, 7])
    for near, strength in ((0, 0.16), (1, 0.18)) if rain > 0.0 else ():
        streaks = _streaks(*left.shape, near)
        shift = random.integers(left.shape[0]), random.integers(left.shape[1])
        moved = np.roll(streaks, (int(shift[0]), int(shift[1])), (0, 1))
        left *= np.float32(1.0) - moved * np.float32(strength * rain)
    for plane, airlight in zip(planes, sky.low, strict=True):
        plane -= airlight
        plane *= left
        plane += airlight


@functools.lru_cache(maxsize=8)
def _streaks(height_px: int, width_px: int, near: int) -> FloatArray:
    """Coverage of streaks in [0, 1] that repeats at the picture's edges: float32 (H, W)."""
    random = np.random.default_rng(40 + near)
    scale = height_px / 256.0
    count = int((90, 28)[near] * width_px / height_px)
    length_px = max(3, round((14, 38)[near] * scale))
    width = max(1, round((1, 2)[near] * scale))
    image = np.zeros((height_px, width_px), np.float32)
    for x, y, alpha in zip(
        random.integers(width_px, size=count),
        random.integers(height_px, size=count),
        random.uniform(0.3, 1.0, count),
        strict=True,
    ):
        for shift_x in (0, -width_px):
            for shift_y in (0, -height_px):
                start = int(x + shift_x), int(y + shift_y)
                end = start[0] - round(0.08 * length_px), start[1] + length_px
                cv2.line(image, start, end, float(alpha), width, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), (0.5, 1.1)[near] * scale), np.float32)
