"""Video: the camera's motion is recovered from images of a known street."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.conditions.pseudo_depth import GroundCamera
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.data.video import EgoMotion, FramePair, find_videos, track_camera
from sim2street.neural_renderer.data.video_clips import video_clips

FORWARD_M, TURN_RAD = 0.5, 0.01


def rendered(frame: int) -> PreparedPhoto:
    """Textured ground seen by a level camera after `frame` steps of the known motion."""
    width, height, horizon = 320, 240, 100.0
    camera = GroundCamera(300.0, horizon, 1.4)
    pose = np.linalg.matrix_power(EgoMotion(FORWARD_M, TURN_RAD, 0.0, 0.0).step, frame)
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    z = np.where(v > horizon, 300.0 * 1.4 / np.maximum(v - horizon, 1e-3), 1000.0)
    z = np.minimum(z, 1000.0)
    points = np.stack([(u - 159.5) / 300.0 * z, (v - horizon) / 300.0 * z, z])
    x, _, far = np.einsum("ij,jhw->ihw", pose[:3, :3], points) + pose[:3, 3, None, None]
    texture = 128 + 50 * np.sin(x * 2.1) * np.sin(far * 1.7) + 40 * np.sin(x * 0.7 + far * 0.9)
    grey = np.where(v > horizon, texture, 200.0)
    ids = np.where(v > horizon, 3, 0).astype(np.uint8)  # road and sky of camvid11
    lut = label_map("camvid11")
    return PreparedPhoto(
        "demo/a", 2 * frame, np.repeat(grey[..., None], 3, axis=2).astype(np.uint8), ids,
        lut.multihot.astype(np.uint8), lut.primary, z.astype(np.float16),
        np.zeros_like(ids), camera, height,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photos() -> list[PreparedPhoto]:
    return [rendered(frame) for frame in range(4)]


def test_the_camera_motion_is_estimated(photos: list[PreparedPhoto]) -> None:
    video = track_camera(photos)
    for before, after, motion in zip(photos, photos[1:], video.motions, strict=False):
        assert motion.forward_m == pytest.approx(FORWARD_M, abs=0.05)
        assert motion.turn_rad == pytest.approx(TURN_RAD, abs=0.002)
        assert abs(motion.pitch_rad) < 0.002
        assert motion.error < 0.5 * FramePair.of(before, after).error(0.0, 0.0, 0.0)
    assert video.poses.shape == (4, 4, 4)
    moved_m = np.linalg.norm(video.poses[-1, :3, 3] - video.poses[0, :3, 3])
    assert moved_m == pytest.approx(3 * FORWARD_M, rel=0.1)
    ground = video.poses[0] @ np.array([0.0, 1.4, 0.0, 1.0])
    assert ground[2] == pytest.approx(0.0)  # the camera is 1.4 m above the ground


def test_videos_are_uninterrupted_sequences(photos: list[PreparedPhoto]) -> None:
    late = dataclasses.replace(photos[0], frame=40)
    other = dataclasses.replace(photos[0], drive="demo/b", frame=8)
    runs = find_videos([*photos, late, other], step=2)
    assert [[photo.frame for photo in run] for run in runs] == [[0, 2, 4, 6]]


def test_video_clips_have_a_target_in_every_frame(photos: list[PreparedPhoto]) -> None:
    config = PhotoDatasetConfig(size_px=(64, 32), exemplars=1, tone=0.5)
    dataset = PhotoDataset(config, {"demo": photos}, seed=1)
    video = track_camera(photos)
    clip = video_clips(dataset, [video], step=0, batch_size=2, frames=3)
    assert clip.rgb.shape == (2, 3, 3, 32, 64)
    assert clip.has_rgb.all()
    assert clip.actor_pose.shape == (2, 3, 0, 4, 4)
    assert (clip.tags[:, :, Tag.ROAD] + clip.tags[:, :, Tag.SKY] == 1).all()
    assert not torch.equal(clip.rgb[:, 0], clip.rgb[:, 1])
    with pytest.raises(ConfigError, match="no video has 9 consecutive frames"):
        video_clips(dataset, [video], step=0, batch_size=1, frames=9)
