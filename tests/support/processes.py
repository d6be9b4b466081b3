"""Server processes that tests kill, freeze and restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim2street.bridge.closing import Closing

SERVE_SCRIPT = Path(__file__).with_name("serve.py")
TESTS = Path(__file__).parents[1]
END_TIMEOUT_S = 60.0


class ServerProcess(Closing):
    """`support/serve.py` as a process. A restart uses the same endpoint again."""

    def __init__(
        self,
        role: str,
        endpoint: str = "tcp://127.0.0.1:0",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.role = role
        self.settings = dict(settings or {})
        self.endpoint = endpoint
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start the process and wait until it serves."""
        arguments = [sys.executable, str(SERVE_SCRIPT), self.role, self.endpoint]
        self.process = subprocess.Popen(
            [*arguments, json.dumps(self.settings, default=str)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            _, errors = self.process.communicate(timeout=END_TIMEOUT_S)
            raise AssertionError(f"the server did not start: {errors}")
        self.endpoint = line

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.signal(signal.SIGKILL)
        self.end()

    def restart(self) -> None:
        """Kill the process and start another one at the same endpoint."""
        self.kill()
        self.start()

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was written to stderr."""
        assert self.process is not None
        _, errors = self.process.communicate(timeout=END_TIMEOUT_S)
        return self.process.returncode, errors

    def close(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
        self.process.communicate(timeout=END_TIMEOUT_S)
