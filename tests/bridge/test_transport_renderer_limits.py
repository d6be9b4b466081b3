"""One client's request cannot end, block or fill up a renderer, nor fail another's request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.errors import FrameError, ProtocolError, RendererError, RendererLost
from sim2street.bridge.frame import Actor, Camera, SensorFrame
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.bridge.transport import ClientConfig, RemoteRenderer, query_status
from sim2street.bridge.wire.world_messages import MAX_ACTORS

MAX_PIXELS = 64 * 64


@pytest.fixture(scope="module")
def frame() -> SensorFrame:
    world = ToyWorld(32, 16)
    world.open()
    return world.reset(0)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    settings = {"max_pixels": MAX_PIXELS, "batch_wait_s": 0.05}
    with ServerProcess("fragile-renderer", settings=settings) as process:
        yield process


@pytest.fixture
def remote(server: ServerProcess) -> Iterator[RemoteRenderer]:
    with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as client:
        yield client


def opened(remote: RemoteRenderer, camera: Camera, scale: int = 1) -> int:
    size = (camera.width_px * scale, camera.height_px * scale)
    return remote.open_session(SessionConfig("palette", camera, size))


def asked(frame: SensorFrame, session: int, tick: int = 0, **changes: Any) -> RenderRequest:
    return replace(RenderRequest(session, frame.view, tick, 0, frame.actors), **changes)


def actor(number: int, **changes: Any) -> Actor:
    return replace(Actor(number, 14, np.eye(4, dtype=np.float32), (2.0, 1.0, 0.7)), **changes)


def moved(distance_m: float) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = distance_m
    return pose


def test_a_bug_of_the_renderer_is_that_requests_error(
    remote: RemoteRenderer, frame: SensorFrame
) -> None:
    session = opened(remote, frame.view.camera)
    with pytest.raises(RendererError, match="failed on this request: IndexError: a bug") as caught:
        remote.render([asked(frame, session, tick=13)])
    assert not isinstance(caught.value, RendererLost)
    assert remote.render([asked(frame, session, tick=14)])[0].rgb.shape == (16, 32, 3)


def test_a_bug_does_not_fail_the_others_of_a_batch(
    server: ServerProcess, frame: SensorFrame
) -> None:
    outcomes: list[str] = []

    def drive(tick: int) -> None:
        with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as client:
            session = opened(client, frame.view.camera)
            for _ in range(4):
                try:
                    client.render([asked(frame, session, tick)])
                    outcomes.append("rendered")
                except RendererError:
                    outcomes.append("failed")

    threads = [threading.Thread(target=drive, args=(tick,)) for tick in (1, 13, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes) == ["failed"] * 4 + ["rendered"] * 8


def test_a_renderer_that_renders_nothing_any_more_ends_and_says_why(frame: SensorFrame) -> None:
    with ServerProcess("fragile-renderer") as server:
        config = ClientConfig(endpoint=server.endpoint, deadline_s=1.0, open_deadline_s=1.0)
        with RemoteRenderer(config) as client:
            session = opened(client, frame.view.camera)
            with pytest.raises(RendererLost):
                client.render([asked(frame, session, tick=666)])
        code, errors = server.end()
    assert code == 1
    assert "IndexError: a bug" in errors


CAMERAS = {
    "too large": (Camera.from_fov(65, 64, 90.0), 1),
    "output too large": (Camera.from_fov(33, 32, 90.0), 2),
    "far too large": (Camera.from_fov(64, 64, 90.0), 512),
    "tiny focal length": (Camera(32, 16, 1e-300, 1e-300, 16.0, 8.0), 1),
    "huge focal length": (Camera(32, 16, 1e300, 1e300, 16.0, 8.0), 1),
    "principal point far away": (Camera(32, 16, 16.0, 16.0, 1e300, 8.0), 1),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_cameras_and_sizes_beyond_the_limits_are_refused(remote: RemoteRenderer, name: str) -> None:
    camera, scale = CAMERAS[name]
    with pytest.raises((RendererError, FrameError), match=r"at most 4096 pixels|camera: f[xy]_px"):
        opened(remote, camera, scale)


BAD_REQUESTS: dict[str, tuple[Callable[[RenderRequest], RenderRequest], str]] = {
    "two actors of one id": (
        lambda r: replace(r, actors=(actor(7), actor(7))), "two of them have the id 7"
    ),
    "too many actors": (
        lambda r: replace(r, actors=tuple(actor(n + 1) for n in range(MAX_ACTORS + 1))),
        "at most 4096",
    ),
    "extent nan": (
        lambda r: replace(r, actors=(actor(7, extent_m=(np.nan, 1.0, 1.0)),)), "extent_m"
    ),
    "extent negative": (
        lambda r: replace(r, actors=(actor(7, extent_m=(-1.0, 1.0, 1.0)),)), "extent_m"
    ),
    "velocity infinite": (
        lambda r: replace(r, actors=(actor(7, velocity_mps=(np.inf, 0.0, 0.0)),)), "velocity_mps"
    ),
    "actor far away": (lambda r: replace(r, actors=(actor(7, pose=moved(1e30)),)), "within 1e"),
    "camera far away": (
        lambda r: replace(r, view=replace(r.view, pose=moved(1e30))), "within 1e"
    ),
    "another size": (
        lambda r: replace(r, view=replace(
            r.view, camera=Camera.from_fov(16, 8, 70.0), depth_m=None, instances=None,
            labels=np.ones((8, 16), np.uint8),
        )),
        "views are 32x16, got a camera of 16x8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_invalid_views_and_actors_are_refused(
    remote: RemoteRenderer, frame: SensorFrame, name: str
) -> None:
    change, reason = BAD_REQUESTS[name]
    session = opened(remote, frame.view.camera)
    with pytest.raises((FrameError, ProtocolError, RendererError), match=reason):
        remote.render([change(asked(frame, session))])
    assert remote.render([asked(frame, session)])


def test_a_request_names_a_session_once(remote: RemoteRenderer, frame: SensorFrame) -> None:
    session = opened(remote, frame.view.camera)
    with pytest.raises(ProtocolError, match="names a session twice"):
        remote.render([asked(frame, session, 1), asked(frame, session, 2)])


@pytest.mark.parametrize("weight", [0.0, 1e-300, 1e300, -1.0])
def test_weights_of_blends_are_limited(
    remote: RemoteRenderer, frame: SensorFrame, weight: float
) -> None:
    camera = frame.view.camera
    with pytest.raises(ProtocolError, match=r"weights in \[1e-06, 1e\+06\]"):
        remote.open_session(SessionConfig({"day": weight}, camera, (32, 16)))


def test_large_batches_are_rendered_in_parts(remote: RemoteRenderer, frame: SensorFrame) -> None:
    """Ten views of 2048 pixels, of which two fit into a batch of `max_pixels`."""
    camera = frame.view.camera
    sessions = [opened(remote, camera, 2) for _ in range(10)]
    batches = query_status(remote._config)["counters"]["batches"]
    assert len(remote.render([asked(frame, session) for session in sessions])) == 10
    assert query_status(remote._config)["counters"]["batches"] == batches + 5


def test_one_client_cannot_take_all_sessions(server: ServerProcess) -> None:
    camera = Camera.from_fov(8, 4, 90.0)
    with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as greedy:
        for _ in range(256):
            opened(greedy, camera)
        with pytest.raises(RendererError, match="256 of one client"):
            opened(greedy, camera)
        with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as other:
            opened(other, camera)


def test_all_sessions_together_have_a_limited_size(server: ServerProcess) -> None:
    camera = Camera.from_fov(64, 64, 90.0)
    with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as greedy:
        for _ in range(16):
            opened(greedy, camera)
        with pytest.raises(RendererError, match="images of all sessions"):
            opened(greedy, camera)
        greedy.close_session(1)
        opened(greedy, camera)


def test_a_request_that_is_too_large_is_not_even_sent(
    remote: RemoteRenderer, frame: SensorFrame
) -> None:
    session = opened(remote, frame.view.camera)
    remote._client._server_max_message_bytes = 1000
    with pytest.raises(ProtocolError, match="--max-pixels"):
        remote.render([asked(frame, session)])
