"""What an agent sees: one flat Dict of arrays, cut out of a SensorFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from bridge.errors import FrameError
from bridge.frame import (
    MAX_TAG,
    ROUTE_POINTS,
    ROUTE_SPACING_M,
    SKY_DEPTH_M,
    Camera,
    EgoState,
    FloatArray,
    LightState,
    SensorFrame,
    View,
    WorldSpec,
)
from configs import ConfigError, StrictModel, did_you_mean

Observation = dict[str, np.ndarray]

FAR_M = 100.0
"""Distance at which a light, a vehicle ahead or a goal counts as far away."""

STATE_FIELDS: Mapping[str, Callable[[EgoState], float]] = {
    "speed / 20 m/s": lambda ego: ego.speed_mps / 20.0,
    "speed limit / 20 m/s": lambda ego: ego.speed_limit_mps / 20.0,
    "yaw rate / 1 rad/s": lambda ego: ego.yaw_rate_rps,
    "lane offset / 2 m": lambda ego: ego.lane_offset_m / 2.0,
    "heading error / 1 rad": lambda ego: ego.heading_error_rad,
    "curvature / 0.1 1/m": lambda ego: ego.curvature_1pm / 0.1,
    "light ahead asks to stop (0 or 1)": lambda ego: float(_must_stop(ego)),
    "distance to the light / 100 m": lambda ego: (
        ego.next_light.distance_m / FAR_M if ego.next_light else 1.0
    ),
    "distance to the vehicle ahead / 100 m": lambda ego: (
        ego.lead.distance_m / FAR_M if ego.lead else 1.0
    ),
    "speed of the vehicle ahead / 20 m/s": lambda ego: (
        ego.lead.speed_mps / 20.0 if ego.lead else 1.0
    ),
    "route left / 100 m": lambda ego: (
        ego.route_distance_m / FAR_M if ego.route_distance_m is not None else 1.0
    ),
}
"""The elements of the `state` observation, in order; each is clipped to [-1, 1]."""

ROUTE_FIELDS = tuple(
    f"{axis} of the route {ROUTE_SPACING_M * step:.0f} m ahead / {ROUTE_SPACING_M * step:.0f} m"
    for step in range(1, ROUTE_POINTS + 1)
    for axis in ("x (forward)", "y (left)")
)
"""The elements of the `route` observation, in order; straight on where it is unknown."""


VECTORS: Mapping[str, tuple[str, ...]] = {"state": tuple(STATE_FIELDS), "route": ROUTE_FIELDS}
"""Keys that need no camera, and what their elements mean."""


class ObservationConfig(StrictModel):
    """Which arrays the agent gets.

    Attributes:
        keys: of `image` (uint8 (kH, kW, 3) rgb), `labels` (uint8 (H, W) tags), `depth_m`
            (float32 (H, W) planar metres, sky = 1000), `state` (float32 (n,), see
            `STATE_FIELDS`), `route` (float32 (m,), the way ahead, see `ROUTE_FIELDS`).
        view: name of the camera; may be left out where there is only one.
    """

    keys: tuple[Literal["image", "labels", "depth_m", "state", "route"], ...] = ("image", "state")
    view: str | None = None

    @property
    def needs_sensors(self) -> bool:
        """Whether any key is made from a camera."""
        return any(key not in VECTORS for key in self.keys)


class Observer:
    """Builds the observation space of a world, and observations out of its frames."""

    def __init__(self, config: ObservationConfig, spec: WorldSpec, image_scale: int = 1) -> None:
        """`image_scale`: size of the rgb over the size of the labels."""
        if not config.keys:
            raise ConfigError("observation.keys is empty: name at least one of image, state, ...")
        self._config = config
        self._view = _pick_view(config, spec)
        self._camera = spec.cameras[self._view] if self._view is not None else None
        self._scale = image_scale

    @property
    def space(self) -> spaces.Space[Any]:
        """A new flat Dict space with one Box per key."""
        return spaces.Dict({key: self._box(key) for key in self._config.keys})

    def observe(self, frame: SensorFrame) -> Observation:
        """New arrays, the caller's to keep."""
        return {key: self._array(key, frame) for key in self._config.keys}

    def view(self, frame: SensorFrame) -> View | None:
        """The view of the configured camera, where the frame has it."""
        return frame.views.get(self._view) if self._view is not None else None

    def _box(self, key: str) -> spaces.Box:
        if key in VECTORS:
            return spaces.Box(-1.0, 1.0, (len(VECTORS[key]),), np.float32)
        camera = _require(self._camera)
        height, width = camera.height_px, camera.width_px
        if key == "image":
            shape = (height * self._scale, width * self._scale, 3)
            return spaces.Box(0, 255, shape, np.uint8)
        if key == "labels":
            return spaces.Box(0, MAX_TAG, (height, width), np.uint8)
        return spaces.Box(0.0, SKY_DEPTH_M, (height, width), np.float32)

    def _array(self, key: str, frame: SensorFrame) -> np.ndarray:
        if key == "state":
            return state_vector(frame.ego)
        if key == "route":
            return route_vector(frame.ego)
        view = self.view(frame)
        if view is None:
            raise FrameError(
                f"tick {frame.tick} has no view '{self._view}'{_known_views(frame.views)}"
            )
        array = {"image": view.rgb, "labels": view.labels, "depth_m": view.depth_m}[key]
        if array is None:
            hint = "configure a renderer" if key == "image" else "this world does not send it"
            raise FrameError(f"observation '{key}': view '{self._view}' has none ({hint})")
        return array.copy()


def state_vector(ego: EgoState) -> FloatArray:
    """float32 (len(STATE_FIELDS),), scaled to about one and clipped to [-1, 1]."""
    values = np.array([field(ego) for field in STATE_FIELDS.values()], np.float32)
    return np.clip(values, -1.0, 1.0)


def route_vector(ego: EgoState) -> FloatArray:
    """float32 (2 * ROUTE_POINTS,): points ahead over their distance, clipped to [-1, 1]."""
    reach_m = ROUTE_SPACING_M * np.arange(1, ROUTE_POINTS + 1)
    points = np.stack([reach_m, np.zeros(ROUTE_POINTS)], axis=1)
    told = ego.route_ahead_m[:ROUTE_POINTS]
    if told:
        points[: len(told)] = told
    return np.clip((points / reach_m[:, None]).ravel(), -1.0, 1.0).astype(np.float32)


def _must_stop(ego: EgoState) -> bool:
    return ego.next_light is not None and ego.next_light.state is not LightState.GREEN


def _pick_view(config: ObservationConfig, spec: WorldSpec) -> str | None:
    names = list(spec.cameras)
    if config.view is not None:
        if config.view not in names:
            raise ConfigError(
                f"observation.view: no camera '{config.view}'{did_you_mean(config.view, names)}"
            )
        return config.view
    if not config.needs_sensors:
        return names[0] if names else None
    if len(names) != 1:
        raise ConfigError(f"observation.view: name one of the cameras {names}")
    return names[0]


def _require(camera: Camera | None) -> Camera:
    if camera is None:
        raise ConfigError(
            f"this world has no camera: leave only {sorted(VECTORS)} in observation.keys"
        )
    return camera


def _known_views(views: Mapping[str, View]) -> str:
    return f"; it has {sorted(views)}" if views else " (it was opened without sensors)"
