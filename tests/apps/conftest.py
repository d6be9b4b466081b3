"""A world on a socket, as the command line meets it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from straight_road import StraightRoadWorld

from sim2street.apps import console
from sim2street.bridge.renderer import Renderer
from sim2street.bridge.transport import ServerConfig, serve_world
from sim2street.bridge.transport import serve_renderer as serve_renderer_forever
from sim2street.bridge.world import World

Serve = Callable[[World], str]


@contextmanager
def serving(world: World) -> Iterator[str]:
    """Endpoint of a world served by a thread."""
    stop, bound = threading.Event(), threading.Event()
    endpoints: list[str] = []

    def on_bound(endpoint: str) -> None:
        endpoints.append(endpoint)
        bound.set()

    config = ServerConfig(endpoint="tcp://127.0.0.1:0")
    thread = threading.Thread(target=serve_world, args=(world, config, stop, on_bound), daemon=True)
    thread.start()
    try:
        assert bound.wait(60.0)
        yield endpoints[0]
    finally:
        stop.set()
        thread.join(60.0)
    assert not thread.is_alive()


@contextmanager
def serving_renderer(renderer: Renderer) -> Iterator[str]:
    """Endpoint of a renderer served by a thread."""
    stop, bound = threading.Event(), threading.Event()
    endpoints: list[str] = []

    def on_bound(endpoint: str) -> None:
        endpoints.append(endpoint)
        bound.set()

    config = ServerConfig(endpoint="tcp://127.0.0.1:0")
    arguments = (renderer, config, stop, on_bound)
    thread = threading.Thread(target=serve_renderer_forever, args=arguments, daemon=True)
    thread.start()
    try:
        assert bound.wait(60.0)
        yield endpoints[0]
    finally:
        stop.set()
        thread.join(60.0)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, lines of progress would come between the lines that tests expect."""
    monkeypatch.setattr(console, "LINE_EVERY_S", 3600.0)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves worlds until the test is over: `endpoint = serve(world)`."""
    with ExitStack() as stack:
        yield lambda world: stack.enter_context(serving(world))


@pytest.fixture
def serve_renderer() -> Iterator[Callable[[Renderer], str]]:
    """Serves renderers in threads until the test is over: `endpoint = serve_renderer(engine)`."""
    with ExitStack() as stack:
        yield lambda renderer: stack.enter_context(serving_renderer(renderer))


@pytest.fixture
def served_world(serve: Serve) -> str:
    """Endpoint of a StraightRoadWorld."""
    return serve(StraightRoadWorld())
