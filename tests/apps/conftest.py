"""A world on a socket, as the command line meets it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from straight_road import StraightRoadWorld

from sim2street.apps import console
from sim2street.bridge.transport import ServerConfig, serve_world
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
def served_world(serve: Serve) -> str:
    """Endpoint of a StraightRoadWorld."""
    return serve(StraightRoadWorld())
