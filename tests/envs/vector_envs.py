"""Envs for vectors under test: on the straight road, and importable by their processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from straight_road import StraightRoadWorld

from sim2street.bridge.errors import RendererError, RendererLost
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.bridge.renderer import Renderer, Rendering, RenderRequest
from sim2street.envs import DrivingEnv, ObservationConfig, Task, TaskConfig
from sim2street.envs.actions import DiscreteActions
from sim2street.envs.vector.env import DrivingVectorEnv

ALL_KEYS = ObservationConfig(keys=("image", "labels", "depth_m", "state"))
SHORT = TaskConfig(time_limit_s=0.4)
LONG = TaskConfig(time_limit_s=1e6, endings=("collision", "off_lane", "goal"))
STRAIGHT_ON = np.array([0.0, 1.0], np.float32)


class FaultyWorld(StraightRoadWorld):
    """Its third tick fails, but only once: the file `marker` records that it has."""

    def __init__(self, marker: Path, fault: str) -> None:
        super().__init__()
        self._marker, self._fault = marker, fault

    def step(self, control: Control) -> SensorFrame:
        frame = super().step(control)
        if frame.tick == 3 and not self._marker.exists():
            self._marker.touch()
            if self._fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self._fault == "hangs":
                time.sleep(60.0)
            else:
                raise ZeroDivisionError("a bug in the world")
        return frame


class SavingWorld(StraightRoadWorld):
    """A straight road that can save its state."""

    def get_state(self) -> tuple[float, ...]:
        return self._tick, self._episode, self._x_m, self._y_m, self._speed_mps, self._goal_m

    def set_state(self, state: tuple[float, ...]) -> SensorFrame:
        self._tick, self._episode, self._x_m, self._y_m, self._speed_mps, self._goal_m = state
        return self._frame()


class WatchedRenderer(PaletteRenderer):
    """Records its calls; refuses a session, or is lost, on request."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.opened: list[int] = []
        self.seeds: list[int] = []
        self.closed: list[int] = []
        self.loaded: list[int] = []
        self.refuse_session: int | None = None
        self.lost = False

    def open_session(self, config) -> int:
        self.opened.append(super().open_session(config))
        self.seeds.append(config.seed)
        return self.opened[-1]

    def close_session(self, session: int) -> None:
        self.closed.append(session)
        super().close_session(session)

    def load_session(self, session: int, saved) -> None:
        self.loaded.append(session)
        super().load_session(session, saved)

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        self.batches.append(len(requests))
        if self.lost:
            raise RendererLost("the renderer is gone")
        if any(request.session == self.refuse_session for request in requests):
            raise RendererError("this view is refused")
        return super().render(requests)


def process_ids(vector: DrivingVectorEnv) -> list[int]:
    """Process ids of the envs, in order."""
    processes = [worker._process for worker in vector._workers]
    return [process.pid for process in processes if process is not None and process.pid]


def straight_env(index: int, renderer: Renderer) -> DrivingEnv:
    """All observations; episodes of four ticks; the world of env 1 is lost once, on tick 2."""
    return lasting_env(index, renderer, lost_at_tick=2 if index == 1 else None, task=SHORT)


def lasting_env(
    index: int,
    renderer: Renderer,
    lost_at_tick: int | None = None,
    task: TaskConfig | None = None,
) -> DrivingEnv:
    """All observations; by default an episode lasts until the goal is reached."""
    world = RenderedWorld(StraightRoadWorld(lost_at_tick=lost_at_tick), renderer, scale=2)
    return DrivingEnv(
        world, Task(task or LONG), observation=ALL_KEYS, image_scale=2, render_mode="rgb_array"
    )


def saving_env(index: int, renderer: Renderer) -> DrivingEnv:
    """All observations; the world can save its state."""
    return DrivingEnv(RenderedWorld(SavingWorld(), renderer), observation=ALL_KEYS)


def discrete_state_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Observes `state` only; discrete actions."""
    state = ObservationConfig(keys=("state",))
    return DrivingEnv(StraightRoadWorld(), actions=DiscreteActions(), observation=state)


def faulty_env(marker: Path, fault: str, index: int, renderer: Renderer) -> DrivingEnv:
    """The world of env 1 has the `fault` once; the others work."""
    if index != 1:
        return lasting_env(index, renderer)
    world = RenderedWorld(FaultyWorld(marker, fault), renderer, scale=2)
    return DrivingEnv(world, observation=ALL_KEYS, image_scale=2, render_mode="rgb_array")


def broken_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Raises an error."""
    raise RendererError("the sizes do not fit")


def dying_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Its process exits while the env is made."""
    os._exit(3)


def assert_same(ours: object, theirs: object, where: str = "") -> None:
    """Assert that two nested results are equal bit by bit, including dtypes."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert list(ours) == list(theirs), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert isinstance(ours, np.ndarray), where
        assert ours.dtype == object, where
        assert ours.shape == theirs.shape, where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), where
        assert ours.dtype == theirs.dtype, where
        assert np.array_equal(ours, theirs), where
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert type(ours) is type(theirs), where
        assert ours == theirs, where
