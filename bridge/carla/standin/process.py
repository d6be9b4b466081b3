"""Runs a stand-in in a process of its own, for tests and demos."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgpack

from sim2street.bridge.carla.standin.faults import FAULT_CALL, Fault
from sim2street.bridge.closing import Closing
from sim2street.bridge.errors import WorldError

_START_S = 120.0
_END_S = 5.0
_CALL_S = 30.0
_ROOT = Path(__file__).parents[4]
"""Folder that contains the package sim2street."""


class StandInProcess(Closing):
    """A stand-in process, as a context manager. CARLA clients connect to `host` and `port`.

    Raises:
        WorldError: it did not start to listen.
    """

    host = "127.0.0.1"

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        """`settings`: keys of `StandInConfig`; the default port is any free one."""
        self.settings: dict[str, Any] = {"port": 0, **(settings or {})}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens. A restart uses the same port again."""
        settings = {**self.settings, "port": self.port or self.settings["port"]}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sim2street.bridge.carla.standin", json.dumps(settings)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            self.port = self._read_port()
        except BaseException:  # KeyboardInterrupt too: leave no process behind
            self.close()
            raise

    def close(self) -> None:
        """End it, even if it is stopped or hangs. Can be called again."""
        process = self._process
        if process is None:
            return
        self._process = None
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)
        if process.stdout is not None:
            process.stdout.close()

    def kill(self) -> None:
        """Kill it and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def signal(self, number: int) -> None:
        """Send it a signal, such as SIGSTOP or SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def fault(self, kind: Fault, value: Any = None) -> None:
        """Switch a fault on; `Fault` lists them with their values. "none" switches all off."""
        call(self.port, FAULT_CALL, kind, value, wait=kind not in ("die", "freeze"))

    def actors(self) -> list[str]:
        """Type ids of all actors that clients have spawned and not destroyed."""
        ids = list(range(200, 100_000))
        return [actor[2][1] for actor in call(self.port, "get_actors_by_id", ids)[0][1]]

    def _read_port(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(_START_S):
                raise WorldError(f"the stand-in did not listen within {_START_S:.0f} s")
        line = self._process.stdout.readline().strip()
        if not line:
            raise WorldError("the stand-in did not start: see its own message above")
        return int(line)

    def __enter__(self) -> StandInProcess:
        self.start()
        return self


def call(port: int, name: str, *arguments: Any, wait: bool = True) -> Any:
    """Call a server on this machine without CARLA's client. Returns the raw result.

    `wait` False: ask for no answer; the server may not have read the call when this returns.

    Raises:
        WorldError: the server closed the connection or answered with a failure.
    """
    request = [0, 1, name, [[not wait], *arguments]]
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    deadline_s = time.monotonic() + _CALL_S
    with socket.create_connection(("127.0.0.1", port), _CALL_S) as peer:
        peer.sendall(msgpack.packb(request, use_bin_type=True))
        while wait:
            peer.settimeout(max(0.01, deadline_s - time.monotonic()))
            data = peer.recv(1 << 16)
            if not data:
                raise WorldError(f"the stand-in closed the connection during '{name}'")
            unpacker.feed(data)
            for _, _, failure, result in unpacker:
                if failure is not None:
                    raise WorldError(str(failure))
                return result
    return None
