"""What an agent sees: one flat Dict of arrays, or a plain one, out of SensorFrames."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from pydantic import Field, model_validator

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import SensorFrame, View, WorldSpec
from sim2street.configs import ConfigError, StrictModel, did_you_mean
from sim2street.envs.images import PICTURES, PictureConfig, PictureMaker
from sim2street.envs.state import (
    ROUTE_FIELDS,
    STATE_FIELDS,
    VECTORS,
    route_vector,
    state_vector,
    vector,
)

__all__ = [
    "PICTURES",
    "ROUTE_FIELDS",
    "STATE_FIELDS",
    "Observation",
    "ObservationConfig",
    "Observer",
    "ObserverMemory",
    "route_vector",
    "state_vector",
]

Observation = dict[str, np.ndarray] | np.ndarray
"""Arrays by key, or one plain array where the config is `flat`."""


class ObservationConfig(StrictModel):
    """Which arrays the agent gets.

    Attributes:
        keys: of `image` (uint8 (kH, kW, 3) rgb), `labels` (uint8 (H, W) tags), `depth_m`
            (float32 (H, W) planar metres, sky = 1000), `state` (float32 (n,), see
            `STATE_FIELDS`), `route` (float32 (m,), the way ahead, see `ROUTE_FIELDS`).
        view: name of the camera; may be left out where there is only one.
        flat: no Dict but a plain array: the picture, or all the vectors in one.
        stack: this observation and the ones before it, oldest first, in one array along
            its last axis (labels and depth get one). An episode begins with its first
            observation so many times.
        latency_ticks: pictures are those of so many ticks ago (the first one until then),
            as from a camera with a delay; `state` and `route` are of now.
        pictures: how pictures are made smaller and labels grouped.
    """

    keys: tuple[Literal["image", "labels", "depth_m", "state", "route"], ...] = ("image", "state")
    view: str | None = None
    flat: bool = False
    stack: int = Field(default=1, ge=1, le=32)
    latency_ticks: int = Field(default=0, ge=0, le=200)
    pictures: PictureConfig = PictureConfig()

    @model_validator(mode="after")
    def _fits_one_array(self) -> ObservationConfig:
        if self.flat and self.needs_sensors and len(self.keys) > 1:
            raise ValueError(
                f"flat: one picture, or vectors only, make a plain array; keys are {self.keys}"
            )
        return self

    @property
    def needs_sensors(self) -> bool:
        """Whether any key is made from a camera."""
        return any(key in PICTURES for key in self.keys)


@dataclass(frozen=True, slots=True)
class ObserverMemory:
    """What an observer remembers of an episode: the last views and observations.

    Attributes:
        at: (episode, tick) of the last frame seen. observed: of the last one observed.
    """

    at: tuple[int, int] | None = None
    observed: tuple[int, int] | None = None
    views: tuple[View, ...] = ()
    stacked: tuple[Mapping[str, np.ndarray], ...] = ()


class Observer:
    """Builds the observation space of a world, and observations out of its frames.

    It has a memory: every tick of an episode is shown to it (`see`), those on which the
    agent acts are observed. A new episode starts it afresh.
    """

    def __init__(self, config: ObservationConfig, spec: WorldSpec, image_scale: int = 1) -> None:
        """`image_scale`: size of the rgb over the size of the labels."""
        if not config.keys:
            raise ConfigError("observation.keys is empty: name at least one of image, state, ...")
        self._config = config
        self._view = _pick_view(config, spec)
        self._maker: PictureMaker | None = None
        if config.needs_sensors:
            if self._view is None:
                raise ConfigError(
                    f"this world has no camera: leave only {sorted(VECTORS)} in observation.keys"
                )
            self._maker = PictureMaker(config.pictures, spec.cameras[self._view], image_scale)
        self._views: deque[View] = deque(maxlen=config.latency_ticks + 1)
        self._stacked: deque[Mapping[str, np.ndarray]] = deque(maxlen=config.stack)
        self._at: tuple[int, int] | None = None
        self._observed: tuple[int, int] | None = None

    @property
    def space(self) -> spaces.Space[Any]:
        """A new flat Dict space with one Box per key, or the one Box."""
        boxes: dict[str, spaces.Space[Any]] = {key: self._box(key) for key in self._config.keys}
        if not self._config.flat:
            return spaces.Dict(boxes)
        if len(boxes) == 1:
            return next(iter(boxes.values()))
        length = sum(self._box(key).shape[0] for key in self._config.keys)
        return spaces.Box(-1.0, 1.0, (length,), np.float32)

    def see(self, frame: SensorFrame) -> None:
        """Remember the frame of one tick; the same one again changes nothing."""
        at = frame.episode, frame.tick
        if at == self._at:
            return
        if self._at is None or at[0] != self._at[0] or frame.tick <= self._at[1]:
            self._views.clear()
            self._stacked.clear()
            self._observed = None
        self._at = at
        view = self.view(frame)
        last = self._views[-1] if self._views else None
        if view is None:
            view = last
        elif view.rgb is None and last is not None:  # not rendered on this tick
            view = dataclasses.replace(view, rgb=last.rgb)
        if view is not None:
            self._views.append(view)

    def observe(self, frame: SensorFrame) -> Observation:
        """New arrays, the caller's to keep."""
        self.see(frame)
        if self._observed != self._at:
            self._stacked.append({key: self._array(key, frame) for key in self._config.keys})
            self._observed = self._at
        missing = self._config.stack - len(self._stacked)
        history = [self._stacked[0]] * missing + list(self._stacked)
        arrays: dict[str, np.ndarray] = {
            key: self._joined([part[key] for part in history]) for key in self._config.keys
        }
        if not self._config.flat:
            return arrays
        parts = list(arrays.values())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def view(self, frame: SensorFrame) -> View | None:
        """The view of the configured camera, where the frame has it."""
        return frame.views.get(self._view) if self._view is not None else None

    @property
    def last_view(self) -> View | None:
        """The newest view seen, with the newest picture: without any latency."""
        return self._views[-1] if self._views else None

    @property
    def memory(self) -> ObserverMemory:
        """All it remembers; arrays in it are never written to."""
        return ObserverMemory(self._at, self._observed, tuple(self._views), tuple(self._stacked))

    def remember(self, memory: ObserverMemory) -> None:
        """Go on from an earlier `memory`."""
        self._at, self._observed = memory.at, memory.observed
        self._views = deque(memory.views, maxlen=self._views.maxlen)
        self._stacked = deque(memory.stacked, maxlen=self._stacked.maxlen)

    def _box(self, key: str) -> spaces.Box:
        if key in VECTORS:
            length = len(VECTORS[key][0]) * self._config.stack
            return spaces.Box(-1.0, 1.0, (length,), np.float32)
        assert self._maker is not None
        return self._maker.box(key, self._config.stack)

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        if len(parts) == 1:
            return parts[0].copy()
        planes = parts[0].ndim == 2
        return np.concatenate([part[..., None] if planes else part for part in parts], axis=-1)

    def _array(self, key: str, frame: SensorFrame) -> np.ndarray:
        if key in VECTORS:
            return vector(key, frame)
        if not self._views:
            has = f"; it has {sorted(frame.views)}" if frame.views else " (opened without sensors)"
            raise FrameError(f"tick {frame.tick} has no view '{self._view}'{has}")
        assert self._maker is not None
        array = self._maker.picture(key, self._views[0])
        if array is None:
            hint = "configure a renderer" if key == "image" else "this world does not send it"
            raise FrameError(f"observation '{key}': view '{self._view}' has none ({hint})")
        return array


def _pick_view(config: ObservationConfig, spec: WorldSpec) -> str | None:
    names = list(spec.cameras)
    if config.view is not None:
        if config.view not in names:
            raise ConfigError(
                f"observation.view: no camera '{config.view}'{did_you_mean(config.view, names)}"
            )
        return config.view
    if not config.needs_sensors:
        return names[0] if names else None
    if len(names) > 1:
        raise ConfigError(f"observation.view: name one of the cameras {names}")
    return names[0] if names else None
