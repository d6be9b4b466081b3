"""One server of a farm: its keeper process, its log, and when it last answered."""

from __future__ import annotations

import contextlib
import json
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path

from sim2street.bridge.carla.farm.config import Endpoint, FarmConfig
from sim2street.bridge.carla.farm.keeper import run_stop_command, signal_group
from sim2street.bridge.errors import WorldError

KEEPER = Path(__file__).with_name("keeper.py")
_KEEPER_START_S = 30.0
_PORTS_FREE_S = 10.0
_KEEPER_SLACK_S = 35.0
"""The keeper's own time at the end: mostly its stop command."""

_STABLE_S = 60.0
_LONGEST_PAUSE_S = 60.0
_CONNECT_S = 0.5
_POLL_S = 0.1
_TAIL_BYTES = 800


class State(Enum):
    """What a server does, as the farm sees it."""

    PAUSED = "paused"  # ended, and not to be started again yet
    STARTING = "starting"  # started, and has not answered yet
    READY = "ready"  # has answered


class FarmServer:
    """Starts, ends and restarts one server. Its methods are called by one thread.

    Attributes:
        pid: process id of the server; 0 before its first start.
        log: file with its output.
        restarts: how often it was started again. exit_code: of its last end, if it ended.
        answered_s, started_s: monotonic times of its last answer and its last start.
        resume_s: monotonic time at which a paused server starts again.
    """

    def __init__(self, endpoint: Endpoint, config: FarmConfig, logs: Path) -> None:
        self.endpoint = endpoint
        self.log = logs / f"server-{endpoint.index}.log"
        self.state = State.PAUSED
        self.restarts = 0
        self.exit_code: int | None = None
        self.started_s = self.answered_s = self.resume_s = 0.0
        self.pid = 0
        self._config = config
        command = config.server_command()
        self._command = endpoint.filled(command.start, config)
        self._stop_command = endpoint.filled(command.stop, config)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pause_s = config.first_pause_s

    @property
    def command_line(self) -> str:
        """Its command as a shell takes it."""
        return shlex.join(self._command)

    def start(self) -> None:
        """Start the server. It does not answer yet.

        Raises:
            WorldError: its ports are in use by something else, or its keeper does not start.
        """
        with open(self.log, "ab") as log:
            run_stop_command(self._stop_command, log)
        self._wait_for_free_ports()
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), self._keeper_settings()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that a terminal's Ctrl-C does not reach it
        )
        self.started_s = self.answered_s = time.monotonic()
        self.exit_code = None
        self.state = State.STARTING
        self.pid = self._read_pid()

    def has_ended(self) -> bool:
        """Whether the server's process or its keeper has ended; then `exit_code` is set."""
        if self._keeper is None or self._keeper.poll() is None:
            return False
        self.exit_code = self._keeper.returncode
        return True

    def listens(self) -> bool:
        """Whether its RPC port accepts connections."""
        address = self.endpoint.host, self.endpoint.port
        try:
            with socket.create_connection(address, _CONNECT_S):
                return True
        except OSError:
            return False

    def note_answer(self) -> bool:
        """It has answered. Returns whether it is the first answer since its start."""
        self.answered_s = time.monotonic()
        if self.answered_s - self.started_s > _STABLE_S:
            self._pause_s = self._config.first_pause_s
        first, self.state = self.state is State.STARTING, State.READY
        return first

    def silence_s(self) -> float:
        """Time since its last answer, or since its start."""
        return time.monotonic() - self.answered_s

    def pause(self) -> float:
        """End it, to be started again later. Returns the pause in seconds."""
        self.stop()
        pause_s, self._pause_s = self._pause_s, min(2.0 * self._pause_s, _LONGEST_PAUSE_S)
        self.resume_s = time.monotonic() + pause_s
        self.restarts += 1
        return pause_s

    def begin_stop(self) -> None:
        """Tell the keeper to end the server; `stop` then waits for it."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()

    def stop(self) -> None:
        """End the server and wait for that. Can be called again."""
        keeper, self._keeper = self._keeper, None
        self.state = State.PAUSED
        if keeper is None:
            return
        if keeper.stdin is not None:
            with contextlib.suppress(OSError):
                keeper.stdin.close()
        signal_group(keeper.pid, signal.SIGCONT)  # a stopped keeper would not notice
        try:
            keeper.wait(self._config.grace_s + _KEEPER_SLACK_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        if self.pid:
            signal_group(self.pid, signal.SIGKILL)  # in case the keeper was killed
        if keeper.stdout is not None:
            keeper.stdout.close()

    def log_tail(self) -> str:
        """The end of its log on one line; empty if it has written nothing."""
        try:
            with open(self.log, "rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - _TAIL_BYTES))
                return " ".join(log.read().decode(errors="replace").split())
        except OSError:
            return ""

    def _keeper_settings(self) -> str:
        settings = {
            "command": self._command,
            "stop_command": self._stop_command,
            "log": str(self.log),
            "grace_s": self._config.grace_s,
        }
        return json.dumps(settings)

    def _read_pid(self) -> int:
        """The server's process id; 0 if it could not be started, which its exit code tells."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._keeper.stdout, selectors.EVENT_READ)
            if not selector.select(_KEEPER_START_S):
                self.stop()
                raise WorldError(
                    f"the keeper of server {self.endpoint.index} did not start within "
                    f"{_KEEPER_START_S:.0f} s; is this machine overloaded?"
                )
        line = self._keeper.stdout.readline().strip()
        return int(line) if line else 0

    def _wait_for_free_ports(self) -> None:
        """Wait until the ports are free: the system may need a moment after a server's end."""
        until_s = time.monotonic() + _PORTS_FREE_S
        while taken := [port for port in self.endpoint.ports if not is_free(port)]:
            if time.monotonic() > until_s or not self.restarts:
                raise WorldError(
                    f"port {taken[0]} is in use, so server {self.endpoint.index} cannot start: "
                    "end what listens there (another CARLA server?), or choose another first port"
                )
            time.sleep(_POLL_S)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
