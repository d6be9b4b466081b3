"""What every Renderer keeps. Derive a `Test...` class and give it a `renderer` fixture.

The state rules: state is per session; it restarts on a new episode, on a cut and on
request; the same tick again returns the cached frame and advances nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from support.faults import drive

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import SensorFrame, View
from sim2street.bridge.renderer import Renderer, RenderRequest, SessionConfig
from sim2street.configs import Sim2StreetError

TICKS = 14


class RendererContract:
    """The suite.

    Attributes:
        tolerance: how far (in 0..255) pictures that must be equal may differ: forwards of
            another batch size round differently.
    """

    tolerance: ClassVar[int] = 0

    @pytest.fixture
    def renderer(self) -> Renderer:
        """A renderer of its own for every test."""
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
        """Pictures of frames, one after the other."""
        return [self.one(renderer, session, frame, **changes) for frame in frames]

    def one(
        self, renderer: Renderer, session: int, frame: SensorFrame, **changes: Any
    ) -> np.ndarray:
        """The picture of one frame."""
        (rendering,) = renderer.render([ask(session, frame, **changes)])
        return rendering.rgb

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two pictures are the same, up to rounding."""
        return int(np.abs(a.astype(int) - b.astype(int)).max()) <= self.tolerance

    def test_styles_have_names(self, renderer: Renderer) -> None:
        styles = renderer.styles()
        assert styles
        assert len(set(styles)) == len(styles)
        assert all(isinstance(name, str) and name for name in styles)

    def test_pictures_have_the_asked_size(
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

    def test_the_arrays_of_a_request_are_the_callers_again(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        """They may lie in memory that the next frame overwrites."""
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

    def test_a_view_without_labels_is_refused_and_hurts_nothing(
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

    def test_the_same_tick_again_is_cached_and_advances_nothing(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        plain = self.run(renderer, a, frames[:4])
        repeated = self.run(renderer, b, [frames[i] for i in (0, 1, 1, 1, 2, 2, 3)])
        assert np.array_equal(repeated[1], repeated[2])
        assert np.array_equal(repeated[1], repeated[3])
        assert self.same(repeated[-1], plain[-1])

    def test_pictures_belong_to_the_caller(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session = self.open(renderer, frames)
        first = self.one(renderer, session, frames[0])
        kept = first.copy()
        if first.flags.writeable:
            first[:] = 0
        assert np.array_equal(self.one(renderer, session, frames[0]), kept)

    def test_seeds_and_sessions_repeat(self, renderer: Renderer, frames: list[SensorFrame]) -> None:
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        for one, other in zip(
            self.run(renderer, a, frames[:3]), self.run(renderer, b, frames[:3]), strict=True
        ):
            assert self.same(one, other)

    def test_sessions_do_not_see_each_other(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        alone = self.run(renderer, self.open(renderer, frames), frames[:3])
        a, b = self.open(renderer, frames), self.open(renderer, frames)
        for index in range(3):
            pictures = renderer.render([ask(a, frames[index]), ask(b, frames[index + 2])])
            assert self.same(pictures[0].rgb, alone[index])

    def test_a_batch_keeps_its_order(self, renderer: Renderer, frames: list[SensorFrame]) -> None:
        sessions = [self.open(renderer, frames) for _ in range(3)]
        asked = [ask(s, f) for s, f in zip(sessions, frames[::5], strict=True)]
        batch = [rendering.rgb for rendering in renderer.render(asked)]
        for picture, frame in zip(batch, frames[::5], strict=True):
            single = self.one(renderer, self.open(renderer, frames), frame)
            assert self.same(picture, single)
        assert renderer.render([]) == []

    @pytest.mark.parametrize("why", ["episode", "jump", "ticks", "request"])
    def test_state_restarts(self, why: str, renderer: Renderer, frames: list[SensorFrame]) -> None:
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

    def test_a_restart_is_asked_for_on_the_same_tick_too(
        self, renderer: Renderer, frames: list[SensorFrame]
    ) -> None:
        session, fresh = self.open(renderer, frames), self.open(renderer, frames)
        self.run(renderer, session, frames[:3])
        again = self.one(renderer, session, frames[2], restart=True)
        assert self.same(again, self.one(renderer, fresh, frames[2]))

    def test_restyling_knows_its_styles(
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
    """Driven once for all renderers."""
    return drive(TICKS)


def ask(session: int, frame: SensorFrame, **changes: Any) -> RenderRequest:
    """A request for a frame's only view."""
    request = RenderRequest(session, frame.view, frame.tick, frame.episode, frame.actors)
    return dataclasses.replace(request, **changes)
