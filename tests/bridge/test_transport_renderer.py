"""RemoteRenderer and its server: several clients share a batch, and a restart loses no frame."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.errors import (
    FrameError,
    ProtocolError,
    RendererError,
    RendererLost,
    UnknownSession,
)
from sim2street.bridge.frame import Actor, Camera, SensorFrame, Weather
from sim2street.bridge.palette import PaletteRenderer, paint_labels
from sim2street.bridge.renderer import Rendering, RenderRequest, SessionConfig, StyleBlob
from sim2street.bridge.transport import ClientConfig, RemoteRenderer, query_status
from sim2street.bridge.transport.render_checks import Session, check_requests
from sim2street.bridge.wire.codec import Message
from sim2street.bridge.wire.renderer_messages import read_render, render_parts

DEADLINE_S = 1.0
"""Deadline of clients whose server is about to be killed or frozen."""

SLACK_S = 10.0
"""Allowed on top of a deadline on a busy machine."""


def client_config(endpoint: str, **settings: float) -> ClientConfig:
    defaults = {"deadline_s": 20.0, "open_deadline_s": 30.0, "retry_s": 0.1}
    return ClientConfig(endpoint=endpoint, **{**defaults, **settings})


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("renderer") as process:
        yield process


@pytest.fixture(scope="module")
def frame() -> SensorFrame:
    world = ToyWorld(32, 16)
    world.open()
    return world.reset(0)


def session_config(frame: SensorFrame, scale: int = 1, seed: int = 0) -> SessionConfig:
    camera = frame.view.camera
    size = (camera.width_px * scale, camera.height_px * scale)
    return SessionConfig("palette", camera, size, seed)


def request(frame: SensorFrame, session: int, tick: int = 0) -> RenderRequest:
    return RenderRequest(session, frame.view, tick, frame.episode, frame.actors)


def test_remote_and_local_renderers_paint_the_same(
    server: ServerProcess, frame: SensorFrame
) -> None:
    with RemoteRenderer(client_config(server.endpoint)) as remote, PaletteRenderer() as local:
        assert remote.styles() == local.styles()
        for scale in (1, 2):
            a = remote.open_session(session_config(frame, scale))
            b = local.open_session(session_config(frame, scale))
            (far,), (near,) = remote.render([request(frame, a)]), local.render([request(frame, b)])
            assert np.array_equal(far.rgb, near.rgb)
            assert not far.reopened
        remote.restyle(a, "palette")
        remote.close_session(a)
        remote.close_session(a)  # the second time it is ignored
        with pytest.raises(UnknownSession):
            remote.render([request(frame, a)])
        assert remote.render([]) == []


def test_errors_of_the_renderer_are_raised_with_their_class(
    server: ServerProcess, frame: SensorFrame
) -> None:
    with RemoteRenderer(client_config(server.endpoint)) as remote:
        config = session_config(frame)
        with pytest.raises(RendererError, match="whole multiple"):
            remote.open_session(SessionConfig("palette", config.camera, (33, 16)))
        with pytest.raises(RendererError, match="noir"):
            remote.open_session(SessionConfig("noir", config.camera, config.out_size_px))
        blob = StyleBlob("mine", b"x", "0" * 64)
        with pytest.raises(ProtocolError, match="sha256"):
            remote.open_session(SessionConfig(blob, config.camera, config.out_size_px))
        with pytest.raises(FrameError, match="focal lengths must be positive"):
            remote.open_session(SessionConfig("palette", Camera(32, 16, -1, 1, 0, 0), (32, 16)))
        session = remote.open_session(config)
        flat = Actor(7, 14, np.zeros((4, 4), np.float32), (2.0, 1.0, 0.7))
        with pytest.raises(FrameError, match=r"actor 7\.pose"):
            remote.render([replace(request(frame, session), actors=(flat,))])
        assert remote.render([request(frame, session)])[0].rgb.shape == (16, 32, 3)


def test_weather_is_sent_and_may_be_left_out(frame: SensorFrame) -> None:
    dusk = Weather(-2.5, 0.3, 0.0, 0.05, 1.0)
    asked = [replace(request(frame, 5), weather=dusk), request(frame, 6)]
    body, arrays = render_parts(asked)
    assert "weather" not in body["requests"][1]  # as clients that do not know it send it
    read = read_render(Message("render", 1, "me", 0, body, arrays))
    assert [item.weather for item in read] == [dusk, None]
    body["requests"][1]["weather"] = {"fog": 1}
    read = read_render(Message("render", 1, "me", 0, body, arrays))
    assert read[1].weather == Weather(fog=1.0)
    for wrong in ({"snow": 1.0}, {"fog": "thick"}, {"fog": float("nan")}, 0.5):
        body["requests"][1]["weather"] = wrong
        with pytest.raises(ProtocolError, match="weather"):
            read_render(Message("render", 1, "me", 0, body, arrays))


@pytest.mark.parametrize(
    "wrong", [Weather(fog=70.0), Weather(rain=-0.1), Weather(91.0), Weather(wetness=float("nan"))]
)
def test_impossible_weather_is_refused_on_both_sides(
    server: ServerProcess, frame: SensorFrame, wrong: Weather
) -> None:
    asked = replace(request(frame, 1), weather=wrong)
    with pytest.raises(FrameError, match=r"weather\.\w+ must be in"):
        check_requests([asked], [Session("me", 1, (32, 16), (32, 16), 0)])
    with RemoteRenderer(client_config(server.endpoint)) as remote:
        session = remote.open_session(session_config(frame))
        with pytest.raises(FrameError, match=r"weather\.\w+ must be in"):
            remote.render([replace(asked, session=session)])
        assert remote.render([request(frame, session)])[0].rgb.shape == (16, 32, 3)


def test_a_server_that_does_not_know_weather_gets_none(
    server: ServerProcess,
    frame: SensorFrame,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RemoteRenderer(client_config(server.endpoint)) as remote:
        session = remote.open_session(session_config(frame))
        ask, with_weather = remote._client.request, []

        def old_server(kind: str, body: Any = None, *rest: Any, **more: Any) -> Message:
            with_weather.append("weather" in str(body))
            if with_weather[-1]:
                raise ProtocolError("render: requests.0: unknown key 'weather'")
            return ask(kind, body, *rest, **more)

        with monkeypatch.context() as patched:
            patched.setattr(remote._client, "request", old_server)
            for tick in range(3):
                asked = replace(request(frame, session, tick), weather=Weather(fog=0.5))
                assert remote.render([asked])[0].rgb.shape == (16, 32, 3)
        assert with_weather == [True, False, False, False]
        assert "renders without the weather" in caplog.text


def test_a_request_with_another_fault_is_not_blamed_on_its_weather(
    server: ServerProcess, frame: SensorFrame
) -> None:
    with RemoteRenderer(client_config(server.endpoint)) as remote:
        session = remote.open_session(session_config(frame))
        asked = replace(request(frame, session), weather=Weather(fog=0.5))
        with pytest.raises(ProtocolError, match="twice"):
            remote.render([asked, asked])
        assert remote._knows_weather


def test_sessions_belong_to_their_client(server: ServerProcess, frame: SensorFrame) -> None:
    with (
        RemoteRenderer(client_config(server.endpoint)) as mine,
        RemoteRenderer(client_config(server.endpoint)) as theirs,
    ):
        session = mine.open_session(session_config(frame))
        theirs.open_session(session_config(frame))
        theirs._sessions[1].remote_number = mine._sessions[session].remote_number
        (rendering,) = theirs.render([request(frame, 1)])
        assert rendering.reopened  # refused the other's session, opened another one


def test_clients_share_batches_and_an_invalid_request_fails_alone(frame: SensorFrame) -> None:
    clients, ticks = 3, 5
    errors: list[BaseException] = []
    shapes: list[tuple[int, ...]] = []
    no_labels = SensorFrame(0, 0, 0.0, frame.ego, views={})

    def drive(endpoint: str, invalid: bool) -> None:
        with RemoteRenderer(client_config(endpoint)) as remote:
            session = remote.open_session(session_config(frame))
            for tick in range(ticks):
                asked = request(frame, session, tick)
                if invalid:
                    blind = type(frame.view)(frame.view.camera, frame.view.pose)
                    asked = RenderRequest(session, blind, tick, no_labels.episode)
                try:
                    shapes.append(remote.render([asked])[0].rgb.shape)
                except RendererError as error:
                    errors.append(error)

    with ServerProcess("slow-renderer", settings={"batch_wait_s": 0.05}) as server:
        threads = [
            threading.Thread(target=drive, args=(server.endpoint, n == 0)) for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        counters = query_status(server.endpoint)["counters"]
    assert len(errors) == ticks
    assert all("labels is missing" in str(error) for error in errors)
    assert shapes == [(16, 32, 3)] * (2 * ticks)
    assert counters["rendered"] == 2 * ticks

    with ServerProcess("slow-renderer", settings={"batch_wait_s": 0.05}) as server:
        threads = [threading.Thread(target=drive, args=(server.endpoint, False)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        counters = query_status(server.endpoint)["counters"]
    assert counters["rendered"] == 3 * ticks
    assert counters["batches"] < 3 * ticks  # several clients shared a batch


def test_after_a_restart_the_same_frame_is_rendered_and_marked_as_reopened(
    frame: SensorFrame,
) -> None:
    with (
        ServerProcess("renderer") as server,
        RemoteRenderer(client_config(server.endpoint, deadline_s=40.0)) as remote,
    ):
        sessions = [remote.open_session(session_config(frame, k)) for k in (1, 2)]
        requests = [request(frame, session, tick=5) for session in sessions]
        before = remote.render(requests)
        server.kill()
        after: list[Rendering] = []
        thread = threading.Thread(target=lambda: after.extend(remote.render(requests)))
        thread.start()
        time.sleep(0.2)  # the client is already retrying while no server runs
        server.start()
        thread.join(timeout=40)
        assert [rendering.reopened for rendering in after] == [True, True]
        for old, new in zip(before, after, strict=True):
            assert np.array_equal(old.rgb, new.rgb)
        assert not remote.render(requests)[0].reopened


def test_a_session_reopens_with_its_latest_style_and_its_seed(frame: SensorFrame) -> None:
    with (
        ServerProcess("renderer") as server,
        RemoteRenderer(client_config(server.endpoint)) as remote,
    ):
        session = remote.open_session(session_config(frame, seed=7))
        server.restart()
        remote.restyle(session, "default")
        config = remote._sessions[session].config
        assert (config.style, config.seed) == ("default", 7)
        (rendering,) = remote.render([request(frame, session)])
        assert np.array_equal(rendering.rgb, paint_labels(frame.view))


def test_a_killed_or_frozen_renderer_raises_renderer_lost_within_the_deadline(
    frame: SensorFrame,
) -> None:
    with (
        ServerProcess("renderer") as server,
        RemoteRenderer(
            client_config(server.endpoint, deadline_s=DEADLINE_S, open_deadline_s=2.0)
        ) as remote,
    ):
        session = remote.open_session(session_config(frame))
        for number, reason in ((signal.SIGSTOP, "frozen"), (signal.SIGKILL, "running")):
            server.signal(number)
            started_s = time.monotonic()
            with pytest.raises(RendererLost, match=reason):
                remote.render([request(frame, session)])
            assert time.monotonic() - started_s < DEADLINE_S + SLACK_S
            if number == signal.SIGSTOP:
                server.signal(signal.SIGCONT)
                assert not remote.render([request(frame, session)])[0].reopened
        server.end()
        server.start()
        assert remote.render([request(frame, session)])[0].reopened


def test_sessions_of_a_silent_client_end_with_its_lease(frame: SensorFrame) -> None:
    with (
        ServerProcess("renderer", settings={"lease_s": 0.2}) as server,
        RemoteRenderer(client_config(server.endpoint)) as remote,
    ):
        session = remote.open_session(session_config(frame))
        time.sleep(0.5)
        (rendering,) = remote.render([request(frame, session)])
        assert rendering.reopened
