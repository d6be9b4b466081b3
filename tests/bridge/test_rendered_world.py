"""A world with a renderer around it: what of the last frame a renderer may use."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.noted_renderer import NotedRenderer
from support.toy_world import ToyWorld

from sim2street.bridge.frame import POSE_UNKNOWN, Control, SensorFrame
from sim2street.bridge.rendered_world import RenderedWorld


class EngineWithoutPoses(ToyWorld):
    """Sends labels, and its own motion if it has any."""

    def __init__(self, moves: bool) -> None:
        super().__init__(32, 16)
        self._moves = moves

    def step(self, control: Control) -> SensorFrame:
        frame = super().step(control)
        view = dataclasses.replace(frame.view, depth_m=None)
        if self._moves:
            motion_px = np.zeros((16, 32, 2), np.float32)
            view = dataclasses.replace(view, motion_px=motion_px, motion_from_tick=frame.tick - 1)
        return dataclasses.replace(frame, views={"front": view}, flags=(POSE_UNKNOWN,))


@pytest.mark.parametrize(("moves", "restarts"), [(True, [False, False]), (False, [True, True])])
def test_an_engines_own_motion_stands_in_for_poses(moves: bool, restarts: list[bool]) -> None:
    renderer = NotedRenderer()
    with RenderedWorld(EngineWithoutPoses(moves), renderer) as world:
        world.open()
        world.reset(seed=0)
        for _ in range(2):
            world.step(Control())
    assert renderer.restarts[1:] == restarts
