"""Weather and time of day: presets, drawn from the seed or chosen by name."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.frame import Weather

PRESETS: dict[str, tuple[float, float, float, float, float, float]] = {
    # sun low and high (degrees), cloudiness, rain, fog, wetness
    "clear": (25.0, 65.0, 0.1, 0.0, 0.0, 0.0),
    "cloudy": (20.0, 60.0, 0.8, 0.0, 0.05, 0.1),
    "rain": (15.0, 50.0, 0.95, 0.7, 0.15, 0.9),
    "fog": (10.0, 40.0, 0.7, 0.0, 0.7, 0.4),
    "dusk": (-4.0, 8.0, 0.3, 0.0, 0.05, 0.0),
    "night": (-40.0, -15.0, 0.3, 0.0, 0.0, 0.1),
}
"""Weather presets by name."""

_SHARE = {"clear": 5, "cloudy": 4, "rain": 2, "fog": 1, "dusk": 2, "night": 1}


def draw_weather(rng: np.random.Generator, preset: str | None) -> Weather:
    """Weather of this preset, or of one drawn by chance."""
    names = list(PRESETS)
    weights = np.array([_SHARE[name] for name in names], np.float64)
    drawn = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    low, high, cloudiness, rain, fog, wetness = PRESETS[preset or drawn]
    sun = round(float(rng.uniform(low, high)), 2)
    return Weather(sun, cloudiness, rain, fog, wetness)
