"""Runs CARLA's client in a process of its own; every call has a deadline.

The client library can crash, abort and hang in a way that no thread can interrupt. So the
watchdog is this process: it kills a client process that does not answer in time.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim2street.bridge.carla.child.pipe import read_message, write_message
from sim2street.bridge.errors import SensorTimeout, WorldError, WorldLost
from sim2street.configs import ConfigError, Sim2StreetError

CHILD = Path(__file__).with_name("child")
"""Folder that the client process runs as a script."""

CLOSE_S = 8.0
"""Time for the client process to restore the server's state."""

_STDERR_TAIL_BYTES = 600

Answer = tuple[dict[str, Any], list[bytearray]]
"""Header and buffers."""

_ERRORS: Mapping[str, type[Sim2StreetError]] = {
    "version": ConfigError,
    "import": ConfigError,
    "config": ConfigError,
    "server": WorldLost,
    "call": WorldLost,
    "ticks": WorldError,
    "rendering": WorldError,
    "ego": WorldLost,
    "sensor": SensorTimeout,
    "spawn": WorldError,
}
_HINTS: Mapping[str, str] = {
    "version": "install the client of the server's version, or set client_python to a Python "
    "interpreter that has it",
    "import": "install CARLA's client there: pip install carla==<the server's version>",
    "server": "check that the server runs and that no other client ticks it; call reset() to "
    "connect again",
    "call": "call reset() to connect again",
    "ticks": "only one client may tick a server: stop the other one, or use 'attach: observe'",
    "rendering": "switch it off: settings = world.get_settings(); settings.no_rendering_mode = "
    "False; world.apply_settings(settings); or use a world without cameras",
    "ego": "call reset() to spawn or find another one",
    "sensor": "raise sensor_deadline_s if the server renders slowly; call reset() to go on",
    "spawn": "ask for fewer vehicles or load a larger map",
}


class CarlaClient:
    """A child process with a CARLA client. After an error, close it and start another one.

    Raises:
        ConfigError: the interpreter `python` cannot be started.
    """

    def __init__(self, python: str | None = None) -> None:
        """`python`: path of an interpreter that has CARLA's client; None is this one."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-u", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
        except OSError as error:
            self._stderr.close()
            raise ConfigError(
                f"client_python: cannot start '{python}': {error.strerror}; expected a Python "
                "interpreter that has CARLA's client and numpy"
            ) from error
        self._stderr_tail = ""
        assert self._process.stdout is not None
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def call(self, name: str, deadline_s: float, **request: Any) -> Answer:
        """The answer to a request; the first one, if there are two.

        Raises:
            WorldLost: the process died, or did not answer in time and was killed.
            SensorTimeout: a sensor's data did not come; the message names the sensor.
            ConfigError: the versions, the interpreter or an option do not fit.
            WorldError: the map has no room for the ego or the vehicles, another client ticks the
                server, or it does not render.
        """
        return self._checked(self._ask(name, deadline_s, request))

    def second_answer(self, name: str, deadline_s: float) -> Answer:
        """The second answer to the last request. Raises what `call` raises.

        `name`: what to call it in an error message.
        """
        return self._checked(self._next(name, max(0.0, deadline_s)))

    def _checked(self, answer: Answer) -> Answer:
        header, _ = answer
        kind = header.get("error")
        if kind is not None:
            hint = _HINTS.get(kind)
            message = f"CARLA: {header['message']}" + (f"; {hint}" if hint else "")
            raise _ERRORS[kind](message)
        return answer

    def close(self, deadline_s: float = CLOSE_S) -> bool:
        """Let the process restore the server's state, then end it in any case.

        Returns whether everything was restored.
        """
        done = False
        if self._process.poll() is None:
            with contextlib.suppress(WorldLost):
                header, _ = self._ask("close", deadline_s, {})
                while "failed" not in header:  # an answer to a request that Ctrl-C interrupted
                    header, _ = self._next("close", deadline_s)
                done = not header["failed"]
        self._end(1.0 if done else 0.0)
        return done

    def _ask(self, name: str, deadline_s: float, request: dict[str, Any]) -> Answer:
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, {"call": name, **request})
        except OSError:
            raise self._lost(name) from None
        return self._next(name, deadline_s)

    def _next(self, name: str, deadline_s: float) -> Answer:
        try:
            answer = self._answers.get(timeout=deadline_s)
        except queue.Empty:
            self._end(0.0)
            raise WorldLost(
                f"CARLA's client did not answer '{name}' within {deadline_s:.1f} s and was "
                "killed; call reset() to start another one"
            ) from None
        if answer is None:
            raise self._lost(name)
        return answer

    def _lost(self, name: str) -> WorldLost:
        self._end(1.0)
        code = self._process.returncode
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return WorldLost(
            f"CARLA's client ended {how} during '{name}'{self._stderr_tail}; call reset() to "
            "start another one"
        )

    def _read_stderr_tail(self) -> None:
        """Keep the end of what the process wrote to stderr, for error messages."""
        if self._stderr.closed:
            return
        with self._stderr as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _STDERR_TAIL_BYTES))
            text = " ".join(file.read().decode(errors="replace").split())
        self._stderr_tail = f" ({text})" if text else ""

    def _end(self, patience_s: float) -> None:
        """Wait for the process to end, kill it after `patience_s`, and release everything."""
        process = self._process
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()
        self._read_stderr_tail()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # buffered bytes that nobody will read
                    stream.close()

    def _read(self) -> None:
        """Thread: put every answer into the queue, and None at the end of the stream."""
        assert self._process.stdout is not None
        answer: Answer | None = ({}, [])
        while answer is not None:
            answer = read_message(self._process.stdout)
            self._answers.put(answer)
