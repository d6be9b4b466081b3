"""How a camera and the things in front of it moved before a photograph was taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage

from sim2street.bridge.frame import ByteArray
from sim2street.bridge.labels import Tag
from sim2street.configs import StrictModel
from sim2street.neural_renderer.data.crops import random_pose
from sim2street.neural_renderer.data.prepare import PreparedPhoto

Pose = npt.NDArray[np.float64]

VEHICLES = (Tag.CAR, Tag.TRUCK, Tag.BUS)
PEOPLE = (Tag.PEDESTRIAN, Tag.RIDER, Tag.BICYCLE, Tag.MOTORCYCLE)


class MotionConfig(StrictModel):
    """How the camera and the things in front of it move; a frame is about 0.1 s.

    Attributes:
        step_m: range of the camera's way per frame. standstill: share of clips without.
        yaw_deg: largest turn per frame.
        mover_share: probability that a thing that can move does.
        vehicle_m, person_m: largest way per frame, relative to the ground.
        max_movers: the largest so many; the others stand still.
    """

    step_m: tuple[float, float] = (0.1, 1.2)
    standstill: float = Field(0.1, ge=0.0, le=1.0)
    yaw_deg: float = Field(0.8, ge=0.0)
    mover_share: float = Field(0.6, ge=0.0, le=1.0)
    vehicle_m: float = Field(1.2, ge=0.0)
    person_m: float = Field(0.15, ge=0.0)
    max_movers: int = Field(6, ge=0, le=200)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Camera poses (T, 4, 4) and mover poses (T, A, 4, 4), to world, float64."""

    camera: Pose
    movers: Pose


def find_movers(photo: PreparedPhoto, most: int) -> tuple[ByteArray, int]:
    """Uint8 (H, W): number of the thing that could move, 0 = none; and how many there are."""
    tags = photo.tags
    slots = np.zeros(tags.shape, dtype=np.uint8)
    found: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for group in (VEHICLES, PEOPLE):
        marks, count = ndimage.label(np.isin(tags, group))
        sizes = np.bincount(marks.ravel(), minlength=count + 1)
        found += [(int(sizes[i]), marks == i) for i in _largest(sizes, most)]
    found.sort(key=lambda item: -item[0])
    for slot, (_, mask) in enumerate(found[:most], start=1):
        slots[mask] = slot
    return slots, min(len(found), most)


def draw_trajectory(
    photo: PreparedPhoto,
    slots: ByteArray,
    count: int,
    frames: int,
    rng: np.random.Generator,
    motion: MotionConfig,
) -> Trajectory:
    """Poses that end where the photograph was taken."""
    last = random_pose(photo.camera.height_m, rng).astype(np.float64)
    way_m = 0.0 if rng.random() < motion.standstill else rng.uniform(*motion.step_m)
    turn = math.radians(rng.uniform(-motion.yaw_deg, motion.yaw_deg)) if way_m else 0.0
    poses = [last]
    for _ in range(frames - 1):
        step = _step(way_m * rng.uniform(0.95, 1.05), turn * rng.uniform(0.8, 1.2))
        poses.insert(0, poses[0] @ np.linalg.inv(step))
    movers = np.tile(np.eye(4), (frames, count, 1, 1))
    for slot in range(1, count + 1):
        mask = slots == slot
        person = bool(np.isin(photo.tags[mask][0], PEOPLE))
        end = last @ _standing_at(photo, mask)
        ways_m = _own_way(person, rng, motion)
        for frame in range(frames):
            movers[frame, slot - 1] = end
            movers[frame, slot - 1, :3, 3] -= last[:3, :3] @ ways_m * (frames - 1 - frame)
    return Trajectory(np.stack(poses), movers)


def _own_way(person: bool, rng: np.random.Generator, motion: MotionConfig) -> Pose:
    """Way per frame in the photograph's camera axes (x right, z forward)."""
    if rng.random() >= motion.mover_share:
        return np.zeros(3)
    if person:
        across, along = rng.uniform(-motion.person_m, motion.person_m, 2)
    else:
        across = 0.0
        along = rng.uniform(-motion.vehicle_m, motion.vehicle_m)
    return np.array([across, 0.0, along])


def _standing_at(photo: PreparedPhoto, mask: npt.NDArray[np.bool_]) -> Pose:
    """Body pose of a thing in the camera: origin on the ground below it, x forward."""
    depth_m = float(np.median(photo.depth_m[mask].astype(np.float32)))
    column = float(np.flatnonzero(mask.any(axis=0)).mean())
    x_m = (column - (mask.shape[1] - 1) / 2.0) / photo.camera.focal_px * depth_m
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (0, 0, 1), (-1, 0, 0), (0, -1, 0)
    pose[:3, 3] = (x_m, photo.camera.height_m, depth_m)
    return pose


def _step(way_m: float, turn: float) -> Pose:
    """Camera pose after a frame, in the camera before it: forward, then a turn to the right."""
    cos, sin = math.cos(turn), math.sin(turn)
    return np.array([[cos, 0, sin, 0], [0, 1, 0, 0], [-sin, 0, cos, way_m], [0, 0, 0, 1.0]])


def moves_to(path: Trajectory, frame: int) -> Pose:
    """From the last camera to that of `frame`: what stands still, then each mover."""
    to_camera = np.linalg.inv(path.camera[frame])
    last = path.camera[-1]
    moves = [to_camera @ last]
    for then, end in zip(path.movers[frame], path.movers[-1], strict=True):
        moves.append(to_camera @ then @ np.linalg.inv(end) @ last)
    return np.stack(moves)


def _largest(sizes: npt.NDArray[np.integer], most: int) -> list[int]:
    """Component numbers of at least 60 pixels, largest first."""
    order = np.argsort(-sizes[1:])[:most] + 1
    return [int(i) for i in order if sizes[i] >= 60]
