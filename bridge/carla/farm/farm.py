"""CarlaFarm: starts several CARLA servers, watches them and restarts those that die or hang."""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sim2street.bridge.carla.client import CarlaClient
from sim2street.bridge.carla.farm.config import PORTS_PER_SERVER, Endpoint, FarmConfig
from sim2street.bridge.carla.farm.server import FarmServer, State, is_free
from sim2street.bridge.closing import Closing
from sim2street.bridge.errors import WorldError, WorldLost
from sim2street.configs import ConfigError, Sim2StreetError

_LOG = logging.getLogger(__name__)
_START_POLL_S = 0.3
_CLIENT_SLACK_S = 10.0
"""Time that the client process may take for a call beyond the call's own time-out."""

_PORT_TRIES = 50
_LAST_PORT = 65535


class CarlaFarm(Closing):
    """Several CARLA servers on this host, as a context manager.

    A server counts as well if it answers a call of CARLA's client that it handles between two
    ticks, so a server that hangs is found, not only one that is gone. All servers end with the
    farm: at the end of the block, on Ctrl-C, and if this process is killed.

    `on_event` is called with one line of text for everything that happens, from the thread that
    watches; None: the lines are logged.
    """

    def __init__(self, config: FarmConfig, on_event: Callable[[str], None] | None = None) -> None:
        self.config = config
        self._report = on_event or _LOG.warning
        self._servers: list[FarmServer] = []
        self._client: CarlaClient | None = None
        self._logs: Path | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where the servers are, by index. Restarts do not change it."""
        return [server.endpoint for server in self._servers]

    @property
    def ports(self) -> list[int]:
        """RPC ports of the servers, by index."""
        return [server.endpoint.port for server in self._servers]

    @property
    def restarts(self) -> list[int]:
        """How often each server was restarted, by index."""
        return [server.restarts for server in self._servers]

    @property
    def pids(self) -> list[int]:
        """Process ids of the servers, by index."""
        return [server.pid for server in self._servers]

    def start(self) -> None:
        """Start all servers and wait until each of them answers.

        Raises:
            ConfigError: a command cannot be started or ends at once.
            WorldError: a port is in use, or a server does not answer in time.
        """
        self.close()
        self._ended.clear()
        config = self.config
        if config.logs is None:
            self._logs = Path(tempfile.mkdtemp(prefix="sim2street-carla-farm-"))
        folder = self._logs or Path(config.logs or ".")
        folder.mkdir(parents=True, exist_ok=True)
        first_port = config.first_port or _free_block(PORTS_PER_SERVER * config.servers)
        try:
            for index in range(config.servers):
                gpu = config.gpus[index % len(config.gpus)]
                endpoint = Endpoint(index, first_port + PORTS_PER_SERVER * index, gpu)
                self._servers.append(FarmServer(endpoint, config, folder))
            for server in self._servers:
                server.start()
            self._wait_until_all_answer()
        except BaseException:  # KeyboardInterrupt too: leave no server behind
            self.close()
            raise
        self._watcher = threading.Thread(target=self._watch, name="carla-farm", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """End all servers. Can be called again."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        for server in self._servers:
            server.begin_stop()
        for server in self._servers:
            server.stop()
        self._servers = []
        self._end_client()
        if self._logs is not None:
            shutil.rmtree(self._logs, ignore_errors=True)
            self._logs = None

    def __enter__(self) -> CarlaFarm:
        self.start()
        return self

    def _wait_until_all_answer(self) -> None:
        until_s = time.monotonic() + self.config.start_timeout_s
        while waiting := [s for s in self._servers if s.state is not State.READY]:
            for server in waiting:
                if server.has_ended():
                    raise ConfigError(self._early_end(server))
                if server.listens() and self._answers(server):
                    server.note_answer()
                    self._report(f"{_name(server)} is ready")
                elif time.monotonic() > until_s:
                    raise WorldError(self._no_answer(server))
            time.sleep(_START_POLL_S)

    def _early_end(self, server: FarmServer) -> str:
        return (
            f"{_name(server)} ended with exit code {server.exit_code} before it answered; its "
            f"output: {server.log_tail() or 'none'}; try its command in a terminal: "
            f"{server.command_line}"
        )

    def _no_answer(self, server: FarmServer) -> str:
        return (
            f"{_name(server)} did not answer within {self.config.start_timeout_s:.0f} s; its "
            f"output: {server.log_tail() or 'none'}; raise start_timeout_s if it only needs longer"
        )

    def _watch(self) -> None:
        """Thread: check the servers again and again, until the farm ends."""
        while not self._ended.wait(self._pause_s()):
            for server in self._servers:
                if self._ended.is_set():
                    return
                try:
                    self._check(server)
                except (Sim2StreetError, OSError) as error:
                    self._report(f"{_name(server)}: {error}; trying again")

    def _pause_s(self) -> float:
        """Time until the next round: short while a server is on its way back."""
        if all(server.state is State.READY for server in self._servers):
            return self.config.check_every_s
        return min(self.config.check_every_s, _START_POLL_S)

    def _check(self, server: FarmServer) -> None:
        """Look after one server: start it if its pause is over, restart it if it is unwell."""
        if server.state is State.PAUSED:
            if time.monotonic() >= server.resume_s:
                self._start_again(server)
            return
        if server.has_ended():
            self._restart(server, f"ended with exit code {server.exit_code}")
        elif server.listens() and self._answers(server):
            if server.note_answer():
                self._report(f"{_name(server)} is ready again")
        elif server.state is State.STARTING:
            if server.silence_s() > self.config.start_timeout_s:
                self._restart(server, f"did not start within {self.config.start_timeout_s:.0f} s")
        elif server.silence_s() > self.config.hang_timeout_s:
            self._restart(server, f"has not answered for {server.silence_s():.0f} s")

    def _start_again(self, server: FarmServer) -> None:
        try:
            server.start()
        except (Sim2StreetError, OSError):
            server.pause()
            raise

    def _restart(self, server: FarmServer, why: str) -> None:
        tail = server.log_tail()
        pause_s = server.pause()
        output = f"; its output: {tail}" if tail else ""
        self._report(f"{_name(server)} {why}; restarting it in {pause_s:.0f} s{output}")

    def _answers(self, server: FarmServer) -> bool:
        """Whether the server answers a call of CARLA's client in time."""
        timeout_s = self.config.answer_timeout_s
        if self._client is None:
            self._client = CarlaClient(self.config.client_python)
        endpoint = server.endpoint
        try:
            self._client.call(
                "ping",
                timeout_s + _CLIENT_SLACK_S,
                host=endpoint.host,
                port=endpoint.port,
                timeout_s=timeout_s,
            )
        except WorldLost:
            self._end_client()  # a client does not recover from a call that failed
            return False
        return True

    def _end_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(WorldError):
                client.close()


def _name(server: FarmServer) -> str:
    return f"server {server.endpoint.index} (port {server.endpoint.port})"


def _free_block(count: int) -> int:
    """The first of `count` free ports in a row."""
    for _ in range(_PORT_TRIES):
        with socket.socket() as probe:
            probe.bind(("", 0))
            first = int(probe.getsockname()[1])
        if first + count <= _LAST_PORT and all(is_free(first + i) for i in range(count)):
            return first
    raise WorldError(f"no {count} free ports in a row were found: choose a first port yourself")
