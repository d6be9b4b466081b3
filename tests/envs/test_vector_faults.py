"""Vectors whose worlds or renderer die, hang, are lost or have bugs; and every way to exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from gymnasium.vector import AutoresetMode
from vector_envs import (
    STRAIGHT_ON,
    WatchedRenderer,
    assert_same,
    broken_env,
    dying_env,
    faulty_env,
    lasting_env,
    process_ids,
)

from sim2street.bridge.errors import RendererError, WorldLost
from sim2street.bridge.palette import PaletteRenderer
from sim2street.envs.vector.env import DrivingVectorEnv
from sim2street.envs.vector.worker import VectorDeadlines

SOON_S = 60.0
ON = np.tile(STRAIGHT_ON, (3, 1))
TESTS = Path(__file__).parents[1]

SCRIPT = """
import sys, time
import numpy as np
from vector_envs import lasting_env, process_ids
from sim2street.bridge.palette import PaletteRenderer
from sim2street.envs.vector.env import DrivingVectorEnv

if __name__ == "__main__":
    vector = DrivingVectorEnv(lasting_env, 2, PaletteRenderer())
    vector.reset(seed=0)
    print(*process_ids(vector), flush=True)
    if sys.argv[1] == "leave":
        sys.exit(0)
    while True:
        vector.step(np.zeros((2, 2), np.float32))
"""


def drive_until_back(vector: DrivingVectorEnv, index: int) -> list[tuple]:
    """Results of the steps from the first truncated one to the first that is not truncated."""
    results: list[tuple] = []
    end_s = time.monotonic() + SOON_S
    while time.monotonic() < end_s:
        result = vector.step(ON)
        truncated = bool(result[3][index])
        if results or truncated:
            results.append(result)
        if results and not truncated:
            return results
    raise AssertionError(f"env {index} did not come back: {results[-1][4] if results else None}")


@pytest.mark.parametrize(
    "mode",
    [
        AutoresetMode.NEXT_STEP,
        pytest.param(AutoresetMode.SAME_STEP, marks=pytest.mark.slow),
        pytest.param(AutoresetMode.DISABLED, marks=pytest.mark.slow),
    ],
    ids=lambda mode: mode.name,
)
def test_a_killed_process_is_replaced_while_the_others_continue(mode) -> None:
    renderer = WatchedRenderer()
    vector = DrivingVectorEnv(lasting_env, 3, renderer, mode)
    vector.reset(seed=7, options={"goal_m": 1e6})
    before, *_ = vector.step(ON)
    open_files = psutil.Process().num_fds()
    victim = process_ids(vector)[1]
    os.kill(victim, signal.SIGKILL)
    if mode is AutoresetMode.DISABLED:
        lost, _, _, truncated, info = vector.step(ON)
        assert truncated.tolist() == [False, True, False]
        back, info_back = vector.reset(options={"reset_mask": truncated})
        assert back["state"][0].tolist() == lost["state"][0].tolist()
        assert info_back["tick"].tolist() == [0, 0, 0]
    else:
        results = drive_until_back(vector, 1)
        lost, rewards, terminated, truncated, info = results[0]
        assert (rewards[1], terminated[1], truncated[1]) == (0.0, False, True)
        assert all(results[i][4]["tick"][0] == 2 + i for i in range(len(results)))
        assert not any(result[3][[0, 2]].any() for result in results)
        if mode is AutoresetMode.SAME_STEP:
            assert_same(results[0][4]["final_obs"][1]["image"], before["image"][1])
            assert results[-1][4]["tick"][1] == 1
        else:
            assert results[-1][4]["tick"][1] == 0
    assert mode is AutoresetMode.SAME_STEP or "killed by SIGKILL" in info["error"][1]
    for key, array in lost.items():
        assert np.array_equal(array[1], before[key][1])
    assert process_ids(vector)[1] != victim
    assert not psutil.pid_exists(victim)
    assert len(renderer.opened) - len(renderer.closed) == 3
    assert psutil.Process().num_fds() == open_files
    assert vector.step(ON)[4]["tick"][0] > 2
    vector.close()


@pytest.mark.slow
def test_a_hanging_world_is_replaced_after_its_deadline(tmp_path: Path) -> None:
    deadlines = VectorDeadlines(step_s=20.0)  # long enough for a busy machine
    make = partial(faulty_env, tmp_path / "once", "hangs")
    vector = DrivingVectorEnv(make, 3, PaletteRenderer(), deadlines=deadlines)
    vector.reset(seed=0)
    results = drive_until_back(vector, 1)
    assert "deadline" in results[0][4]["error"][1]
    assert results[0][4]["ending"][1] == "lost"
    assert results[-1][4]["_seed"][1]
    vector.close()


@pytest.mark.slow
def test_the_seed_of_a_replacement_is_reproducible(tmp_path: Path) -> None:
    """If the same process dies at the same step, its successor gets the same seed."""
    seeds = []
    for name in ("first", "second"):
        make = partial(faulty_env, tmp_path / name, "dies")
        vector = DrivingVectorEnv(make, 3, PaletteRenderer())
        vector.reset(seed=3)
        seeds.append(drive_until_back(vector, 1)[-1][4]["seed"][1])
        vector.close()
    assert seeds[0] == seeds[1]


def test_a_bug_in_a_world_is_raised(tmp_path: Path) -> None:
    make = partial(faulty_env, tmp_path / "once", "has a bug")
    vector = DrivingVectorEnv(make, 3, PaletteRenderer())
    vector.reset(seed=0)
    for _ in range(2):
        vector.step(ON)
    with pytest.raises(ZeroDivisionError, match="a bug in the world") as caught:
        vector.step(ON)
    assert "vector_envs.py" in str(caught.value.__cause__)
    vector.reset(seed=0)
    assert vector.step(ON)[4]["tick"].tolist() == [1, 1, 1]
    vector.close()


def test_a_refused_view_fails_only_its_own_env() -> None:
    renderer = WatchedRenderer()
    deadlines = VectorDeadlines(recover_s=SOON_S)
    vector = DrivingVectorEnv(lasting_env, 3, renderer, deadlines=deadlines)
    vector.reset(seed=0)
    renderer.refuse_session = renderer.opened[1]
    with pytest.raises(RendererError, match="this view is refused"):
        vector.step(ON)
    renderer.refuse_session = None
    vector.reset(seed=0)
    renderer.lost = True
    *_, truncated, info = vector.step(ON)
    assert truncated.all()
    assert "the renderer is gone" in info["error"][2]
    assert vector.render() == (None, None, None)
    renderer.lost = False
    *_, truncated, info = vector.step(ON)
    assert not truncated.any()
    assert info["tick"].tolist() == [0, 0, 0]
    vector.close()


def test_envs_that_cannot_be_made_leave_no_process() -> None:
    with pytest.raises(RendererError, match="sizes do not fit"):
        DrivingVectorEnv(broken_env, 2, PaletteRenderer())
    with pytest.raises(WorldLost, match=r"exited with code 3 before it was ready.*__main__"):
        DrivingVectorEnv(dying_env, 2, PaletteRenderer())
    ours = [
        p for p in psutil.Process().children(recursive=True) if "spawn_main" in str(p.cmdline())
    ]
    assert not ours


@pytest.mark.parametrize(
    "way",
    ["SIGINT", "SIGKILL", *(pytest.param(w, marks=pytest.mark.slow) for w in ("leave", "SIGTERM"))],
)
def test_no_process_survives_any_exit(way: str, tmp_path: Path) -> None:
    script = tmp_path / "drive.py"
    script.write_text(SCRIPT)
    path = f"{TESTS.parent}:{TESTS}:{TESTS / 'envs'}"
    with subprocess.Popen(
        [sys.executable, str(script), way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        if way != "leave":
            time.sleep(0.2)
            process.send_signal(getattr(signal, way))
        _, errors = process.communicate(timeout=SOON_S)
    assert len(pids) == 2, errors
    assert (process.returncode == 0) == (way == "leave")
    end_s = time.monotonic() + SOON_S
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids))
    assert ("KeyboardInterrupt" in errors) == (way == "SIGINT")
    assert errors.count("Traceback") == (way == "SIGINT")
    assert "leaked" not in errors
