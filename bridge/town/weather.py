"""Weather presets, which also set the time of day."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim2street.bridge.frame import Weather


class WeatherPreset(NamedTuple):
    """Range of the sun's altitude in degrees, and the other values of `Weather`."""

    sun_low_deg: float
    sun_high_deg: float
    cloudiness: float
    rain: float
    fog: float
    wetness: float


PRESETS: dict[str, WeatherPreset] = {
    "clear": WeatherPreset(25.0, 65.0, 0.1, 0.0, 0.0, 0.0),
    "cloudy": WeatherPreset(20.0, 60.0, 0.8, 0.0, 0.05, 0.1),
    "rain": WeatherPreset(15.0, 50.0, 0.95, 0.7, 0.15, 0.9),
    "fog": WeatherPreset(10.0, 40.0, 0.7, 0.0, 0.7, 0.4),
    "dusk": WeatherPreset(-4.0, 8.0, 0.3, 0.0, 0.05, 0.0),
    "night": WeatherPreset(-40.0, -15.0, 0.3, 0.0, 0.0, 0.1),
}
"""Weather presets by name."""

_RELATIVE_FREQUENCY = {"clear": 5, "cloudy": 4, "rain": 2, "fog": 1, "dusk": 2, "night": 1}


def draw_weather(rng: np.random.Generator, preset: str | None) -> Weather:
    """Weather of a preset with a random altitude of the sun.

    Args:
        rng: draws the same number of values whether or not a preset is given.
        preset: one of `PRESETS`, or None for a random one.
    """
    names = list(PRESETS)
    weights = np.array([_RELATIVE_FREQUENCY[name] for name in names], np.float64)
    drawn = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    chosen = PRESETS[preset or drawn]
    sun_altitude_deg = round(float(rng.uniform(chosen.sun_low_deg, chosen.sun_high_deg)), 2)
    return Weather(sun_altitude_deg, chosen.cloudiness, chosen.rain, chosen.fog, chosen.wetness)
