"""The renderer suite on every Renderer there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contracts.renderer_contract import RendererContract
from support.processes import ServerProcess

from bridge.renderer import PaletteRenderer, Renderer
from bridge.transport import ClientConfig, RemoteRenderer


class TestPaletteRenderer(RendererContract):
    @pytest.fixture
    def renderer(self) -> Iterator[Renderer]:
        with PaletteRenderer() as renderer:
            yield renderer


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("renderer") as server:
        yield server


class TestRemoteRenderer(RendererContract):
    @pytest.fixture
    def renderer(self, server: ServerProcess) -> Iterator[Renderer]:
        with RemoteRenderer(ClientConfig(endpoint=server.endpoint)) as renderer:
            yield renderer
