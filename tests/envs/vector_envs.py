"""Envs that the processes of a vector under test make: importable, on the straight road."""

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

ALL_KEYS = ObservationConfig(keys=("image", "labels", "depth_m", "state"))
SHORT = TaskConfig(time_limit_s=0.4)
LONG = TaskConfig(time_limit_s=1e6)
STRAIGHT_ON = np.array([0.0, 1.0], np.float32)


class FaultyWorld(StraightRoadWorld):
    """Once (`marker` is the file that remembers it), its third tick ends badly."""

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


class SavedWorld(StraightRoadWorld):
    """Can save its state."""

    def get_state(self) -> tuple[float, ...]:
        return self._tick, self._episode, self._x_m, self._y_m, self._speed_mps, self._goal_m

    def set_state(self, state: tuple[float, ...]) -> SensorFrame:
        self._tick, self._episode, self._x_m, self._y_m, self._speed_mps, self._goal_m = state
        return self._frame()


class WatchedRenderer(PaletteRenderer):
    """Keeps count of the batches; refuses, or is lost, on request."""

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
            raise RendererError("this view I do not like")
        return super().render(requests)


def straight_env(index: int, renderer: Renderer) -> DrivingEnv:
    """All observations; episodes of four ticks; the world of env 1 is lost once, on tick 2."""
    return lasting_env(index, renderer, lost_at_tick=2 if index == 1 else None, task=SHORT)


def lasting_env(
    index: int,
    renderer: Renderer,
    lost_at_tick: int | None = None,
    task: TaskConfig | None = None,
) -> DrivingEnv:
    """All observations; the task ends at the goal, however long it takes."""
    world = RenderedWorld(StraightRoadWorld(lost_at_tick=lost_at_tick), renderer, scale=2)
    return DrivingEnv(
        world, Task(task or LONG), observation=ALL_KEYS, image_scale=2, render_mode="rgb_array"
    )


def saved_env(index: int, renderer: Renderer) -> DrivingEnv:
    """All observations, of a world that can save its state."""
    return DrivingEnv(RenderedWorld(SavedWorld(), renderer), observation=ALL_KEYS)


def discrete_state_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Without a camera."""
    state = ObservationConfig(keys=("state",))
    return DrivingEnv(StraightRoadWorld(), actions=DiscreteActions(), observation=state)


def faulty_env(marker: Path, fault: str, index: int, renderer: Renderer) -> DrivingEnv:
    """Env 1 has a `fault` once; the others are sound."""
    if index != 1:
        return lasting_env(index, renderer)
    world = RenderedWorld(FaultyWorld(marker, fault), renderer, scale=2)
    return DrivingEnv(world, observation=ALL_KEYS, image_scale=2, render_mode="rgb_array")


def broken_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Cannot be made."""
    raise RendererError("nothing fits")


def dying_env(index: int, renderer: Renderer) -> DrivingEnv:
    """Dies while it is made."""
    os._exit(3)


def same(ours: object, theirs: object, where: str = "") -> None:
    """Assert that two nested results are equal to the last bit, types of arrays included."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert list(ours) == list(theirs), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert isinstance(ours, np.ndarray), where
        assert ours.dtype == object, where
        assert ours.shape == theirs.shape, where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), where
        assert ours.dtype == theirs.dtype, where
        assert np.array_equal(ours, theirs), where
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{i}]")
    else:
        assert type(ours) is type(theirs), where
        assert ours == theirs, where
