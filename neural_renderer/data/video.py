"""Real video: consecutive photographs of a drive, and an estimate of the camera's motion.

The camera is assumed to be level, over flat ground, and to move forward, turn and pitch between two
frames. These three numbers are found by search: the earlier frame, warped by them and the pseudo-
depth, must match the brightness of the later one where nothing moves on its own.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from sim2street.bridge.frame import SKY_DEPTH_M, FloatArray
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.images import LUMA

Pose = npt.NDArray[np.float64]

WORK_WIDTH_PX = 160
"""Width that frames are reduced to for the search."""

MAX_FORWARD_M = 2.0
"""Farthest that the camera moves from one frame to the next; it does not reverse."""

STATIC = (
    Tag.ROAD, Tag.ROAD_LINES, Tag.SIDEWALK, Tag.BUILDING, Tag.WALL, Tag.FENCE, Tag.POLE,
    Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN, Tag.TERRAIN, Tag.GROUND, Tag.VEGETATION, Tag.GUARD_RAIL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EgoMotion:
    """How the camera moved from one frame to the next.

    Attributes:
        forward_m: distance.
        turn_rad: positive to the right.
        pitch_rad: positive upwards.
        error: mean absolute difference of luminance (0..255) between the later frame and the warped
            earlier frame.
    """

    forward_m: float
    turn_rad: float
    pitch_rad: float
    error: float

    @property
    def step(self) -> Pose:
        """Pose of the later camera in the earlier one's axes (OpenCV), float64 (4, 4)."""
        cos_y, sin_y = math.cos(self.turn_rad), math.sin(self.turn_rad)
        cos_p, sin_p = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
        pitch = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
        pose = np.eye(4)
        pose[:3, :3] = yaw @ pitch
        pose[2, 3] = self.forward_m
        return pose


@dataclass(frozen=True, slots=True)
class Video:
    """Consecutive photographs with estimated camera poses.

    Attributes:
        photos: the frames.
        poses: float64 (N, 4, 4), camera (OpenCV axes) to world (z up).
        motions: between each two frames.
    """

    photos: tuple[PreparedPhoto, ...]
    poses: Pose
    motions: tuple[EgoMotion, ...]


def find_videos(photos: Sequence[PreparedPhoto], step: int) -> list[list[PreparedPhoto]]:
    """Sequences of two or more photographs of one drive whose frame numbers are `step` apart."""
    drives: dict[str, list[PreparedPhoto]] = defaultdict(list)
    for photo in photos:
        drives[photo.drive].append(photo)
    runs: list[list[PreparedPhoto]] = []
    for drive in drives.values():
        drive.sort(key=lambda photo: photo.frame)
        run = drive[:1]
        for before, photo in itertools.pairwise(drive):
            if photo.frame - before.frame != step:
                runs.append(run)
                run = []
            run.append(photo)
        runs.append(run)
    return [run for run in runs if len(run) > 1]


def track_camera(photos: Sequence[PreparedPhoto]) -> Video:
    """Estimate the camera's motion through consecutive photographs (about 0.2 s for each pair)."""
    pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    pose[2, 3] = photos[0].camera.height_m
    poses, motions = [pose], []
    guess: EgoMotion | None = None
    for before, after in itertools.pairwise(photos):
        guess = estimate_motion(before, after, guess)
        motions.append(guess)
        poses.append(poses[-1] @ guess.step)
    return Video(tuple(photos), np.stack(poses), tuple(motions))


def estimate_motion(
    before: PreparedPhoto, after: PreparedPhoto, guess: EgoMotion | None = None
) -> EgoMotion:
    """The camera's motion between two photographs, by coarse-to-fine search.

    guess: the motion between the two photographs before, as a further start.
    """
    pair = FramePair.of(before, after)
    best = (pair.error(0.0, 0.0, 0.0), 0.0, 0.0, 0.0)
    starts = np.linspace(0.0, MAX_FORWARD_M, 13)
    if guess is not None:
        starts = np.append(starts, guess.forward_m)
    for start in starts:
        forward_m = float(start)
        for turn_rad in (-0.008, 0.0, 0.008):
            best = min(best, (pair.error(forward_m, turn_rad, 0.0), forward_m, turn_rad, 0.0))
    scale = np.array([MAX_FORWARD_M / 13, 0.006, 0.004])
    while scale[0] > 0.005:
        best, improved = _try_neighbours(pair, best, scale)
        if not improved:
            scale = scale / 2.0
    return EgoMotion(best[1], best[2], best[3], best[0])


def _try_neighbours(
    pair: FramePair, best: tuple[float, float, float, float], scale: npt.NDArray[np.float64]
) -> tuple[tuple[float, float, float, float], bool]:
    """Try a step of `scale` in each number, both ways; the best, and whether it is better.

    best: (error, forward_m, turn_rad, pitch_rad).
    """
    start = best
    for axis, sign in itertools.product(range(3), (-1.0, 1.0)):
        trial = np.array(best[1:])
        trial[axis] += sign * scale[axis]
        trial[0] = max(trial[0], 0.0)
        forward_m, turn_rad, pitch_rad = (float(value) for value in trial)
        error = pair.error(forward_m, turn_rad, pitch_rad)
        best = min(best, (error, forward_m, turn_rad, pitch_rad))
    return best, best[0] < start[0]


@dataclass(frozen=True, slots=True)
class FramePair:
    """Two reduced frames, and the static points of the later one.

    Attributes:
        before: luminance of the earlier frame, float32 (H, W) in 0..255.
        after: luminance at the points, float32 (N,).
        points: float32 (3, N), metres, in the later camera's axes.
        intrinsics: focal length, cx, cy in pixels of the reduced frame.
    """

    before: FloatArray
    after: FloatArray
    points: FloatArray
    intrinsics: tuple[float, float, float]

    @classmethod
    def of(cls, before: PreparedPhoto, after: PreparedPhoto) -> FramePair:
        """Reduce two photographs to `WORK_WIDTH_PX`."""
        height, width = after.ids.shape
        scale = WORK_WIDTH_PX / width
        size = (WORK_WIDTH_PX, round(height * scale))
        rows = ((np.arange(size[1]) + 0.5) / scale).astype(int)
        columns = ((np.arange(size[0]) + 0.5) / scale).astype(int)
        grid = np.ix_(np.minimum(rows, height - 1), np.minimum(columns, width - 1))
        depth = after.depth_m[grid].astype(np.float32)
        use = np.isin(after.tags[grid], STATIC) & (depth < 0.5 * SKY_DEPTH_M)
        focal_px = after.camera.focal_px * scale
        centre = ((width / 2.0) * scale - 0.5, (after.camera.horizon_px + 0.5) * scale - 0.5)
        v, u = np.nonzero(use)
        z = depth[v, u]
        points = np.stack([(u - centre[0]) / focal_px * z, (v - centre[1]) / focal_px * z, z])
        later = _luma(after, size)
        return cls(_luma(before, size), later[v, u], points.astype(np.float32), (focal_px, *centre))

    def error(self, forward_m: float, turn_rad: float, pitch_rad: float) -> float:
        """Mean absolute difference of luminance where both frames show a point.

        Infinite if fewer than 30 % of the points are in both frames.
        """
        pose = EgoMotion(forward_m, turn_rad, pitch_rad, 0.0).step.astype(np.float32)
        x, y, z = pose[:3, :3] @ self.points + pose[:3, 3:]
        focal_px, cx, cy = self.intrinsics
        u, v = x / z * focal_px + cx, y / z * focal_px + cy
        height, width = self.before.shape
        seen = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
        if seen.mean() < 0.3:
            return math.inf
        earlier = ndimage.map_coordinates(self.before, [v[seen], u[seen]], order=1)
        return float(np.abs(earlier - self.after[seen]).mean())


def _luma(photo: PreparedPhoto, size: tuple[int, int]) -> FloatArray:
    """Reduced and slightly blurred luminance, float32 (H, W) in 0..255."""
    small = np.asarray(Image.fromarray(photo.rgb).resize(size, Image.Resampling.BOX))
    blurred: FloatArray = ndimage.gaussian_filter(small.astype(np.float32) @ LUMA, 0.7)
    return blurred.astype(np.float32)
