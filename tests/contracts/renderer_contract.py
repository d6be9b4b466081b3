"""Tests that every Renderer passes. Derive a `Test...` class with a `renderer` fixture.

The rules are in the docstrings of `sim2street.bridge.renderer.Renderer`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from support.faults import recorded_drive

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import SensorFrame, View, Weather
from sim2street.bridge.renderer import Renderer, RenderRequest, SessionConfig
from sim2street.configs import Sim2StreetError

TICKS = 14


class RendererContract:
    """The tests.

    Attributes:
        tolerance: largest difference (of 255) between images that must be equal. Networks round
            differently for other batch sizes.
    """

    tolerance: ClassVar[int] = 0

    @pytest.fixture
    def renderer(self) -> Renderer:
        """A new renderer."""
        raise NotImplementedError

    @pytest.fixture
    def frames(self) -> list[SensorFrame]:
        """A drive through the toy world."""
        return toy_drive()

    def open(self, renderer: Renderer, frames: Sequence[SensorFrame], **changes: Any) -> int:
        """A session for the drive's camera."""
        camera = frames[0].view.camera
        config = SessionConfig(
            renderer.styles()[0], camera, (camera.width_px, camera.height_px), seed=3
        )
        return renderer.open_session(dataclasses.replace(config, **changes))

    def run(
        self, renderer: Renderer, session: int, frames: Sequence[SensorFrame], **changes: Any
    ) -> list[np.ndarray]:
        """Images of the frames, rendered one after the other."""
        return [self.one(renderer, session, frame, **changes) for frame in frames]

    def one(
        self, renderer: Renderer, session: int, frame: SensorFrame, **changes: Any
    ) -> np.ndarray:
        """The image of one frame."""
        (rendering,) = renderer.render([ask(session, frame, **changes)])
        return rendering.rgb

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two images are equal up to rounding."""
        return int(np.abs(a.astype(int) - b.astype(int)).max()) <= self.tolerance

    def test_styles_have_names(self, renderer: Renderer) -> None:
        styles = renderer.styles()
        assert styles
        assert len(set(styles)) == len(styles)
        assert all(isinstance(name, str) and name for name in styles)

    def test_images_have_the_requested_size(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        camera = frames[0].view.camera
        for k in (1, 2):
            size = (k * camera.width_px, k * camera.height_px)
            session = self.open(renderer, frames, out_size_px=size)
            rgb = self.one(renderer, session, frames[0])
            assert rgb.dtype == np.uint8
            assert rgb.shape == (size[1], size[0], 3)
            assert rgb.std() > 1.0

    @pytest.mark.parametrize("weather", [Weather(20.0, 1.0, 0.8, 0.5, 1.0), Weather(-30.0)])
    def test_every_weather_is_rendered(
        self, renderer: Renderer, frames: list[SensorFrame], weather: Weather
    ) -> None:
        session = self.open(renderer, frames)
        one, again = (self.one(renderer, session, frames[0], weather=weather) for _ in range(2))
        assert one.std() > 1.0
        assert self.same(one, again)

    def test_impossible_sessions_are_refused(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        with pytest.raises(RendererError, match="whole multiple"):
            self.open(renderer, frames, out_size_px=(65, 32))
        with pytest.raises(Sim2StreetError, match="no-such-style"):
            self.open(renderer, frames, style="no-such-style")

    def test_unknown_sessions_are_typed_errors(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        with pytest.raises(UnknownSession):
            self.one(renderer, 12345, frames[0])
        with pytest.raises(UnknownSession):
            renderer.restyle(12345, renderer.styles()[0])
        renderer.close_session(12345)
        session = self.open(renderer, frames)
        renderer.close_session(session)
        renderer.close_session(session)
        with pytest.raises(UnknownSession):
            self.one(renderer, session, frames[0])

    def test_arrays_of_a_request_may_be_overwritten_after_render(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        """A caller may reuse the memory of one frame for the next."""
        kept, lent = self.open(renderer, frames), self.open(renderer, frames)
        expected = self.run(renderer, kept, frames[:4])
        for frame, picture in zip(frames[:4], expected, strict=True):
            view = frame.view
            arrays = {n: getattr(view, n) for n in ("labels", "depth_m", "instances", "pose")}
            mine = {n: a.copy() for n, a in arrays.items() if a is not None}
            lent_frame = dataclasses.replace(
                frame, views={"front": dataclasses.replace(view, **mine)}
            )
            actors = tuple(dataclasses.replace(a, pose=a.pose.copy()) for a in frame.actors)
            shown = self.one(renderer, lent, lent_frame, actors=actors)
            assert self.same(shown, picture)
            mine |= {f"actor {a.actor_id}": a.pose for a in actors}
            for array in mine.values():
                array[...] = 7

    def test_a_view_without_labels_is_refused_and_changes_no_state(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session, other = self.open(renderer, frames), self.open(renderer, frames)
        before = self.one(renderer, session, frames[0])
        blind = View(frames[1].view.camera, frames[1].view.pose)
        with pytest.raises(RendererError, match="label"):
            renderer.render([ask(session, frames[1], view=blind)])
        assert self.same(self.one(renderer, session, frames[0]), before)
        after = self.one(renderer, session, frames[1])
        assert self.same(after, self.run(renderer, other, frames[:2])[-1])

    def test_the_same_tick_again_returns_the_cached_image(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        plain = self.run(renderer, a, frames[:4])
        repeated = self.run(renderer, b, [frames[i] for i in (0, 1, 1, 1, 2, 2, 3)])
        assert np.array_equal(repeated[1], repeated[2])
        assert np.array_equal(repeated[1], repeated[3])
        assert self.same(repeated[-1], plain[-1])

    def test_images_may_be_overwritten_by_the_caller(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session = self.open(renderer, frames)
        first = self.one(renderer, session, frames[0])
        kept = first.copy()
        if first.flags.writeable:
            first[:] = 0
        assert np.array_equal(self.one(renderer, session, frames[0]), kept)

    def test_sessions_with_the_same_seed_give_the_same_images(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        for one, other in zip(
            self.run(renderer, a, frames[:3]), self.run(renderer, b, frames[:3]), strict=True
        ):
            assert self.same(one, other)

    def test_sessions_do_not_affect_each_other(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        alone = self.run(renderer, self.open(renderer, frames), frames[:3])
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        for index in range(3):
            pictures = renderer.render([ask(a, frames[index]), ask(b, frames[index + 2])])
            assert self.same(pictures[0].rgb, alone[index])

    def test_results_are_in_the_order_of_the_requests(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        sessions = [self.open(renderer, frames) for _ in range(3)]
        asked = [ask(s, f) for s, f in zip(sessions, frames[::5], strict=True)]
        batch = [rendering.rgb for rendering in renderer.render(asked)]
        for picture, frame in zip(batch, frames[::5], strict=True):
            single = self.one(renderer, self.open(renderer, frames), frame)
            assert self.same(picture, single)
        assert renderer.render([]) == []

    @pytest.mark.parametrize("why", ["episode", "jump", "ticks", "request"])
    def test_temporal_state_restarts(
        self, why: str, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session, fresh = self.open(renderer, frames), self.open(renderer, frames)
        self.run(renderer, session, frames[:3])
        changes: dict[str, Any] = {}
        last = frames[3]
        if why == "episode":
            changes = {"episode": last.episode + 1}
        elif why == "jump":
            pose = last.view.pose.copy()
            pose[:2, 3] += 100.0
            changes = {"view": dataclasses.replace(last.view, pose=pose)}
        elif why == "ticks":
            changes = {"tick": last.tick + 10}
        else:
            changes = {"restart": True}
        after = self.one(renderer, session, last, **changes)
        assert self.same(after, self.one(renderer, fresh, last, **changes))

    def test_a_restart_renders_the_same_tick_again(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session, fresh = self.open(renderer, frames), self.open(renderer, frames)
        self.run(renderer, session, frames[:3])
        again = self.one(renderer, session, frames[2], restart=True)
        assert self.same(again, self.one(renderer, fresh, frames[2]))

    def test_restyle_accepts_all_styles_and_no_others(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session = self.open(renderer, frames)
        with pytest.raises(Sim2StreetError, match="no-such-style"):
            renderer.restyle(session, "no-such-style")
        for style in renderer.styles():
            renderer.restyle(session, style)
            assert self.one(renderer, session, frames[0], restart=True).shape == (32, 64, 3)

    def test_closing_twice(self, renderer: Renderer, frames: list[SensorFrame]) -> None:
        self.open(renderer, frames)
        renderer.close()
        renderer.close()


@functools.cache
def toy_drive() -> list[SensorFrame]:
    """A drive through the toy world, shared by all renderers."""
    return recorded_drive(TICKS)


def ask(session: int, frame: SensorFrame, **changes: Any) -> RenderRequest:
    """A request for a frame's only view."""
    request = RenderRequest(session, frame.view, frame.tick, frame.episode, frame.actors)
    return dataclasses.replace(request, **changes)
