"""What `validate` of the frame types accepts and refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import Actor, Camera, View, Weather
from sim2street.bridge.geometry import level_pose

CAMERA = Camera.from_fov(8, 4, 60.0)


def test_poses_with_a_scale_are_refused() -> None:
    actor = Actor(7, 14, level_pose(), (2.0, 1.0, 0.7))
    actor.validate()
    for factor in (0.0, 0.5, 1.2):
        pose = level_pose()
        pose[:3, :3] *= factor
        with pytest.raises(FrameError, match=r"actor 7\.pose.*without scale"):
            dataclasses.replace(actor, pose=pose).validate()
        with pytest.raises(FrameError, match=r"view\.pose.*without scale"):
            View(CAMERA, pose).validate()


def test_weather_has_ranges() -> None:
    for weather in (Weather(), Weather(-90.0, 1.0, 1.0, 1.0, 1.0)):
        weather.validate()
    for name in ("sun_altitude_deg", "cloudiness", "rain", "fog", "wetness"):
        for wrong in (-90.5, 90.5, float("nan"), float("inf")):
            with pytest.raises(FrameError, match=rf"weather\.{name} must be in .* got"):
                dataclasses.replace(Weather(), **{name: wrong}).validate()


def test_motion_must_be_finite() -> None:
    motion_px = np.zeros((4, 8, 2), np.float32)
    view = View(CAMERA, level_pose(), motion_px=motion_px, motion_from_tick=3)
    view.validate()
    motion_px[1, 2, 0] = np.nan
    with pytest.raises(FrameError, match="point outside the image"):
        view.validate()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"labels": np.full((4, 8), 29, np.uint8)}, r"labels.*in \[0, 28\].*\[29, 29\]"),
        ({"labels": np.zeros((4, 8), np.int32)}, r"labels: expected uint8 \(4, 8\), got int32"),
        ({"depth_m": np.full((4, 8), np.nan, np.float32)}, r"depth_m.*in \[0, 1000\].*nan"),
        ({"depth_m": np.full((4, 8), 1001, np.float32)}, r"depth_m.*got values in \[1001, 1001\]"),
        ({"rgb": np.zeros((4, 9, 3), np.uint8)}, r"rgb.*whole number k"),
        ({"rgb": np.zeros((0, 0, 3), np.uint8)}, r"rgb.*whole number k"),
    ],
)
def test_images_that_break_the_contract_are_refused(
    images: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(FrameError, match=message):
        View(CAMERA, level_pose(), **images).validate()


def test_rgb_may_be_larger_than_the_labels() -> None:
    View(CAMERA, level_pose(), rgb=np.zeros((8, 16, 3), np.uint8)).validate()
