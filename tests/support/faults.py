"""Mistakes that engines make, planted into a drive that has none."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sim2street.bridge.check.run import weave
from sim2street.bridge.frame import SKY_DEPTH_M, Control, SensorFrame, View, WorldSpec
from sim2street.bridge.world import World

from .toy_world import ToyWorld

Frames = list[SensorFrame]
Fault = Callable[[Frames], Frames]


def drive(ticks: int = 20, width_px: int = 64, height_px: int = 32) -> Frames:
    """The drive that `check_world` makes, recorded once."""
    world = ToyWorld(width_px, height_px)
    world.open()
    return [world.reset(0), *(world.step(weave(tick)) for tick in range(ticks))]


class Playback(World):
    """Returns prepared frames, whatever is asked; a fault may change them."""

    def __init__(
        self,
        frames: Frames,
        fault: Fault = lambda frames: frames,
        spec: Callable[[WorldSpec], WorldSpec] = lambda spec: spec,
    ) -> None:
        self._frames, self._fault = frames, fault
        self.spec_ = spec(ToyWorld(64, 32).spec)
        self._left = iter(())
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
        self._left = iter(self._fault(fresh))
        return next(self._left)

    def step(self, control: Control) -> SensorFrame:
        return next(self._left)

    def close(self) -> None:
        self._left = iter(())


def in_views(change: Callable[[View], View]) -> Fault:
    """A fault in every view by itself."""

    def plant(frames: Frames) -> Frames:
        return [
            dataclasses.replace(f, views={name: change(v) for name, v in f.views.items()})
            for f in frames
        ]

    return plant


def in_view(**changes: Callable[[View], Any]) -> Fault:
    """A fault in some fields of every view."""
    return in_views(
        lambda view: dataclasses.replace(view, **{n: make(view) for n, make in changes.items()})
    )


def in_frame(**changes: Callable[[SensorFrame], Any]) -> Fault:
    """A fault in some fields of every frame."""
    return lambda frames: [
        dataclasses.replace(f, **{name: make(f) for name, make in changes.items()}) for f in frames
    ]


def in_ego(**changes: Callable[[SensorFrame], Any]) -> Fault:
    """A fault in some fields of the ego."""
    return in_frame(
        ego=lambda f: dataclasses.replace(f.ego, **{n: make(f) for n, make in changes.items()})
    )


def in_actors(**changes: Callable[[Any], Any]) -> Fault:
    """A fault in some fields of every actor."""
    return in_frame(
        actors=lambda f: tuple(
            dataclasses.replace(a, **{n: make(a) for n, make in changes.items()}) for a in f.actors
        )
    )


def late(take: Callable[[SensorFrame, SensorFrame], SensorFrame]) -> Fault:
    """`take(frame, the one before)` for every frame; the first is its own predecessor."""

    def plant(frames: Frames) -> Frames:
        return [take(now, before) for before, now in itertools.pairwise([frames[0], *frames])]

    return plant


def late_in_views(*names: str) -> Fault:
    """Some fields of every view are those of the tick before."""

    def take(now: SensorFrame, before: SensorFrame) -> SensorFrame:
        views = {
            key: dataclasses.replace(
                view, **{name: getattr(before.views[key], name) for name in names}
            )
            for key, view in now.views.items()
        }
        return dataclasses.replace(now, views=views)

    return late(take)


def all_of(*faults: Fault) -> Fault:
    """Several faults at once."""

    def plant(frames: Frames) -> Frames:
        for fault in faults:
            frames = fault(frames)
        return frames

    return plant


def posed(change: Callable[[np.ndarray], Sequence[Any] | np.ndarray]) -> Fault:
    """Another convention for the view's pose."""
    return in_view(pose=lambda view: np.asarray(change(view.pose), np.float32))


def scaled_depth(factor: float) -> Fault:
    """Depth in another unit."""
    return in_view(depth_m=lambda view: (view.depth_m * factor).astype(np.float32))


def euclidean(view: View) -> np.ndarray:
    """Depth along the rays."""
    c = view.camera
    x = (np.arange(c.width_px) - c.cx_px) / c.fx_px
    y = (np.arange(c.height_px) - c.cy_px) / c.fy_px
    length = np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2)
    far = view.depth_m >= SKY_DEPTH_M
    return np.where(far, view.depth_m, view.depth_m * length).astype(np.float32)
