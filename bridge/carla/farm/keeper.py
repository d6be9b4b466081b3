"""Runs one server of a farm, and ends it in any case: also if the farm is killed.

A script of its own, with the standard library only. Its argument is a JSON object: `command`
(program and arguments), `stop_command` (run at the end; empty: none), `log` (path of a file for
the server's output) and `grace_s` (time to end after SIGTERM). It prints the server's process id
and, once the server has ended, exits with its exit code (as a shell does: 128 + signal).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

EXIT_NOT_STARTED = 127
"""Exit code if the command cannot be started; as a shell's."""

_POLL_S = 0.1
_STOP_COMMAND_S = 30.0
_SET_PARENT_DEATH_SIGNAL = 1


def main(settings: dict[str, Any]) -> int:
    """Run the server until it ends, or until stdin is closed. Returns its exit code."""
    with open(settings["log"], "ab", buffering=0) as log:
        try:
            server = subprocess.Popen(
                settings["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            program = settings["command"][0]
            log.write(f"cannot start '{program}': {error.strerror}\n".encode())
            return EXIT_NOT_STARTED
        signal.signal(signal.SIGTERM, _raise_exit)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the farm decides when to end
        try:
            sys.stdout.write(f"{server.pid}\n")
            sys.stdout.flush()
            while server.poll() is None and not _stdin_is_closed():
                pass
        finally:
            end_group(server, settings["grace_s"])
            run_stop_command(settings["stop_command"], log)
    code = server.returncode
    return 128 - code if code < 0 else code


def end_group(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the server and all processes that it has started, and wait for it."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        signal_group(server.pid, number)
        signal_group(server.pid, signal.SIGCONT)  # a stopped process does not handle SIGTERM
        until_s = time.monotonic() + (patience_s or 0.0)
        while patience_s is not None and time.monotonic() < until_s and _group_exists(server):
            time.sleep(0.02)
    server.wait()


def signal_group(process_id: int, number: int) -> None:
    """Send a signal to the process group of a process that leads it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, number)


def run_stop_command(command: Sequence[str], log: Any) -> None:
    """Run the command that ends what the server's end has not ended, such as a container."""
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_STOP_COMMAND_S
            )


def _group_exists(server: subprocess.Popen[bytes]) -> bool:
    server.poll()
    try:
        os.killpg(server.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stdin_is_closed() -> bool:
    """Whether the farm has closed its end of the pipe or is gone. Waits a moment for that."""
    readable, _, _ = select.select([sys.stdin], [], [], _POLL_S)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _raise_exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _die_with_parent() -> None:
    """Runs in the server's process: kill it if this script is killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
