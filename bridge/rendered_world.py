"""A World that renders the views of another World to RGB."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim2street.bridge.errors import RendererError, RendererLost, UnknownSession
from sim2street.bridge.frame import POSE_UNKNOWN, Camera, Control, SensorFrame, WorldSpec
from sim2street.bridge.renderer import (
    DEFAULT_STYLE,
    Renderer,
    RenderRequest,
    SessionConfig,
    StyleChoice,
    named_style,
)
from sim2street.bridge.style_files import STYLE_SUFFIX, read_style_file
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

RANDOM_STYLE = "random"
"""Style name for one of the renderer's styles, drawn with the seed of the episode."""


@dataclass(frozen=True, slots=True)
class RenderedState:
    """A snapshot of a RenderedWorld.

    Attributes:
        world: the snapshot of the wrapped world.
        sessions: per view, the config of its session and the session's temporal state; None
            instead of the state if the renderer cannot save it (a remote one cannot).
    """

    world: Any
    sessions: Mapping[str, tuple[SessionConfig, Any | None]]


class RenderedWorld(World):
    """Wraps a World and a Renderer: frames of the World, with `view.rgb` from the Renderer.

    `reset(options={"style": style})` sets the style of an episode: a name, a blend, the path of a
    style file, or "random" for one of the renderer's styles, drawn with the seed. `close` closes
    the world and the renderer too.

    `set_state` also restores the renderer's temporal state. If the renderer cannot save it, the
    temporal state restarts there; both repeat exactly.
    """

    def __init__(
        self,
        world: World,
        renderer: Renderer,
        style: StyleChoice = DEFAULT_STYLE,
        scale: int = 1,
        render_every: int = 1,
    ) -> None:
        """Wrap `world` and `renderer`.

        Args:
            style: style of the episodes whose `reset` does not name one.
            scale: size of the RGB images divided by the size of the labels.
            render_every: render only ticks that are a multiple of this; frames between them
                have no RGB.
        """
        if scale < 1 or render_every < 1:
            raise ConfigError(
                f"scale and render_every must be at least 1, got {scale} and {render_every}"
            )
        self.world = world
        self.renderer = renderer
        self._default_style = style
        self._scale = scale
        self._render_every = render_every
        self._sessions: dict[str, int] = {}
        self._configs: dict[str, SessionConfig] = {}
        self._restart_next = False
        self._sensors = True

    @property
    def spec(self) -> WorldSpec:
        spec = self.world.spec
        return dataclasses.replace(spec, fields=spec.fields | {"rgb"})

    @property
    def option_names(self) -> frozenset[str] | None:
        names = self.world.option_names
        return None if names is None else names | {"style"}

    def open(self, sensors: bool = True) -> None:
        self._sensors = sensors
        self.world.open(sensors)

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        rest = dict(options or {})
        requested = rest.pop("style", self._default_style)
        style = choose_style(requested, self.renderer.styles(), seed)
        frame = self.world.reset(seed, rest)
        if not self._sensors:
            return frame
        cameras = {name: view.camera for name, view in frame.views.items()}
        self._open_sessions(
            {n: SessionConfig(style, c, self._size_px(c), seed or 0) for n, c in cameras.items()}
        )
        return self._render(frame)

    def step(self, control: Control) -> SensorFrame:
        return self._render_if_due(self.world.step(control))

    def restyle(self, style: StyleChoice) -> None:
        """Switch the style of all views from the next frame on."""
        for name, session in self._sessions.items():
            self.renderer.restyle(session, style)
            self._configs[name] = dataclasses.replace(self._configs[name], style=style)

    def get_state(self) -> RenderedState:
        sessions = {
            name: (self._configs[name], self.renderer.save_session(session))
            for name, session in self._sessions.items()
        }
        return RenderedState(self.world.get_state(), sessions)

    def set_state(self, state: Any) -> SensorFrame:
        """Return to a snapshot of this world, or of the wrapped world alone.

        Images start anew where the snapshot has none, or was made with other cameras or with
        another renderer.
        """
        saved = state if isinstance(state, RenderedState) else RenderedState(state, {})
        frame = self.world.set_state(saved.world)
        if not self._sensors:
            return frame
        configs = {
            name: self._session_config(camera, saved.sessions.get(name))
            for name, camera in self.world.spec.cameras.items()
        }
        if configs != self._configs:
            self._open_sessions(configs)
        self._restart_next = False
        for name, session in self._sessions.items():
            config, memory = saved.sessions.get(name, (None, None))
            if memory is None or config != self._configs[name]:
                self._restart_next = True
                continue
            try:
                self.renderer.load_session(session, memory)
            except (RendererLost, UnknownSession):
                raise
            except RendererError:  # of another renderer
                self._restart_next = True
        return self._render_if_due(frame)

    def _session_config(
        self, camera: Camera, saved: tuple[SessionConfig, Any | None] | None
    ) -> SessionConfig:
        """The session for a camera, with the saved style and seed if the renderer has them."""
        style, seed = self._default_style, 0
        if saved is not None:
            style, seed = saved[0].style, saved[0].seed
        try:
            style = choose_style(style, self.renderer.styles(), seed)
        except ConfigError:  # a style of another renderer
            style = choose_style(self._default_style, self.renderer.styles(), seed)
        return SessionConfig(style, camera, self._size_px(camera), seed)

    def close(self) -> None:
        try:
            self.renderer.close()
        finally:
            self.world.close()

    def _size_px(self, camera: Camera) -> tuple[int, int]:
        return camera.width_px * self._scale, camera.height_px * self._scale

    def _open_sessions(self, configs: Mapping[str, SessionConfig]) -> None:
        for session in self._sessions.values():
            self.renderer.close_session(session)
        self._sessions, self._configs, self._restart_next = {}, {}, False
        for name, config in configs.items():
            self._sessions[name] = self.renderer.open_session(config)
            self._configs[name] = config

    def _render_if_due(self, frame: SensorFrame) -> SensorFrame:
        due = self._restart_next or frame.tick % self._render_every == 0
        return self._render(frame) if self._sensors and frame.views and due else frame

    def _render(self, frame: SensorFrame) -> SensorFrame:
        start_s = time.perf_counter()
        names = list(frame.views)
        # Without poses, only motion from the engine can carry the last image to this frame.
        no_poses = POSE_UNKNOWN in frame.flags
        restart, self._restart_next = self._restart_next, False
        requests = [
            RenderRequest(
                self._sessions[name],
                frame.views[name],
                frame.tick,
                frame.episode,
                frame.actors,
                restart=restart or (no_poses and frame.views[name].motion_px is None),
                weather=frame.weather,
            )
            for name in names
        ]
        renderings = self.renderer.render(requests)
        views = {
            name: dataclasses.replace(frame.views[name], rgb=rendering.rgb)
            for name, rendering in zip(names, renderings, strict=True)
        }
        stamps = {**frame.stamps, "render": time.perf_counter() - start_s}
        flags = frame.flags
        if any(rendering.reopened for rendering in renderings):
            flags = (*flags, "render_reset")
        return dataclasses.replace(frame, views=views, stamps=stamps, flags=flags)


def choose_style(style: StyleChoice, known: Sequence[str], seed: int | None) -> StyleChoice:
    """Resolve "default" (the first known style), "random" (drawn with the seed) and style files.

    Args:
        known: names of the renderer's styles.

    Raises:
        ConfigError: a name is neither known, "default", "random" nor the path of a style file
            (.safetensors); or the renderer has no styles.
    """
    try:
        if style == RANDOM_STYLE and known:
            return known[int(np.random.default_rng(seed).integers(len(known)))]
        if isinstance(style, str) and style.endswith(STYLE_SUFFIX):
            return read_style_file(Path(style))
        if isinstance(style, str):
            return named_style(style, known)
        for name in style if isinstance(style, Mapping) else ():
            named_style(name, known)
    except RendererError as error:
        raise ConfigError(str(error)) from error
    return style
