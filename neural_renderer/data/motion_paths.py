"""Random motion of the camera and of other road users before a photograph was taken."""

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


MAX_YAW_DEG = 0.8
"""Largest turn of the camera in one frame."""

MAX_VEHICLE_M, MAX_PERSON_M = 1.2, 0.15
"""Largest distance that a vehicle and a person move over the ground in one frame."""

MAX_MOVERS = 6
"""Most vehicles and people of a photograph that may move, the largest ones; others stand still."""


class MotionConfig(StrictModel):
    """How camera, vehicles and people move; a frame lasts about 0.1 s.

    Attributes:
        step_m: range of the distance that the camera moves in one frame.
        standstill: share of the clips in which the camera does not move.
        mover_share: probability that a vehicle or a person moves.
    """

    step_m: tuple[float, float] = (0.1, 1.2)
    standstill: float = Field(0.1, ge=0.0, le=1.0)
    mover_share: float = Field(0.6, ge=0.0, le=1.0)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Poses of the camera (T, 4, 4) and of the movers (T, A, 4, 4) in the world, float64."""

    camera: Pose
    movers: Pose


def find_movers(photo: PreparedPhoto) -> tuple[ByteArray, int]:
    """The largest vehicles and people of a photograph.

    Returns:
        Number of the mover at each pixel, uint8 (H, W), 0 = none; and how many movers there are.
    """
    tags = photo.tags
    slots = np.zeros(tags.shape, dtype=np.uint8)
    found: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for group in (VEHICLES, PEOPLE):
        marks, count = ndimage.label(np.isin(tags, group))
        sizes = np.bincount(marks.ravel(), minlength=count + 1)
        found += [(int(sizes[i]), marks == i) for i in _largest(sizes, MAX_MOVERS)]
    found.sort(key=lambda item: -item[0])
    for slot, (_, mask) in enumerate(found[:MAX_MOVERS], start=1):
        slots[mask] = slot
    return slots, min(len(found), MAX_MOVERS)


def draw_trajectory(
    photo: PreparedPhoto,
    slots: ByteArray,
    count: int,
    frames: int,
    rng: np.random.Generator,
    motion: MotionConfig,
) -> Trajectory:
    """Random poses of `frames` frames; the last ones are those of the photograph.

    Args:
        photo: the photograph.
        slots: its movers, uint8 (H, W).
        count: number of movers.
        frames: number of frames.
        rng: what is drawn from.
        motion: how they move.
    """
    last = random_pose(photo.camera.height_m, rng).astype(np.float64)
    step_m = 0.0 if rng.random() < motion.standstill else rng.uniform(*motion.step_m)
    turn_rad = math.radians(rng.uniform(-MAX_YAW_DEG, MAX_YAW_DEG)) if step_m else 0.0
    poses = [last]
    for _ in range(frames - 1):
        step = _camera_step(step_m * rng.uniform(0.95, 1.05), turn_rad * rng.uniform(0.8, 1.2))
        poses.insert(0, poses[0] @ np.linalg.inv(step))
    movers = np.tile(np.eye(4), (frames, count, 1, 1))
    for slot in range(1, count + 1):
        mask = slots == slot
        person = bool(np.isin(photo.tags[mask][0], PEOPLE))
        end = last @ _pose_in_camera(photo, mask)
        mover_step_m = _mover_step(person, rng, motion)
        for frame in range(frames):
            movers[frame, slot - 1] = end
            movers[frame, slot - 1, :3, 3] -= last[:3, :3] @ mover_step_m * (frames - 1 - frame)
    return Trajectory(np.stack(poses), movers)


def _mover_step(person: bool, rng: np.random.Generator, motion: MotionConfig) -> Pose:
    """Metres that a mover moves in one frame, (3,), in the photograph's camera axes (OpenCV)."""
    if rng.random() >= motion.mover_share:
        return np.zeros(3)
    if person:
        across, along = rng.uniform(-MAX_PERSON_M, MAX_PERSON_M, 2)
    else:
        across = 0.0
        along = rng.uniform(-MAX_VEHICLE_M, MAX_VEHICLE_M)
    return np.array([across, 0.0, along])


def _pose_in_camera(photo: PreparedPhoto, mask: npt.NDArray[np.bool_]) -> Pose:
    """Pose of a mover in the camera: origin on the ground below it, x away from the camera."""
    depth_m = float(np.median(photo.depth_m[mask].astype(np.float32)))
    column = float(np.flatnonzero(mask.any(axis=0)).mean())
    x_m = (column - (mask.shape[1] - 1) / 2.0) / photo.camera.focal_px * depth_m
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (0, 0, 1), (-1, 0, 0), (0, -1, 0)
    pose[:3, 3] = (x_m, photo.camera.height_m, depth_m)
    return pose


def _camera_step(step_m: float, turn_rad: float) -> Pose:
    """Pose of the next frame's camera in this one's: forward, then a turn (rad) to the right."""
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    return np.array([[cos, 0, sin, 0], [0, 1, 0, 0], [-sin, 0, cos, step_m], [0, 0, 0, 1.0]])


def moves_to(path: Trajectory, frame: int) -> Pose:
    """Transforms from the last camera to that of `frame`, float64 (A + 1, 4, 4).

    Index 0 is for static points, i for mover number i.
    """
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
