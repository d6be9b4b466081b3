"""`sim2street carla-standin` serves until it is told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("msgpack")
pytest.importorskip("panda3d")

from sim2street.bridge.carla.standin.process import call


def test_it_listens_answers_and_ends_cleanly() -> None:
    command = [
        sys.executable,
        "-m",
        "sim2street.apps.cli",
        "carla-standin",
        "--port",
        "0",
        "--town",
        "3",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens on port" in line
        port = int(line.split("port ")[1].split()[0])
        assert call(port, "version") == [[1, "0.9.16"]]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert errors == ""
    finally:
        process.kill()
        process.communicate()
