"""A world on a socket, as the command line meets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from straight_road import StraightRoadWorld

from bridge.transport import ServerConfig, serve_world


@pytest.fixture
def served_world() -> Iterator[str]:
    """Endpoint of a StraightRoadWorld served by a thread."""
    stop, bound = threading.Event(), threading.Event()
    endpoints: list[str] = []

    def on_bound(endpoint: str) -> None:
        endpoints.append(endpoint)
        bound.set()

    config = ServerConfig(endpoint="tcp://127.0.0.1:0")
    arguments = (StraightRoadWorld(), config, stop, on_bound)
    thread = threading.Thread(target=serve_world, args=arguments)
    thread.start()
    assert bound.wait(10.0)
    yield endpoints[0]
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
