"""A world small enough to reason about: one straight road on a plane, for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import (
    SKY_DEPTH_M,
    Camera,
    Control,
    EgoState,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.labels import Tag, taxonomy_fingerprint
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean

CAMERA_HEIGHT_M = 1.5
LANE_HALF_WIDTH_M = 1.75


class StraightRoadWorld(World):
    """The road runs along +x; the ego slides sideways with its steering.

    The view is exact: ground plane at z = 0, road 8 m wide, terrain beside it, sky.
    `lost_at_tick`: the step that would make this tick raises WorldLost, once.
    """

    def __init__(
        self, width_px: int = 64, height_px: int = 32, lost_at_tick: int | None = None
    ) -> None:
        self.camera = Camera.from_fov(width_px, height_px, 64.0)
        self.opened: list[bool] = []
        self.closed = 0
        self._lost_at_tick = lost_at_tick
        self._tick = self._episode = 0
        self._x_m = self._y_m = self._speed_mps = self._goal_m = 0.0

    @property
    def spec(self) -> WorldSpec:
        fields = frozenset({"labels", "depth_m"})
        return WorldSpec(
            "straight-road", "1", 0.1, {"front": self.camera}, fields, taxonomy_fingerprint()
        )

    def open(self, sensors: bool = True) -> None:
        self.opened.append(sensors)

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        for key in options or {}:
            if key != "goal_m":
                raise ConfigError(f"unknown option '{key}'{did_you_mean(key, ['goal_m'])}")
        self._tick, self._episode = 0, self._episode + 1
        self._x_m, self._speed_mps = 0.0, 0.0
        self._y_m = float(np.random.default_rng(seed).uniform(-0.3, 0.3))
        self._goal_m = float((options or {}).get("goal_m", 50.0))
        return self._frame()

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        if self._lost_at_tick == self._tick + 1:
            self._lost_at_tick = None
            raise WorldLost("the road caved in: reset to go on")
        self._tick += 1
        self._speed_mps = max(
            0.0, self._speed_mps + 0.1 * (4.0 * control.throttle - 8.0 * control.brake)
        )
        self._x_m += 0.1 * self._speed_mps
        self._y_m -= 0.1 * self._speed_mps * control.steer
        return self._frame()

    def close(self) -> None:
        self.closed += 1

    def _frame(self) -> SensorFrame:
        ego = EgoState(
            pose=_body_pose(self._x_m, self._y_m),
            velocity_mps=(self._speed_mps, 0.0, 0.0),
            speed_mps=self._speed_mps,
            lane_offset_m=self._y_m,
            speed_limit_mps=10.0,
            route_distance_m=self._goal_m - self._x_m,
            off_lane=abs(self._y_m) > LANE_HALF_WIDTH_M,
        )
        views = {"front": self._view()} if self.opened and self.opened[-1] else {}
        time_s = self._tick * 0.1
        return SensorFrame(self._tick, self._episode, time_s, ego, views=views)

    def _view(self) -> View:
        camera = self.camera
        u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
        down = (v - camera.cy_px) / camera.fy_px
        depth = np.where(down > 0.01, CAMERA_HEIGHT_M / np.maximum(down, 0.01), SKY_DEPTH_M)
        left_m = -(u - camera.cx_px) / camera.fx_px * depth + self._y_m
        ground = np.where(np.abs(left_m) < 4.0, Tag.ROAD, Tag.TERRAIN)
        labels = np.where(depth < SKY_DEPTH_M, ground, Tag.SKY).astype(np.uint8)
        pose = _body_pose(self._x_m, self._y_m) @ np.array(
            [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, CAMERA_HEIGHT_M], [0, 0, 0, 1]], np.float32
        )
        return View(camera, pose, labels, depth.astype(np.float32))


def _body_pose(x_m: float, y_m: float, yaw_rad: float = 0.0) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    pose[:2, :2] = [
        [math.cos(yaw_rad), -math.sin(yaw_rad)],
        [math.sin(yaw_rad), math.cos(yaw_rad)],
    ]
    pose[:2, 3] = x_m, y_m
    return pose
