"""A small world for tests: boxes on a plane, exact by ray casting, deterministic and fast.

Axis conventions are those of `sim2street.bridge.frame`. 64x32 pixels take about a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import (
    SKY_DEPTH_M,
    Actor,
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

TICK_S = 0.1
WHEELBASE_M = 2.7
CAMERA_TO_BODY = np.array(
    [[0, 0, 1, 1.0], [-1, 0, 0, 0.2], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64
)  # the camera is 1 m ahead of the ego's origin, 0.2 m to its left and 1.5 m high


@dataclass(frozen=True)
class Box:
    """An upright box that stands on the ground and may drive along its own x axis."""

    number: int
    tag: Tag
    x_m: float
    y_m: float
    yaw_rad: float
    extent_m: tuple[float, float, float]
    speed_mps: float = 0.0
    yaw_rate_rps: float = 0.0

    def pose(self, time_s: float) -> np.ndarray:
        """float64 (4, 4), body to world."""
        along_m = self.speed_mps * time_s
        return body_pose(
            self.x_m + along_m * math.cos(self.yaw_rad),
            self.y_m + along_m * math.sin(self.yaw_rad),
            self.yaw_rad + self.yaw_rate_rps * time_s,
        )


class ToyWorld(World):
    """A road along +x between buildings, with three driving cars and the ego.

    Options of `reset`: `cars` (0..8).
    """

    def __init__(self, width_px: int = 64, height_px: int = 32) -> None:
        self.camera = Camera.from_fov(width_px, height_px, 70.0)
        self._sensors: bool | None = None
        self._episode = -1
        self._tick = -1
        self._boxes: list[Box] = []
        self._x_m = self._y_m = self._yaw_rad = self._speed_mps = self._yaw_rate_rps = 0.0

    @property
    def spec(self) -> WorldSpec:
        fields = frozenset({"labels", "depth_m", "instances"})
        cameras = {"front": self.camera}
        return WorldSpec("toy", "1", TICK_S, cameras, fields, taxonomy_fingerprint())

    def open(self, sensors: bool = True) -> None:
        self._sensors = sensors

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        if self._sensors is None:
            raise WorldError("open this world first")
        chosen = {"cars": 3, **(options or {})}
        for key in chosen:
            if key != "cars":
                raise ConfigError(f"unknown option '{key}'{did_you_mean(key, ['cars'])}")
        self._episode += 1
        self._tick = 0
        rng = np.random.default_rng(seed)
        self._boxes = _street(rng, int(chosen["cars"]))
        self._x_m, self._yaw_rad, self._speed_mps = 0.0, 0.0, 8.0
        self._y_m = float(rng.uniform(-2.5, -1.5))
        self._yaw_rate_rps = 0.0
        return self._frame()

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        if self._tick < 0:
            raise WorldError("no episode: call reset first")
        self._tick += 1
        gain = 5.0 * control.throttle - 8.0 * control.brake
        self._speed_mps = max(0.0, self._speed_mps + gain * TICK_S)
        self._yaw_rate_rps = -self._speed_mps * math.tan(0.5 * control.steer) / WHEELBASE_M
        self._yaw_rad += self._yaw_rate_rps * TICK_S
        self._x_m += self._speed_mps * math.cos(self._yaw_rad) * TICK_S
        self._y_m += self._speed_mps * math.sin(self._yaw_rad) * TICK_S
        return self._frame()

    def close(self) -> None:
        self._sensors, self._tick = None, -1

    def _frame(self) -> SensorFrame:
        time_s = self._tick * TICK_S
        pose = body_pose(self._x_m, self._y_m, self._yaw_rad)
        cos, sin = math.cos(self._yaw_rad), math.sin(self._yaw_rad)
        ego = EgoState(
            pose=pose.astype(np.float32),
            velocity_mps=(self._speed_mps * cos, self._speed_mps * sin, 0.0),
            yaw_rate_rps=self._yaw_rate_rps,
            speed_mps=self._speed_mps,
            lane_offset_m=self._y_m + 2.0,
            heading_error_rad=self._yaw_rad,
            speed_limit_mps=13.9,
            route_distance_m=1000.0 - self._x_m,
        )
        actors = tuple(_actor(box, time_s) for box in self._boxes if box.tag == Tag.CAR)
        views = {}
        if self._sensors:
            views["front"] = ray_cast(self.camera, pose @ CAMERA_TO_BODY, self._boxes, time_s)
        return SensorFrame(self._tick, self._episode, time_s, ego, actors, views=views)


def body_pose(x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
    """Pose of something that stands on the ground: float64 (4, 4), body to world."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[cos, -sin, 0, x_m], [sin, cos, 0, y_m], [0, 0, 1, 0], [0, 0, 0, 1]])


def ray_cast(camera: Camera, pose: np.ndarray, boxes: list[Box], time_s: float) -> View:
    """Labels, planar depth and instances of boxes on a ground with lane markings."""
    u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    rays = np.stack(
        [
            (u - camera.cx_px) / camera.fx_px,
            (v - camera.cy_px) / camera.fy_px,
            np.ones(u.shape),
        ],
        axis=-1,
    )
    origin, directions = pose[:3, 3], rays @ pose[:3, :3].T
    depth = np.full(u.shape, SKY_DEPTH_M)
    labels = np.full(u.shape, Tag.SKY, np.uint8)
    instances = np.zeros(u.shape, np.uint32)
    down = directions[..., 2] < -1e-6
    ground = np.where(down, -origin[2] / np.where(down, directions[..., 2], -1.0), np.inf)
    seen = ground < 300.0
    points = origin + directions * np.where(seen, ground, 0.0)[..., None]
    labels[seen] = _ground_labels(points[seen])
    depth[seen] = ground[seen]
    if boxes:
        hits = _hit_boxes(boxes, time_s, origin, directions)
        nearest = hits.argmin(axis=0)
        hit = np.take_along_axis(hits, nearest[None], axis=0)[0]
        near = hit < depth
        which = nearest[near]
        depth[near] = hit[near]
        labels[near] = np.array([box.tag for box in boxes], np.uint8)[which]
        instances[near] = np.array([box.number for box in boxes], np.uint32)[which]
    return View(camera, pose.astype(np.float32), labels, depth.astype(np.float32), instances)


def _street(rng: np.random.Generator, cars: int) -> list[Box]:
    boxes = []
    for side in (-1.0, 1.0):
        for index in range(10):
            x_m = -20.0 + 12.0 * index + float(rng.uniform(-1, 1))
            extent_m = (float(rng.uniform(3, 5)), 3.0, float(rng.uniform(2, 6)))
            y_m = side * float(rng.uniform(11, 13))
            number = 1000 + len(boxes)
            boxes.append(Box(number, Tag.BUILDING, x_m, y_m, 0.0, extent_m))
    for index in range(cars):
        x_m = 10.0 + 9.0 * index + float(rng.uniform(-2, 2))
        y_m = 2.0 if index % 2 else -2.0
        yaw_rad, speed_mps = (math.pi if index % 2 else 0.0), float(rng.uniform(4, 9))
        extent_m = (2.2, 0.9, 0.75)
        boxes.append(Box(index + 1, Tag.CAR, x_m, y_m, yaw_rad, extent_m, speed_mps, 0.1))
    return boxes


def _actor(box: Box, time_s: float) -> Actor:
    cos, sin = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    velocity_mps = (box.speed_mps * cos, box.speed_mps * sin, 0.0)
    pose = box.pose(time_s).astype(np.float32)
    return Actor(box.number, int(box.tag), pose, box.extent_m, velocity_mps)


def _ground_labels(points: np.ndarray) -> np.ndarray:
    x_m, y_m = points[:, 0], np.abs(points[:, 1])
    labels = np.where(y_m < 4.0, Tag.ROAD, np.where(y_m < 6.0, Tag.SIDEWALK, Tag.TERRAIN))
    return np.where((y_m < 0.3) & (x_m % 6.0 < 3.0), Tag.ROAD_LINES, labels)


def _hit_boxes(boxes: list[Box], time_s: float, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Distance along each ray (in units of the ray) to each upright box, inf for a miss."""
    poses = np.stack([box.pose(time_s) for box in boxes])
    extents = np.array([box.extent_m for box in boxes])
    rotations = poses[:, :3, :3]
    starts = (origin - poses[:, :3, 3])[:, None, None] @ rotations[:, None]
    directions = rays @ rotations[:, None]
    low = (extents * [-1, -1, 0])[:, None, None]
    high = (extents * [1, 1, 2])[:, None, None]
    safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    first, second = (low - starts) / safe, (high - starts) / safe
    enter = np.minimum(first, second).max(axis=-1)
    leave = np.maximum(first, second).min(axis=-1)
    return np.where((enter < leave) & (enter > 0.05), enter, np.inf)
