"""RenderedWorld: when the renderer may use its last image, and the choice of styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from support.restart_logging_renderer import RestartLoggingRenderer
from support.toy_world import ToyWorld

from sim2street.bridge.frame import POSE_UNKNOWN, Control, SensorFrame, Weather
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.rendered_world import RenderedWorld, choose_style
from sim2street.bridge.renderer import Rendering, RenderRequest
from sim2street.configs import ConfigError


class EngineWithoutPoses(ToyWorld):
    """Sends labels, and its own motion if it has any."""

    def __init__(self, moves: bool) -> None:
        super().__init__(32, 16)
        self._moves = moves

    def step(self, control: Control) -> SensorFrame:
        frame = super().step(control)
        view = dataclasses.replace(frame.view, depth_m=None)
        if self._moves:
            motion_px = np.zeros((16, 32, 2), np.float32)
            view = dataclasses.replace(view, motion_px=motion_px, motion_from_tick=frame.tick - 1)
        return dataclasses.replace(frame, views={"front": view}, flags=(POSE_UNKNOWN,))


@pytest.mark.parametrize(("moves", "restarts"), [(True, [False, False]), (False, [True, True])])
def test_an_engines_own_motion_stands_in_for_poses(moves: bool, restarts: list[bool]) -> None:
    renderer = RestartLoggingRenderer()
    with RenderedWorld(EngineWithoutPoses(moves), renderer) as world:
        world.open()
        world.reset(seed=0)
        for _ in range(2):
            world.step(Control())
    assert renderer.restarts[1:] == restarts


def test_the_renderer_gets_the_weather_of_each_frame() -> None:
    class Foggier(ToyWorld):
        """Fog rises with the ticks."""

        def step(self, control: Control) -> SensorFrame:
            frame = super().step(control)
            return dataclasses.replace(frame, weather=Weather(fog=frame.tick / 10))

    seen: list[Weather | None] = []

    class Logging(PaletteRenderer):
        """Notes the weather of every request."""

        def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
            seen.extend(request.weather for request in requests)
            return super().render(requests)

    with RenderedWorld(Foggier(32, 16), Logging()) as world:
        world.open()
        world.reset(seed=0)
        world.step(Control())
        world.step(Control())
    assert seen == [Weather(), Weather(fog=0.1), Weather(fog=0.2)]


def test_styles_are_resolved_by_name_default_and_seed() -> None:
    known = ("day", "dusk", "rain")
    assert choose_style("dusk", known, None) == "dusk"
    assert choose_style("default", known, None) == "day"
    assert choose_style("random", known, 3) == choose_style("random", known, 3)
    assert {choose_style("random", known, seed) for seed in range(20)} == set(known)
    assert choose_style({"day": 0.5, "rain": 0.5}, known, None) == {"day": 0.5, "rain": 0.5}
    for unknown in ("dask", {"day": 0.5, "dask": 0.5}):
        with pytest.raises(ConfigError, match=r"unknown style 'dask'; did you mean 'dusk'"):
            choose_style(unknown, known, None)
