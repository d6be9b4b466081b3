"""The Renderer contract on every implementation."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts.renderer_contract import RendererContract
from support.processes import ServerProcess

from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.renderer import Renderer
from sim2street.bridge.transport import ClientConfig, RemoteRenderer, ServerConfig, serve_renderer


class TestPaletteRenderer(RendererContract):
    @pytest.fixture
    def renderer(self) -> Iterator[Renderer]:
        with PaletteRenderer() as renderer:
            yield renderer


class TestCanvasRenderer(RendererContract):
    @pytest.fixture
    def renderer(self) -> Iterator[Renderer]:
        pytest.importorskip("cv2")
        from support.flat_atlas import flat_atlas

        from sim2street.neural_renderer.canvas.renderer import CanvasRenderer

        with CanvasRenderer(flat_atlas()) as renderer:
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


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("torch")
    from support.untrained import untrained_weights

    return untrained_weights(tmp_path_factory.mktemp("weights"))


class TestNeuralRenderer(RendererContract):
    tolerance = 2  # networks round differently for other batch sizes

    @pytest.fixture
    def renderer(self, weights: tuple[Path, Path]) -> Iterator[Renderer]:
        from support.untrained import untrained_renderer

        with untrained_renderer(*weights) as renderer:
            yield renderer


class TestRemoteNeuralRenderer(RendererContract):
    tolerance = 2

    @pytest.fixture
    def renderer(self, weights: tuple[Path, Path]) -> Iterator[Renderer]:
        from support.untrained import untrained_renderer

        stop, bound = threading.Event(), queue.SimpleQueue[str]()
        config = ServerConfig(endpoint="tcp://127.0.0.1:0")
        served = untrained_renderer(*weights)
        thread = threading.Thread(
            target=serve_renderer, args=(served, config, stop, bound.put), daemon=True
        )
        thread.start()
        with RemoteRenderer(ClientConfig(endpoint=bound.get(timeout=10.0))) as renderer:
            yield renderer
        stop.set()
        thread.join(timeout=10.0)
