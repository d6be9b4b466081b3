"""CARLA's client in a process of its own: every call has a deadline, every end an error.

The client library may crash, abort and hang for ever where no thread can interrupt it, so
the watchdog stands outside: a child that does not answer in time is killed.
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
CLOSE_S = 8.0
"""How long the child may take to leave the server as it was found."""

_LAST_WORDS_BYTES = 600

Answer = tuple[dict[str, Any], list[bytearray]]

_ERRORS: Mapping[str, type[Sim2StreetError]] = {
    "version": ConfigError,
    "import": ConfigError,
    "config": ConfigError,
    "server": WorldLost,
    "ego": WorldLost,
    "sensor": SensorTimeout,
    "spawn": WorldError,
}
_HINTS: Mapping[str, str] = {
    "version": "install the client of the server's version, or name an interpreter that has it "
    "(client_python)",
    "import": "install CARLA's client there: pip install carla==<the server's version>",
    "server": "is the server running, and does nobody else tick it? reset connects anew",
    "ego": "reset spawns another",
    "sensor": "a server that renders slowly needs a longer sensor_deadline_s; reset goes on",
    "spawn": "fewer vehicles, or a larger map",
}


class CarlaClient:
    """A child process with a CARLA client. Not to be used after an error: make another.

    Raises:
        ConfigError: there is no such interpreter.
    """

    def __init__(self, python: str | None = None) -> None:
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the child)
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-u", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._last_words,
            )
        except OSError as error:
            self._last_words.close()
            raise ConfigError(
                f"client_python: cannot start '{python}': {error.strerror}; it has to be a "
                "Python interpreter with CARLA's client and numpy"
            ) from error
        self._heard = ""
        assert self._process.stdout is not None
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the child, None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def call(self, name: str, deadline_s: float, **request: Any) -> Answer:
        """Answer to one request, the first if there are two.

        Raises:
            WorldLost: the child died, or did not answer in time and was killed.
            SensorTimeout: a sensor's data did not come; the message names it.
            ConfigError: the versions, the interpreter or an option do not fit.
        """
        return self._checked(self._ask(name, deadline_s, request))

    def second(self, name: str, deadline_s: float) -> Answer:
        """The second answer to that request. Raises what `call` raises."""
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
        """Let it clean up, then end it whatever it does. Whether it did all that it should."""
        done = False
        if self._process.poll() is None:
            with contextlib.suppress(WorldLost):
                header, _ = self._ask("close", deadline_s, {})
                while "failed" not in header:  # it is the answer to what Ctrl-C interrupted
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
                "ended; reset starts another"
            ) from None
        if answer is None:
            raise self._lost(name)
        return answer

    def _lost(self, name: str) -> WorldLost:
        self._end(1.0)
        code = self._process.returncode
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return WorldLost(
            f"CARLA's client ended {how} during '{name}'{self._heard}; reset starts another"
        )

    def _listen_last(self) -> None:
        """Keep the end of what it wrote to stderr."""
        if self._last_words.closed:
            return
        with self._last_words as words:
            size = words.seek(0, 2)
            words.seek(max(0, size - _LAST_WORDS_BYTES))
            text = " ".join(words.read().decode(errors="replace").split())
        self._heard = f" ({text})" if text else ""

    def _end(self, patience_s: float) -> None:
        process = self._process
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()
        self._listen_last()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # a request that nobody has read
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        answer: Answer | None = ({}, [])
        while answer is not None:
            answer = read_message(self._process.stdout)
            self._answers.put(answer)
