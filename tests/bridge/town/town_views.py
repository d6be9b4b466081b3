"""Helpers of the rendering tests: camera poses on lanes, vehicles and pedestrians nearby."""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.frame import Actor, Camera
from sim2street.bridge.town.actor_models import PEDESTRIAN_MODELS, VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import Layout

CAMERA = Camera.from_fov(512, 256, 62.0)
PITCH_RAD = math.atan(0.07 * CAMERA.height_px / CAMERA.fy_px)
"""The camera looks down by this angle, which puts the horizon 43 % from the top."""


def camera_pose(x, y, yaw_rad, z=1.5, pitch_rad=PITCH_RAD):
    """Pose of a camera at (x, y, z) that looks along the yaw and down by the pitch."""
    cos, sin = math.cos(pitch_rad), math.sin(pitch_rad)
    forward = np.array([math.cos(yaw_rad) * cos, math.sin(yaw_rad) * cos, -sin])
    right = np.array([math.sin(yaw_rad), -math.cos(yaw_rad), 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = x, y, z
    return pose.astype(np.float32)


def body_pose(x, y, yaw_rad, z=0.0):
    pose = np.eye(4)
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    pose[:2, :2] = [[cos, -sin], [sin, cos]]
    pose[:3, 3] = x, y, z
    return pose.astype(np.float32)


def lane_spots(layout: Layout, rng: np.random.Generator, count: int):
    """Random places (x, y, yaw) on lanes; a lane's probability is proportional to its length."""
    lanes = [lane for lane in layout.lanes if len(lane.points_m) > 8]
    lengths = np.array([len(lane.points_m) for lane in lanes], float)
    for index in rng.choice(len(lanes), count, p=lengths / lengths.sum()):
        points = lanes[index].points_m
        k = int(rng.integers(1, len(points) - 2))
        step = points[k + 1] - points[k]
        yield float(points[k][0]), float(points[k][1]), math.atan2(step[1], step[0])


def crowd(layout: Layout, rng: np.random.Generator, x: float, y: float, cars: int, people: int):
    """Actors 9 to 110 m from (x, y): vehicles on lanes, and pedestrians beside lanes."""
    actors: list[Actor] = []
    lanes = [lane for lane in layout.lanes if lane.road_id is not None]
    spots = [(*p, *(q - p)) for lane in lanes
             for p, q in zip(lane.points_m, lane.points_m[1:], strict=False)]  # fmt: skip
    table = np.array(spots)
    distance = np.hypot(table[:, 0] - x, table[:, 1] - y)
    for index in rng.permutation(np.flatnonzero((distance > 9) & (distance < 110))):
        px, py, dx, dy = table[index]
        yaw = math.atan2(dy, dx)
        if len(actors) < cars:
            near = any(math.hypot(a.pose[0, 3] - px, a.pose[1, 3] - py) < 13 for a in actors)
            if not near:
                model = VEHICLE_MODELS[int(rng.integers(len(VEHICLE_MODELS)))]
                pose = body_pose(px, py, yaw)
                actors.append(Actor(len(actors) + 1, model.tag, pose, model.extent_m))
        elif len(actors) < cars + people:
            model = PEDESTRIAN_MODELS[int(rng.integers(len(PEDESTRIAN_MODELS)))]
            side = 6.0 * (1 if rng.random() < 0.5 else -1)
            pose = body_pose(px - math.sin(yaw) * side, py + math.cos(yaw) * side, yaw, 0.13)
            actors.append(Actor(10_000 + len(actors), model.tag, pose, model.extent_m))
    return actors
