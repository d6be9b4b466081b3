"""Latitude and longitude of places, as each version of CARLA computes them."""

from __future__ import annotations

import math

ORIGIN_DEG = (49.0, 8.0)
"""Latitude and longitude of the world's origin, as in the map's `geoReference`."""

_RADIUS_M = 6_378_137.0
_SCALE = 0.9996
"""Of the transverse Mercator projection in 0.9.16; the earth is a sphere there as well."""


def mercator(x: float, y: float) -> tuple[float, float]:
    """Up to 0.9.15: latitude and longitude (degrees) of a point in CARLA's axes (m)."""
    latitude, longitude = map(math.radians, ORIGIN_DEG)
    radius = _RADIUS_M * math.cos(latitude)
    north = math.log(math.tan((math.pi / 2.0 + latitude) / 2.0)) - y / radius
    return (
        math.degrees(2.0 * math.atan(math.exp(north))) - 90.0,
        math.degrees(longitude + x / radius),
    )


def transverse_mercator(x: float, y: float) -> tuple[float, float]:
    """From 0.9.16 on: latitude and longitude (degrees). The latitude grows with CARLA's y."""
    latitude, longitude = map(math.radians, ORIGIN_DEG)
    east, north = x / (_RADIUS_M * _SCALE), latitude + y / (_RADIUS_M * _SCALE)
    return (
        math.degrees(math.asin(math.sin(north) / math.cosh(east))),
        math.degrees(longitude + math.atan2(math.sinh(east), math.cos(north))),
    )
