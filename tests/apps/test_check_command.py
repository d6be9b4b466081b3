"""`sim2street check-world` against a correct server and a wrong one."""

from __future__ import annotations

import dataclasses

import numpy as np
from straight_road import StraightRoadWorld

from sim2street.apps.cli import run
from sim2street.bridge.frame import SKY_DEPTH_M, View


class EuclideanDepthWorld(StraightRoadWorld):
    """Sends the distance along each ray instead of the depth along the optical axis."""

    def _view(self) -> View:
        view, camera = super()._view(), self.camera
        u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
        x, y = (u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px
        depth = np.minimum(view.depth_m * np.sqrt(1.0 + x**2 + y**2), SKY_DEPTH_M)
        return dataclasses.replace(view, depth_m=depth.astype(np.float32))


def test_a_correct_world_passes(served_world, capsys) -> None:
    assert run(["check-world", served_world]) == 0
    assert "follows the contract (20 ticks)" in capsys.readouterr().out


def test_the_mistake_of_a_wrong_world_is_explained(serve, capsys) -> None:
    assert run(["check-world", serve(EuclideanDepthWorld())]) == 1
    captured = capsys.readouterr()
    assert "Euclidean" in captured.out
    assert captured.err == ""
