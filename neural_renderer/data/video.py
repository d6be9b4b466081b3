"""Video clips: consecutive photographs of a drive, the camera's way found between them.

Poses of real video are not known. With a level camera over flat ground, few numbers say how
it moved between two frames: how far forward, how it turned, how it pitched. They are found by
search: the earlier frame, moved by them, must look like the later one where nothing moves
by itself.
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
from sim2street.neural_renderer.colour import LUMA
from sim2street.neural_renderer.data.prepare import PreparedPhoto

Pose = npt.NDArray[np.float64]
WORK_WIDTH_PX = 160
STILL = (
    Tag.ROAD, Tag.ROAD_LINES, Tag.SIDEWALK, Tag.BUILDING, Tag.WALL, Tag.FENCE, Tag.POLE,
    Tag.TRAFFIC_LIGHT, Tag.TRAFFIC_SIGN, Tag.TERRAIN, Tag.GROUND, Tag.VEGETATION, Tag.GUARD_RAIL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EgoMotion:
    """How the camera moved from one frame to the next.

    Attributes:
        way_m: forward. turn_rad: > 0 to the right. pitch_rad: > 0 the view goes up.
        error, error_still: mean absolute difference of luminance (0..255) between the later
            frame and the earlier one, moved, and not moved.
    """

    way_m: float
    turn_rad: float
    pitch_rad: float
    error: float
    error_still: float

    @property
    def step(self) -> Pose:
        """Pose of the later camera in the earlier one, float64 (4, 4), OpenCV axes."""
        cos_y, sin_y = math.cos(self.turn_rad), math.sin(self.turn_rad)
        cos_p, sin_p = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
        pitch = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
        pose = np.eye(4)
        pose[:3, :3] = yaw @ pitch
        pose[2, 3] = self.way_m
        return pose


@dataclass(frozen=True, slots=True)
class Video:
    """Consecutive photographs and their camera poses, float64 (N, 4, 4), to world (z up)."""

    photos: tuple[PreparedPhoto, ...]
    poses: Pose
    motions: tuple[EgoMotion, ...]


def find_videos(photos: Sequence[PreparedPhoto], step: int) -> list[list[PreparedPhoto]]:
    """Runs of photographs of one drive whose frame numbers are `step` apart, two or more."""
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


def track(photos: Sequence[PreparedPhoto], fastest_m: float = 2.0) -> Video:
    """Find the camera's way through consecutive photographs (about 0.2 s a pair).

    `fastest_m`: largest way between two frames; the camera does not reverse.
    """
    pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    pose[2, 3] = photos[0].camera.height_m
    poses, motions = [pose], []
    guess: EgoMotion | None = None
    for before, after in itertools.pairwise(photos):
        guess = ego_motion(before, after, fastest_m, guess)
        motions.append(guess)
        poses.append(poses[-1] @ guess.step)
    return Video(tuple(photos), np.stack(poses), tuple(motions))


def ego_motion(
    before: PreparedPhoto,
    after: PreparedPhoto,
    fastest_m: float = 2.0,
    guess: EgoMotion | None = None,
) -> EgoMotion:
    """How the camera moved between two photographs, by coarse-to-fine search."""
    pair = _Pair.of(before, after)
    still = pair.error(0.0, 0.0, 0.0)
    best = (still, 0.0, 0.0, 0.0)
    starts = np.linspace(0.0, fastest_m, 13)
    if guess is not None:
        starts = np.append(starts, guess.way_m)
    for way_m in starts:
        for turn in (-0.008, 0.0, 0.008):
            best = min(best, (pair.error(float(way_m), turn, 0.0), float(way_m), turn, 0.0))
    scale = np.array([fastest_m / 13, 0.006, 0.004])
    while scale[0] > 0.005:
        best, improved = _improved(pair, best, scale)
        if not improved:
            scale = scale / 2.0
    return EgoMotion(best[1], best[2], best[3], best[0], still)


def _improved(
    pair: _Pair, best: tuple[float, float, float, float], scale: npt.NDArray[np.float64]
) -> tuple[tuple[float, float, float, float], bool]:
    """One round over the coordinates, both ways."""
    start = best
    for axis, sign in itertools.product(range(3), (-1.0, 1.0)):
        trial = np.array(best[1:])
        trial[axis] += sign * scale[axis]
        trial[0] = max(trial[0], 0.0)
        way_m, turn, pitch = (float(value) for value in trial)
        best = min(best, (pair.error(way_m, turn, pitch), way_m, turn, pitch))
    return best, best[0] < start[0]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two small luminance pictures and the points of the later one that stand still."""

    before: FloatArray
    after: FloatArray
    points: FloatArray
    intrinsics: tuple[float, float, float]

    @classmethod
    def of(cls, before: PreparedPhoto, after: PreparedPhoto) -> _Pair:
        """Reduce both photographs to WORK_WIDTH_PX."""
        height, width = after.ids.shape
        scale = WORK_WIDTH_PX / width
        size = (WORK_WIDTH_PX, round(height * scale))
        rows = ((np.arange(size[1]) + 0.5) / scale).astype(int)
        columns = ((np.arange(size[0]) + 0.5) / scale).astype(int)
        grid = np.ix_(np.minimum(rows, height - 1), np.minimum(columns, width - 1))
        depth = after.depth_m[grid].astype(np.float32)
        use = np.isin(after.tags[grid], STILL) & (depth < 0.5 * SKY_DEPTH_M)
        focal_px = after.camera.focal_px * scale
        centre = ((width / 2.0) * scale - 0.5, (after.camera.horizon_px + 0.5) * scale - 0.5)
        v, u = np.nonzero(use)
        z = depth[v, u]
        points = np.stack([(u - centre[0]) / focal_px * z, (v - centre[1]) / focal_px * z, z])
        later = _luma(after, size)
        return cls(_luma(before, size), later[v, u], points.astype(np.float32), (focal_px, *centre))

    def error(self, way_m: float, turn: float, pitch: float) -> float:
        """Mean absolute difference of luminance where both frames show the point."""
        pose = EgoMotion(way_m, turn, pitch, 0.0, 0.0).step.astype(np.float32)
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
    small = np.asarray(Image.fromarray(photo.rgb).resize(size, Image.Resampling.BOX))
    return ndimage.gaussian_filter(small.astype(np.float32) @ LUMA, 0.7).astype(np.float32)
