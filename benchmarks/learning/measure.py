"""Drives episodes and summarises them, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.learning.drivers import Driver
from sim2street.bridge.frame import LightState
from sim2street.envs import DrivingEnv

STANDSTILL_MPS = 0.5
"""Below this speed, the vehicle stands."""

AT_LINE_M = 15.0
"""A stop this close to the line of a red light counts as a stop for this light."""


@dataclass(frozen=True)
class Episode:
    """Result of one episode.

    Attributes:
        run: which of several trained agents drove; 0 for other drivers.
        episode_return: sum of the rewards.
        red_stops: how often the vehicle stopped within 15 m of the line of a red light.
        offset_m: mean absolute distance from the lane centre.
    """

    run: int
    town: int
    seed: int
    episode_return: float
    duration_s: float
    distance_m: float
    ending: str
    success: bool
    red_stops: int
    offset_m: float


def drive_episode(
    env: DrivingEnv, driver: Driver, run: int, town: int, seed: int, options: Mapping[str, Any]
) -> Episode:
    """Drive one episode in one town. Raises RuntimeError if the world is lost."""
    observation, info = env.reset(seed=seed, options={"town": town, **options})
    total, offsets_m, stops, standing, over = 0.0, [], 0, False, False
    while not over:
        action = driver(observation, env)
        observation, reward, terminated, truncated, info = env.step(action)
        total += reward
        over = terminated or truncated
        assert env.last_frame is not None
        ego = env.last_frame.ego
        offsets_m.append(abs(ego.lane_offset_m))
        light = ego.next_light
        stood_before = standing
        at_red = light is not None and light.state is LightState.RED
        near = light is not None and light.distance_m < AT_LINE_M
        standing = at_red and near and ego.speed_mps < STANDSTILL_MPS
        stops += standing and not stood_before
    if info["error"]:
        raise RuntimeError(f"the world was lost in town {town}, seed {seed}: {info['error']}")
    return Episode(
        run=run,
        town=town,
        seed=seed,
        episode_return=round(total, 3),
        duration_s=round(env.last_frame.time_s, 2),
        distance_m=round(float(info["distance_m"]), 2),
        ending=str(info["ending"]),
        success=bool(info["is_success"]),
        red_stops=int(stops),
        offset_m=round(float(np.mean(offsets_m)), 4),
    )


def _per_km(ending: str) -> Callable[[Sequence[Episode]], float]:
    def rate(episodes: Sequence[Episode]) -> float:
        km = sum(e.distance_m for e in episodes) / 1000.0
        return sum(e.ending == ending for e in episodes) / max(km, 1e-9)

    return rate


def _red_lights_run_share(episodes: Sequence[Episode]) -> float:
    run = sum(e.ending == "ran_red_light" for e in episodes)
    met = run + sum(e.red_stops for e in episodes)
    return run / met if met else float("nan")


def _mean(field: str) -> Callable[[Sequence[Episode]], float]:
    return lambda episodes: float(np.mean([getattr(e, field) for e in episodes]))


STATISTICS: Mapping[str, Callable[[Sequence[Episode]], float]] = {
    "return": _mean("episode_return"),
    "success": _mean("success"),
    "collisions_per_km": _per_km("collision"),
    "off_lane_per_km": _per_km("off_lane"),
    "red_lights_run_share": _red_lights_run_share,
    "offset_m": _mean("offset_m"),
    "km": lambda episodes: sum(e.distance_m for e in episodes) / 1000.0,
}
"""Name -> statistic of a set of episodes. Rates per km divide by the distance of all of them."""


def summary(episodes: Sequence[Episode], resamples: int = 1000) -> dict[str, Any]:
    """Each statistic with its 95 % bootstrap interval.

    Resamples runs, then the episodes within each run.
    """
    rng = np.random.default_rng(0)
    draws = [_resampled(episodes, rng) for _ in range(resamples)]
    return {
        "episodes": len(episodes),
        **{n: _interval(f, episodes, draws) for n, f in STATISTICS.items()},
    }


def _interval(
    statistic: Callable[[Sequence[Episode]], float],
    episodes: Sequence[Episode],
    draws: Sequence[Sequence[Episode]],
) -> dict[str, float | None]:
    spread: npt.NDArray[np.float64] = np.array([statistic(draw) for draw in draws])
    spread = spread[np.isfinite(spread)]
    value = statistic(episodes)
    if not np.isfinite(value) or not len(spread):
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(spread, [2.5, 97.5]).tolist()
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}


def _resampled(episodes: Sequence[Episode], rng: np.random.Generator) -> list[Episode]:
    runs: dict[int, list[Episode]] = {}
    for episode in episodes:
        runs.setdefault(episode.run, []).append(episode)
    groups = list(runs.values())
    chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
    return [group[i] for group in chosen for i in rng.integers(len(group), size=len(group))]
