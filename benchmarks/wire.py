"""How many milliseconds serving a world adds to each tick: `python benchmarks/wire.py [TICKS]`.

A server process sends prepared frames (labels, depth and instances: 9 bytes per pixel), so that
only encoding, sockets, decoding and validation are measured.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sim2street.bridge.frame import Camera, Control, EgoState, SensorFrame, View, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.transport import (
    ClientConfig,
    RemoteWorld,
    ServerConfig,
    generate_keys,
    serve_world,
)
from sim2street.bridge.world import World

IMAGE_SIZES = {"state only": None, "512x256": (512, 256), "1024x512": (1024, 512)}


class ConstantWorld(World):
    """A world whose images never change. `size`: (width, height) in pixels; None for no images."""

    def __init__(self, size: tuple[int, int] | None) -> None:
        self._tick = 0
        self._pose = np.eye(4, dtype=np.float32)
        self._cameras: dict[str, Camera] = {}
        self._views: dict[str, View] = {}
        if size is not None:
            camera = Camera.from_fov(*size, 62.0)
            shape = (camera.height_px, camera.width_px)
            images = (np.ones(shape, np.uint8), np.ones(shape, np.float32))
            self._cameras = {"front": camera}
            self._views = {"front": View(camera, self._pose, *images, np.ones(shape, np.uint32))}

    @property
    def spec(self) -> WorldSpec:
        fields = frozenset({"labels", "depth_m", "instances"} if self._views else ())
        return WorldSpec("constant", "1", 0.05, self._cameras, fields, taxonomy_fingerprint())

    def open(self, sensors: bool = True) -> None:
        self._tick = 0

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        self._tick = -1
        return self.step(Control())

    def step(self, control: Control) -> SensorFrame:
        self._tick += 1
        return SensorFrame(
            self._tick, 0, self._tick * 0.05, EgoState(self._pose), views=self._views
        )

    def close(self) -> None:
        self._tick = 0


def serve(size: tuple[int, int] | None, config: ServerConfig, pipe: Connection) -> None:
    """Run in the server process: sends its endpoint at the start and its peak memory at the end."""
    serve_world(ConstantWorld(size), config, on_bound=pipe.send)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def measure(name: str, server: ServerConfig, client: Mapping[str, Any], ticks: int) -> None:
    """Measure `ticks` steps for each image size, and print a line for each.

    Args:
        name: of the connection type, for the output.
        server: settings of the server.
        client: settings of the client, except for the endpoint.
    """
    context = multiprocessing.get_context("spawn")
    for label, size in IMAGE_SIZES.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(size, server, theirs))
        process.start()
        endpoint = ours.recv()
        step_times_ms = []
        with RemoteWorld(ClientConfig(endpoint=endpoint, **client)) as world:
            world.reset(0)
            for _ in range(ticks):
                start_s = time.perf_counter()
                world.step(Control())
                step_times_ms.append((time.perf_counter() - start_s) * 1e3)
        process.terminate()
        memory_mib = ours.recv() / 1024
        process.join()
        p50, p99 = np.percentile(step_times_ms, [50, 99])
        times = f"p50 {p50:6.2f} ms  p99 {p99:6.2f} ms"
        print(f"{name:10s} {label:11s} {times}  server {memory_mib:.0f} MiB")


def main() -> None:
    """Measure tcp, ipc, and tcp with CURVE encryption."""
    ticks = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        keys = generate_keys(Path(folder), "bench")
        tcp = "tcp://127.0.0.1:0"
        measure("tcp", ServerConfig(endpoint=tcp), {}, ticks)
        measure("ipc", ServerConfig(endpoint=f"ipc://{folder}/bench"), {}, ticks)
        curve = ServerConfig(endpoint=tcp, secret_key=keys.secret, allowed_clients=Path(folder))
        client_keys = {"secret_key": keys.secret, "server_key": keys.public}
        measure("tcp CURVE", curve, client_keys, ticks)


if __name__ == "__main__":
    main()
