"""RenderedWorld: a World with a Renderer around it, and itself a World."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim2street.bridge.frame import POSE_UNKNOWN, Camera, Control, SensorFrame, WorldSpec
from sim2street.bridge.renderer import Renderer, RenderRequest, SessionConfig, StyleChoice
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean


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
        asked = rest.pop("style", self._default_style)
        style = choose_style(asked, self.renderer.styles(), seed)
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
        # With poses unknown, only an engine's own motion says where things were.
        lost = POSE_UNKNOWN in frame.flags
        restart, self._restart = self._restart, False
        requests = [
            RenderRequest(
                self._sessions[name],
                frame.views[name],
                frame.tick,
                frame.episode,
                frame.actors,
                restart=restart or (lost and frame.views[name].motion_px is None),
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
    """What "default" and "random" (drawn from the seed) mean; other names must be known."""
    if style == "default":
        return known[0]
    if style == "random":
        return known[int(np.random.default_rng(seed).integers(len(known)))]
    names = [style] if isinstance(style, str) else style if isinstance(style, Mapping) else ()
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown style '{name}'{did_you_mean(name, list(known))}")
    return style
