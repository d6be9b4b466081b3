"""World, renderer and driver in three processes; both servers are killed within 1000 ticks."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from support.frames import assert_same_frame
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.errors import WorldLost
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.palette import paint_labels
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.transport import ClientConfig, RemoteRenderer, RemoteWorld

SIZE = (16, 8)
TICKS = 1000
RENDERER_KILLED_AT = 300
WORLD_KILLED_AT = 600
SLACK_S = 10.0


def control_at(tick: int) -> Control:
    return Control(
        steer=0.3 * float(np.sin(tick / 7.0)), throttle=0.4, brake=0.3 * (tick % 50 > 40)
    )


def check(frame: SensorFrame, expected: SensorFrame) -> None:
    """Labels, depth, poses and rgb belong to the same tick and equal the expected ones exactly."""
    assert (frame.tick, frame.time_s) == (expected.tick, expected.time_s)
    assert np.array_equal(frame.view.rgb, paint_labels(expected.view))
    assert_same_frame(frame, expected, ignore=("stamps", "episode", "rgb", "flags"))


@pytest.mark.slow
def test_a_thousand_ticks_with_both_servers_killed_on_the_way() -> None:
    reference = ToyWorld(*SIZE)
    reference.open()
    flags: dict[int, tuple[str, ...]] = {}
    with (
        ServerProcess("world", settings={"size": SIZE}) as world,
        ServerProcess("renderer") as renderer,
    ):
        remote = RenderedWorld(
            RemoteWorld(ClientConfig(endpoint=world.endpoint, deadline_s=2.0, retry_s=0.2)),
            RemoteRenderer(ClientConfig(endpoint=renderer.endpoint, deadline_s=40, retry_s=0.2)),
        )
        with remote:
            first = remote.reset(7)
            check(first, reference.reset(7))
            for tick in range(1, TICKS + 1):
                if tick == RENDERER_KILLED_AT:
                    renderer.kill()
                    threading.Timer(0.3, renderer.start).start()
                if tick == WORLD_KILLED_AT:
                    world.kill()
                    started_s = time.monotonic()
                    with pytest.raises(WorldLost):
                        remote.step(control_at(tick))
                    assert time.monotonic() - started_s < 2.0 + SLACK_S
                    world.start()
                    again = remote.reset(8)
                    assert (again.tick, again.episode) == (0, first.episode + 1)
                    check(again, reference.reset(8))
                frame = remote.step(control_at(tick))
                check(frame, reference.step(control_at(tick)))
                if frame.flags:
                    flags[tick] = frame.flags
    assert flags == {RENDERER_KILLED_AT: ("render_reset",)}
    assert frame.tick == TICKS - WORLD_KILLED_AT + 1
