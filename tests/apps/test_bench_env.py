"""`sim2street bench env`: fair turns, honest stages, a table that says what is missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sim2street.apps.cli import run
from sim2street.apps.env_timing import STAGES, lane_keeping_action, stage_shares, time_in_turns
from sim2street.envs.state import STATE_FIELDS

SMALL_TOWN = """
world: town_short
observation: {keys: [image, state]}
world_settings:
  vehicles: 2
  pedestrians: 2
  layout: {graph: {columns: [3, 3], rows: [3, 3], turn_deg: 10.0, shift_m: 3.0}}
"""


class FakeEnv:
    """Says that it took a known time per step, twice as long in its first turn, the warm-up."""

    def __init__(self, name: str, step_s: float, order: list[str]) -> None:
        self._name, self._step_s, self._order = name, step_s, order
        self._spent_s = 0.0

    def run(self, steps: int) -> tuple[int, float]:
        warming_up = self._name not in self._order
        self._order.append(self._name)
        seconds = steps * self._step_s * (2.0 if warming_up else 1.0)
        self._spent_s += seconds
        return 2 * steps, seconds

    def stage_seconds(self) -> Mapping[str, float]:
        return {"simulate": self._spent_s, "render": 3 * self._spent_s}


def test_contestants_take_turns_and_the_first_one_does_not_count() -> None:
    order: list[str] = []
    contestants = {"a": FakeEnv("a", 0.002, order), "b": FakeEnv("b", 0.001, order)}
    measured = time_in_turns(contestants, turns=2, steps=5)
    assert order == ["a", "b"] * 3
    assert measured["a"].rates == pytest.approx([1000.0, 1000.0])
    assert measured["b"].median == measured["b"].best == pytest.approx(2000.0)
    assert measured["a"].stages == pytest.approx({"simulate": 0.001, "render": 0.003})
    render = stage_shares(measured["a"].stages)[1]
    assert render == ("render", pytest.approx(0.003), pytest.approx(0.75))


def test_the_driver_steers_back_to_its_lane() -> None:
    names = list(STATE_FIELDS)
    state = np.zeros((2, len(names)), np.float32)
    state[0, names.index("lane offset / 2 m")] = 0.5  # left of its lane
    state[1, names.index("speed / 20 m/s")] = 0.5  # too fast
    steer, accel = lane_keeping_action(state).T
    assert steer[0] > 0.0 == steer[1]
    assert accel[0] > 0.0 > accel[1]


@pytest.mark.slow
def test_the_tables_name_all_contestants_stages_and_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(SMALL_TOWN)
    monkeypatch.setitem(sys.modules, "highway_env", None)  # as if it were not installed
    arguments = ["-n", "2", "--renderers", "palette", "--size", "64x32"]
    short = ["--turns", "1", "--steps", "2"]
    assert run(["bench", "env", "--config", str(config), *arguments, *short]) == 0
    shown = capsys.readouterr().out
    for text in ("single, palette", "vector of 2, palette", "over single, palette", *STAGES):
        assert text in shown
    assert "highway_env is not installed" in shown
    assert "64x32" in shown
    assert run(["bench", "env", "--size", "big"]) == 2
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err


def test_highway_env_is_timed_where_it_is_installed() -> None:
    pytest.importorskip("highway_env", reason="the extra 'highway' is not installed")
    import subprocess

    code = (
        "from contextlib import ExitStack\n"
        "from sim2street.apps.env_timing import highway_env\n"
        "with ExitStack() as stack:\n"
        "    env = highway_env((96, 48), stack)\n"
        "    picture = env._env.step(1)[0]\n"
        "    assert picture.shape == (48, 96, 3), picture.shape\n"
        "    assert picture.std() > 1.0\n"
        "    assert env.run(2)[0] == 2\n"
    )  # in a process of its own: pygame warns, and keeps a display
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
