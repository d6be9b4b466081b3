"""What `validate` lets through, where data crosses a boundary."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import Actor, Camera, View
from sim2street.bridge.geometry import level_pose

CAMERA = Camera.from_fov(8, 4, 60.0)


def test_a_pose_turns_and_moves_and_does_no_more() -> None:
    actor = Actor(7, 14, level_pose(), (2.0, 1.0, 0.7))
    actor.validate()
    for factor in (0.0, 0.5, 1.2):
        pose = level_pose()
        pose[:3, :3] *= factor
        with pytest.raises(FrameError, match=r"actor 7\.pose.*without scale"):
            dataclasses.replace(actor, pose=pose).validate()
        with pytest.raises(FrameError, match=r"view\.pose.*without scale"):
            View(CAMERA, pose).validate()


def test_motion_is_finite() -> None:
    motion_px = np.zeros((4, 8, 2), np.float32)
    view = View(CAMERA, level_pose(), motion_px=motion_px, motion_from_tick=3)
    view.validate()
    motion_px[1, 2, 0] = np.nan
    with pytest.raises(FrameError, match="point outside the image"):
        view.validate()
