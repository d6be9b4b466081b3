"""The Renderer contract, the palette renderer, and the World with a Renderer around it."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from bridge.errors import RendererError, UnknownSession
from bridge.frame import (
    POSE_UNKNOWN,
    Actor,
    ByteArray,
    Camera,
    Control,
    SensorFrame,
    View,
    WorldSpec,
)
from bridge.labels import PALETTE
from bridge.world import World
from configs import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class StyleBlob:
    """A compiled style as it travels: bytes and their hash, never a path."""

    name: str
    data: bytes
    sha256: str


StyleChoice = str | StyleBlob | Mapping[str, float]
"""The name of a style the renderer knows, a style of the caller's, or a blend by weight."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session needs; enough to open it again on another renderer.

    Attributes:
        out_size_px: (width, height) of the rgb, a whole multiple of the label size.
        seed: of the world-anchored noise.
    """

    style: StyleChoice
    camera: Camera
    out_size_px: tuple[int, int]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One view to render. `actors` carry the poses that make motion exact."""

    session: int
    view: View
    tick: int
    episode: int
    actors: tuple[Actor, ...] = ()
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendered view: rgb uint8 (H, W, 3), and whether its session was reopened."""

    rgb: ByteArray
    reopened: bool = False


class Renderer(ABC):
    """Turns views into RGB, in one batch over any number of sessions.

    A session keeps a style and the last rendered frame. Its temporal state restarts on a
    new episode, on a cut (the camera jumped > 5 m, or more than 10 ticks passed) and on
    `RenderRequest.restart`; the same (episode, tick) again returns the cached frame and
    advances nothing.
    """

    @abstractmethod
    def styles(self) -> tuple[str, ...]:
        """Names of the styles this renderer knows, at least one."""

    @abstractmethod
    def open_session(self, config: SessionConfig) -> int:
        """Open a session and return its id.

        Raises:
            RendererError: unknown style, or a size this renderer cannot make.
        """

    @abstractmethod
    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        """Render all requests in one batch, results in the same order.

        Raises:
            UnknownSession: a session this renderer does not know.
            RendererError: a view without what the renderer needs.
        """

    @abstractmethod
    def restyle(self, session: int, style: StyleChoice) -> None:
        """Switch the style from the next frame on; temporal state goes on."""

    @abstractmethod
    def close_session(self, session: int) -> None:
        """Forget a session. Unknown ones are ignored."""

    def save_session(self, session: int) -> Any | None:
        """All that a session remembers, for `load_session`; None where it cannot be had."""
        return None

    def load_session(self, session: int, saved: Any) -> None:
        """Make a session remember what one of the same config did. Never written to."""
        raise RendererError(f"{type(self).__name__} cannot take up a session's memory")

    @abstractmethod
    def close(self) -> None:
        """Release everything. Allowed more than once."""

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def out_scale(config: SessionConfig) -> int:
    """The whole factor k between label size and output size, or RendererError."""
    width_px, height_px = config.out_size_px
    k = width_px // config.camera.width_px
    if k < 1 or (width_px, height_px) != (
        k * config.camera.width_px,
        k * config.camera.height_px,
    ):
        raise RendererError(
            f"out_size_px {config.out_size_px} must be a whole multiple of the label size "
            f"({config.camera.width_px}, {config.camera.height_px})"
        )
    return k


class PaletteRenderer(Renderer):
    """Paints every tag in its palette colour, shaded by depth where there is one.

    No network, no torch: the renderer that always works, and the reference of the
    contract suite.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, SessionConfig] = {}
        self._cache: dict[int, tuple[tuple[int, int], ByteArray]] = {}
        self._next_session = 1

    def styles(self) -> tuple[str, ...]:
        return ("palette",)

    def open_session(self, config: SessionConfig) -> int:
        self._check_style(config.style)
        out_scale(config)
        session = self._next_session
        self._next_session += 1
        self._sessions[session] = config
        return session

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        return [Rendering(self._render_one(request)) for request in requests]

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._check_style(style)
        if session not in self._sessions:
            raise UnknownSession(f"no session {session}: open it again")

    def close_session(self, session: int) -> None:
        self._sessions.pop(session, None)
        self._cache.pop(session, None)

    def save_session(self, session: int) -> tuple[tuple[int, int], ByteArray] | tuple[()]:
        return self._cache.get(session, ())

    def load_session(self, session: int, saved: Any) -> None:
        self._cache.pop(session, None)
        if saved:
            self._cache[session] = saved

    def close(self) -> None:
        self._sessions.clear()
        self._cache.clear()

    def _check_style(self, style: StyleChoice) -> None:
        if style not in ("palette", "default"):
            raise RendererError(f"the palette renderer knows the style 'palette', not {style!r}")

    def _render_one(self, request: RenderRequest) -> ByteArray:
        config = self._sessions.get(request.session)
        if config is None:
            raise UnknownSession(f"no session {request.session}: open it again")
        key = (request.episode, request.tick)
        cached = self._cache.get(request.session)
        if cached is not None and cached[0] == key and not request.restart:
            return cached[1].copy()
        rgb = paint_labels(request.view)
        k = out_scale(config)
        if k > 1:
            rgb = rgb.repeat(k, axis=0).repeat(k, axis=1)
        self._cache[request.session] = (key, rgb)
        return rgb.copy()


def paint_labels(view: View) -> ByteArray:
    """Palette colours of `view.labels`, darker with distance: uint8 (H, W, 3)."""
    if view.labels is None:
        raise RendererError("this view has no labels: ask the world for a semantic camera")
    if view.depth_m is None:
        return PALETTE[view.labels]
    shade = 0.55 + 0.45 / (1.0 + view.depth_m / 40.0)
    shade[view.depth_m >= 999.0] = 1.0
    rgb = np.empty((*view.labels.shape, 3), np.uint8)
    for channel, values in enumerate(
        PALETTE.T.astype(np.float32)
    ):  # numpy is slow on last axes of 3
        rgb[..., channel] = values[view.labels] * shade
    return rgb


@dataclass(frozen=True, slots=True)
class RenderedState:
    """A snapshot of a RenderedWorld: its world's, and what each view's session remembers.

    `sessions`: per view, the config, and the memory or None where the renderer keeps it to
    itself (one on another machine does).
    """

    world: Any
    sessions: Mapping[str, tuple[SessionConfig, Any | None]]


class RenderedWorld(World):
    """A World with a Renderer around it: fills in `view.rgb`, and is itself a World.

    `reset(options={"style": name | blend | "random"})` chooses the look of the episode;
    "random" draws one of the renderer's styles from the seed. The world and the renderer
    are closed together with this object.

    `set_state` takes the renderer's temporal state up as well; where the renderer cannot
    save it, it restarts there instead, the same way each time.
    """

    def __init__(
        self,
        world: World,
        renderer: Renderer,
        style: StyleChoice = "default",
        scale: int = 1,
        render_every: int = 1,
    ) -> None:
        """`scale`: rgb size over label size. `render_every`: rgb every n-th tick only."""
        if scale < 1 or render_every < 1:
            raise ConfigError("scale and render_every must be at least 1")
        self.world = world
        self.renderer = renderer
        self._default_style = style
        self._scale = scale
        self._render_every = render_every
        self._sessions: dict[str, int] = {}
        self._configs: dict[str, SessionConfig] = {}
        self._restart = False
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
        style = self._choose_style(rest.pop("style", self._default_style), seed)
        frame = self.world.reset(seed, rest)
        if not self._sensors:
            return frame
        sizes = {name: self._size_px(view.camera) for name, view in frame.views.items()}
        self._open_sessions(
            {n: SessionConfig(style, frame.views[n].camera, sizes[n], seed or 0) for n in sizes}
        )
        return self._render(frame)

    def step(self, control: Control) -> SensorFrame:
        return self._render_if_due(self.world.step(control))

    def restyle(self, style: StyleChoice) -> None:
        """Switch the style between two frames."""
        for name, session in self._sessions.items():
            self.renderer.restyle(session, style)
            self._configs[name] = dataclasses.replace(self._configs[name], style=style)

    def get_state(self) -> RenderedState:
        sessions = {
            name: (self._configs[name], self.renderer.save_session(session))
            for name, session in self._sessions.items()
        }
        return RenderedState(self.world.get_state(), sessions)

    def set_state(self, state: RenderedState) -> SensorFrame:
        frame = self.world.set_state(state.world)
        configs = {name: config for name, (config, _) in state.sessions.items()}
        if configs != self._configs:
            self._open_sessions(configs)
        self._restart = any(memory is None for _, memory in state.sessions.values())
        for name, (_, memory) in state.sessions.items():
            if memory is not None:
                self.renderer.load_session(self._sessions[name], memory)
        return self._render_if_due(frame)

    def close(self) -> None:
        try:
            self.renderer.close()
        finally:
            self.world.close()

    def _choose_style(self, style: StyleChoice, seed: int | None) -> StyleChoice:
        known = self.renderer.styles()
        if style == "default":
            return known[0]
        if style == "random":
            return known[int(np.random.default_rng(seed).integers(len(known)))]
        for name in (
            [style] if isinstance(style, str) else style if isinstance(style, Mapping) else ()
        ):
            if name not in known:
                raise ConfigError(f"unknown style '{name}'{did_you_mean(name, list(known))}")
        return style

    def _size_px(self, camera: Camera) -> tuple[int, int]:
        return camera.width_px * self._scale, camera.height_px * self._scale

    def _open_sessions(self, configs: Mapping[str, SessionConfig]) -> None:
        for session in self._sessions.values():
            self.renderer.close_session(session)
        self._sessions, self._configs, self._restart = {}, {}, False
        for name, config in configs.items():
            self._sessions[name] = self.renderer.open_session(config)
            self._configs[name] = config

    def _render_if_due(self, frame: SensorFrame) -> SensorFrame:
        due = self._restart or frame.tick % self._render_every == 0
        return self._render(frame) if self._sensors and frame.views and due else frame

    def _render(self, frame: SensorFrame) -> SensorFrame:
        start_s = time.perf_counter()
        names = list(frame.views)
        # with poses unknown nothing can be carried from the last frame
        alone = POSE_UNKNOWN in frame.flags or self._restart
        self._restart = False
        requests = [
            RenderRequest(
                self._sessions[name],
                frame.views[name],
                frame.tick,
                frame.episode,
                frame.actors,
                restart=alone,
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
