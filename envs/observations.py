"""Observations: which arrays the agent gets, and how they are made from SensorFrames."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pydantic import Field, model_validator

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import Camera, SensorFrame, View, WorldSpec
from sim2street.configs import ConfigError, StrictModel, did_you_mean
from sim2street.envs.images import IMAGE_KEYS, ImageConfig, ImageObserver
from sim2street.envs.state import VECTOR_OBSERVATIONS, vector_observation

Array = npt.NDArray[Any]

ObservationKey = Literal["image", "labels", "depth_m", "state", "route", "hazards"]

Observation = dict[str, Array] | Array
"""Arrays by key, or one plain array if the config says `flat`."""


class ObservationConfig(StrictModel):
    """Which arrays the agent gets.

    Attributes:
        keys: any of `image` (uint8 (kH, kW, 3) rgb, where k is `image_scale`), `labels`
            (uint8 (H, W) tags), `depth_m` (float32 (H, W), metres along the optical axis,
            1000 for the sky), `state` (float32 vector of ego vehicle, lane, light and
            vehicle ahead), `route` (float32 vector of points of the route ahead), `hazards`
            (float32 vector of who is in the way or about to cross it).
        view: name of the camera; needed only if the world has several.
        flat: gives a plain array instead of a Dict: one image, or all vectors joined.
        stack: number of observations, this one and the ones before it, joined along the
            last axis, oldest first. At the start of an episode the first one is repeated.
        latency_ticks: gives images that are this many ticks old, as from a slow camera; at
            the start of an episode, the first one. Vectors are never delayed.
        pictures: size of images, and classes of the label map.
    """

    keys: tuple[ObservationKey, ...] = ("image", "state")
    view: str | None = None
    flat: bool = False
    stack: int = Field(default=1, ge=1, le=32)
    latency_ticks: int = Field(default=0, ge=0, le=200)
    pictures: ImageConfig = ImageConfig()

    @model_validator(mode="after")
    def _check_flat(self) -> ObservationConfig:
        if self.flat and self.needs_sensors and len(self.keys) > 1:
            raise ValueError(
                f"flat: only a single image, or vectors ({', '.join(VECTOR_OBSERVATIONS)}), fit "
                "into one plain array; "
                f"got the keys {list(self.keys)}"
            )
        return self

    @property
    def needs_sensors(self) -> bool:
        """Whether any key needs a camera."""
        return any(key in IMAGE_KEYS for key in self.keys)


@dataclass(frozen=True, slots=True)
class ObservedViews:
    """What an `Observer` looks at. A history fits only an observer with the same.

    Attributes:
        sensors: whether the world was opened with its cameras.
        cameras: of the world.
        image_scale: width of the rgb image divided by the width of the labels.
    """

    config: ObservationConfig
    sensors: bool
    cameras: Mapping[str, Camera]
    image_scale: int


@dataclass(frozen=True, slots=True)
class ObserverState:
    """Snapshot of an `Observer` in the middle of an episode.

    Attributes:
        recorded_at: (episode, tick) of the last frame recorded, or None.
        observed_at: (episode, tick) of the last frame observed, or None.
        views: the last views, oldest first, as many as the latency needs.
        stacked: the last observations, oldest first, as many as the stack needs.
    """

    recorded_at: tuple[int, int] | None = None
    observed_at: tuple[int, int] | None = None
    views: tuple[View, ...] = ()
    stacked: tuple[Mapping[str, Array], ...] = ()


class Observer:
    """Builds the observation space of a world, and observations from its frames.

    Latency and stacking need a history: call `record` with the frame of every tick, and
    `observe` with those on which the agent acts. A frame of another episode, or of an earlier
    tick, clears the history.

    Attributes:
        views: what is looked at.
    """

    def __init__(
        self,
        config: ObservationConfig,
        spec: WorldSpec,
        image_scale: int = 1,
        sensors: bool = True,
    ) -> None:
        """Choose the camera.

        Args:
            image_scale: width of the rgb image divided by the width of the labels.
            sensors: whether the world was opened with its cameras.

        Raises:
            ConfigError: the world does not have the camera that the config asks for.
        """
        if not config.keys:
            raise ConfigError(
                "observation.keys is empty: name at least one of "
                f"{', '.join((*IMAGE_KEYS, *VECTOR_OBSERVATIONS))}"
            )
        self.views = ObservedViews(config, sensors, dict(spec.cameras), image_scale)
        self._config = config
        self._camera = _choose_camera(config, spec)
        self._images: ImageObserver | None = None
        if config.needs_sensors:
            if self._camera is None:
                raise ConfigError(
                    "observation.keys: this world has no camera, so only "
                    f"{', '.join(VECTOR_OBSERVATIONS)} can be observed"
                )
            camera = spec.cameras[self._camera]
            self._images = ImageObserver(config.pictures, camera, image_scale)
        self._views: deque[View] = deque(maxlen=config.latency_ticks + 1)
        self._stacked: deque[Mapping[str, Array]] = deque(maxlen=config.stack)
        self._recorded_at: tuple[int, int] | None = None
        self._observed_at: tuple[int, int] | None = None

    @property
    def space(self) -> spaces.Space[Any]:
        """A Dict space with one Box per key, or the one Box if the config says `flat`."""
        boxes: dict[str, spaces.Space[Any]] = {key: self._box(key) for key in self._config.keys}
        if not self._config.flat:
            return spaces.Dict(boxes)
        if len(boxes) == 1:
            return next(iter(boxes.values()))
        length = sum(self._box(key).shape[0] for key in self._config.keys)
        return spaces.Box(-1.0, 1.0, (length,), np.float32)

    def record(self, frame: SensorFrame) -> None:
        """Add the frame of one tick to the history; a frame already recorded is ignored."""
        at = frame.episode, frame.tick
        if at == self._recorded_at:
            return
        last = self._recorded_at
        if last is None or frame.episode != last[0] or frame.tick <= last[1]:
            self._views.clear()
            self._stacked.clear()
            self._observed_at = None
        self._recorded_at = at
        view = self._view_of(frame)
        last_view = self.last_view
        if view is None:
            view = last_view
        elif view.rgb is None and last_view is not None:  # this tick was not rendered
            view = dataclasses.replace(view, rgb=last_view.rgb)
        if view is not None:
            self._views.append(view)

    def observe(self, frame: SensorFrame) -> Observation:
        """Record the frame and return its observation: new arrays.

        Raises:
            FrameError: the frame lacks the data of a key.
        """
        self.record(frame)
        if self._observed_at != self._recorded_at:
            self._stacked.append({key: self._array(key, frame) for key in self._config.keys})
            self._observed_at = self._recorded_at
        missing = self._config.stack - len(self._stacked)
        history = [self._stacked[0]] * missing + list(self._stacked)
        arrays: dict[str, Array] = {
            key: _joined([step[key] for step in history]) for key in self._config.keys
        }
        if not self._config.flat:
            return arrays
        parts = list(arrays.values())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def last_view(self) -> View | None:
        """The newest view recorded, with the newest rgb image, regardless of the latency."""
        return self._views[-1] if self._views else None

    def get_state(self) -> ObserverState:
        """A snapshot of the history. Its arrays are never written to."""
        return ObserverState(
            self._recorded_at, self._observed_at, tuple(self._views), tuple(self._stacked)
        )

    def set_state(self, state: ObserverState) -> None:
        """Go back to a snapshot."""
        self._recorded_at, self._observed_at = state.recorded_at, state.observed_at
        self._views = deque(state.views, maxlen=self._views.maxlen)
        self._stacked = deque(state.stacked, maxlen=self._stacked.maxlen)

    def _view_of(self, frame: SensorFrame) -> View | None:
        return frame.views.get(self._camera) if self._camera is not None else None

    def _box(self, key: str) -> spaces.Box:
        if key in VECTOR_OBSERVATIONS:
            length = len(VECTOR_OBSERVATIONS[key].fields) * self._config.stack
            return spaces.Box(-1.0, 1.0, (length,), np.float32)
        assert self._images is not None
        return self._images.space(key, self._config.stack)

    def _array(self, key: str, frame: SensorFrame) -> Array:
        """The observation `key` of one tick, not stacked."""
        if key in VECTOR_OBSERVATIONS:
            return vector_observation(key, frame)
        if not self._views:
            has = f"; it has {sorted(frame.views)}" if frame.views else " (opened without sensors?)"
            raise FrameError(f"tick {frame.tick} has no view '{self._camera}'{has}")
        assert self._images is not None
        array = self._images.observe(key, self._views[0])
        if array is None:
            hint = "configure a renderer" if key == "image" else "the world does not send it"
            raise FrameError(f"observation '{key}': view '{self._camera}' lacks it ({hint})")
        return array


def _joined(steps: list[Array]) -> Array:
    """Arrays of the same key, joined along the last axis; (H, W) ones along a new axis."""
    if len(steps) == 1:
        return steps[0].copy()
    if steps[0].ndim == 2:
        return np.stack(steps, axis=-1)
    return np.concatenate(steps, axis=-1)


def _choose_camera(config: ObservationConfig, spec: WorldSpec) -> str | None:
    """The configured camera, or the only one; None if there is none."""
    names = list(spec.cameras)
    if config.view is not None:
        if config.view not in names:
            raise ConfigError(
                f"observation.view: no camera '{config.view}'{did_you_mean(config.view, names)}"
            )
        return config.view
    if config.needs_sensors and len(names) > 1:
        raise ConfigError(f"observation.view: name one of the cameras {names}")
    return names[0] if names else None
