"""Mistakes that engines make, put into the frames of a correct drive.

A Fault takes the frames of a drive and returns changed ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sim2street.bridge.check.run import weaving_control
from sim2street.bridge.frame import SKY_DEPTH_M, Control, SensorFrame, View, WorldSpec
from sim2street.bridge.world import World

from .toy_world import ToyWorld

Frames = list[SensorFrame]
Fault = Callable[[Frames], Frames]


def recorded_drive(ticks: int = 20, width_px: int = 64, height_px: int = 32) -> Frames:
    """The frames of a toy world, driven as `check_world` drives it."""
    world = ToyWorld(width_px, height_px)
    world.open()
    return [world.reset(0), *(world.step(weaving_control(tick)) for tick in range(ticks))]


class Playback(World):
    """A World that returns prepared frames whatever the controls are, changed by a fault."""

    def __init__(
        self,
        frames: Frames,
        fault: Fault = lambda frames: frames,
        spec: Callable[[WorldSpec], WorldSpec] = lambda spec: spec,
    ) -> None:
        self._frames, self._fault = frames, fault
        self.spec_ = spec(ToyWorld(64, 32).spec)
        self._remaining = iter(())
        self._episode = 0

    @property
    def spec(self) -> WorldSpec:
        return self.spec_

    def open(self, sensors: bool = True) -> None:
        self._episode = 0

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        self._episode += 1
        fresh = [dataclasses.replace(frame, episode=self._episode) for frame in self._frames]
        self._remaining = iter(self._fault(fresh))
        return next(self._remaining)

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        return next(self._remaining)

    def close(self) -> None:
        self._remaining = iter(())


def in_views(change: Callable[[View], View]) -> Fault:
    """Change every view of every frame on its own."""

    def apply(frames: Frames) -> Frames:
        return [
            dataclasses.replace(f, views={name: change(v) for name, v in f.views.items()})
            for f in frames
        ]

    return apply


def in_view(**changes: Callable[[View], Any]) -> Fault:
    """Change some fields of every view."""
    return in_views(
        lambda view: dataclasses.replace(view, **{n: make(view) for n, make in changes.items()})
    )


def in_frame(**changes: Callable[[SensorFrame], Any]) -> Fault:
    """Change some fields of every frame."""
    return lambda frames: [
        dataclasses.replace(f, **{name: make(f) for name, make in changes.items()}) for f in frames
    ]


def in_ego(**changes: Callable[[SensorFrame], Any]) -> Fault:
    """Change some fields of every frame's ego."""
    return in_frame(
        ego=lambda f: dataclasses.replace(f.ego, **{n: make(f) for n, make in changes.items()})
    )


def in_actors(**changes: Callable[[Any], Any]) -> Fault:
    """Change some fields of every actor."""
    return in_frame(
        actors=lambda f: tuple(
            dataclasses.replace(a, **{n: make(a) for n, make in changes.items()}) for a in f.actors
        )
    )


def delayed(combine: Callable[[SensorFrame, SensorFrame], SensorFrame]) -> Fault:
    """`combine(frame, previous frame)` for every frame; the first is its own predecessor."""

    def apply(frames: Frames) -> Frames:
        return [combine(now, before) for before, now in itertools.pairwise([frames[0], *frames])]

    return apply


def delayed_in_views(*names: str) -> Fault:
    """Replace some fields of every view by those of the tick before."""

    def combine(now: SensorFrame, before: SensorFrame) -> SensorFrame:
        views = {
            key: dataclasses.replace(
                view, **{name: getattr(before.views[key], name) for name in names}
            )
            for key, view in now.views.items()
        }
        return dataclasses.replace(now, views=views)

    return delayed(combine)


def combined(*faults: Fault) -> Fault:
    """Apply several faults, one after the other."""

    def apply(frames: Frames) -> Frames:
        for fault in faults:
            frames = fault(frames)
        return frames

    return apply


def changed_pose(change: Callable[[np.ndarray], Sequence[Any] | np.ndarray]) -> Fault:
    """Change the pose of every view, for example to another convention of axes."""
    return in_view(pose=lambda view: np.asarray(change(view.pose), np.float32))


def scaled_depth(factor: float) -> Fault:
    """Multiply the depth by `factor`, as if it were in another unit."""
    return in_view(depth_m=lambda view: (view.depth_m * factor).astype(np.float32))


def euclidean_depth(view: View) -> np.ndarray:
    """The distance along each ray instead of the depth along the optical axis."""
    c = view.camera
    x = (np.arange(c.width_px) - c.cx_px) / c.fx_px
    y = (np.arange(c.height_px) - c.cy_px) / c.fy_px
    length = np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2)
    is_sky = view.depth_m >= SKY_DEPTH_M
    return np.where(is_sky, view.depth_m, view.depth_m * length).astype(np.float32)
