"""A supervised process is restarted when it dies, and ends when it is told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.processes import SERVE_SCRIPT

from sim2street.bridge.transport import supervise

ROOT = Path(__file__).parents[2]


def python(body: str) -> list[str]:
    return [sys.executable, "-c", body]


def test_a_process_is_restarted_until_it_ends_well(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    body = (
        f"import os, pathlib, signal; p = pathlib.Path({str(lives)!r})\n"
        "p.write_text(p.read_text() + 'x' if p.exists() else 'x')\n"
        "n = len(p.read_text())\n"
        "os.kill(os.getpid(), signal.SIGKILL) if n == 1 else None\n"
        "raise SystemExit(3 if n == 2 else 0)\n"
    )
    restarts: list[tuple[int, int, float]] = []
    stop = threading.Event()
    code = supervise(python(body), stop, lambda *a: restarts.append(a), first_pause_s=0.01)
    assert code == 0
    assert lives.read_text() == "xxx"
    assert restarts == [(-signal.SIGKILL, 1, 0.01), (3, 2, 0.02)]


def test_a_mistake_in_the_command_ends_the_supervision() -> None:
    assert supervise(python("raise SystemExit(2)"), threading.Event()) == 2
    with pytest.raises(OSError, match="no/such/program"):
        supervise(["/no/such/program"], threading.Event())


def test_the_stop_event_ends_the_process() -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started_s = time.monotonic()
    assert supervise(python("import time; time.sleep(60)"), stop) == 0
    assert time.monotonic() - started_s < 30.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_supervisor_ends_the_server_too(number: int, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/renderer"
    code = (
        "import sys; from sim2street.bridge.transport import supervise\n"
        f"sys.exit(supervise([sys.executable, {str(SERVE_SCRIPT)!r}, 'renderer', {endpoint!r}]))"
    )
    paths = f"{ROOT}:{ROOT / 'tests'}"
    process = subprocess.Popen(
        python(code), env={"PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == endpoint.encode()
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, b"", b"")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_any_process_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleeper = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    command = python(f"{sleeper}; time.sleep(60)")
    code = f"from sim2street.bridge.transport import supervise; supervise({command!r})"
    assert_ends_with_supervisor(python(code), pid)


def test_a_server_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    """Without the help of Linux, by looking at its parent."""
    pid = tmp_path / "pid"
    server = (
        "import os, pathlib, sys, time, signal\n"
        "from sim2street.bridge.transport import end_with_supervisor, stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    end_with_supervisor()\n"
        f"    pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "    stop.wait(60)\n"
    )
    code = (
        "import sys; from sim2street.bridge.transport import supervise; sys.platform = 'any'\n"
        f"supervise({python(server)!r})"
    )
    assert_ends_with_supervisor(python(code), pid)


def assert_ends_with_supervisor(supervisor: list[str], pid: Path) -> None:
    """Start the supervisor, kill it once its child has written its process id, await the end."""
    with subprocess.Popen(supervisor, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}) as process:
        until_s = time.monotonic() + 30.0
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < until_s
            time.sleep(0.02)
        process.kill()
    child = int(pid.read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until_s
        time.sleep(0.02)
