"""A town with cameras does not use more memory the longer it runs."""

from __future__ import annotations

import gc

import psutil
import pytest

from sim2street.bridge.town.traffic.autopilot import Autopilot
from sim2street.bridge.town.world import CameraConfig, TownConfig, TownWorld

SMALL = {"front": CameraConfig(width_px=128, height_px=64)}
MAY_GROW_BYTES = 8_000_000
"""Allows for meshes of more actors in view at once than before. Leaking one view per tick
would add 390 MB."""


def held_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def grown_bytes(warm_up: int, ticks: int) -> int:
    """Growth of the process's memory over `ticks` ticks after the warm-up."""
    with TownWorld(TownConfig(cameras=SMALL)) as world:
        world.open()
        world.reset(1, {"town": 5})
        pilot = Autopilot(world)
        for _ in range(warm_up):
            world.step(pilot.control())
        before = held_bytes()
        for _ in range(ticks):
            frame = world.step(pilot.control())
        assert frame.view.labels is not None
        return held_bytes() - before


@pytest.mark.slow
def test_memory_is_flat_with_cameras():
    assert grown_bytes(150, 250) < MAY_GROW_BYTES


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_is_flat_with_cameras_over_ten_thousand_ticks():
    assert grown_bytes(2000, 10_000) < MAY_GROW_BYTES
