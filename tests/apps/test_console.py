"""Output of the commands: shares of the time, lines of progress, help that is up to date."""

from __future__ import annotations

import io
import time
from importlib import resources

import pytest
from rich.console import Console

from sim2street.apps import console
from sim2street.apps.cli import run
from sim2street.apps.commands import demo as demo_command
from sim2street.bridge.driver import driver_for
from sim2street.bridge.frame import SensorFrame
from sim2street.bridge.recording import ReplayWorld
from sim2street.bridge.town.world import TownConfig, TownWorld


def shares(stages: dict[str, list[float]], wall_s: float, first_s: float) -> dict[str, str]:
    text = io.StringIO()
    Console(file=text, width=80).print(console.stage_table(stages, wall_s, first_s))
    rows = [line.split() for line in text.getvalue().splitlines()]
    return {row[0]: row[-1] for row in rows if row and row[0] in stages}


def test_shares_of_one_frame_are_shares_of_its_time() -> None:
    assert shares({"world": [1.53], "film": [0.01]}, 0.01, 1.99) == {"world": "76%", "film": "0%"}


def test_shares_leave_the_first_frame_out() -> None:
    stages = {"world": [9.0, 0.2, 0.2], "film": [1.0, 0.1, 0.1]}
    assert shares(stages, 1.0, 10.0) == {"world": "40%", "film": "20%"}
    assert shares({"world": []}, 1.0, 1.0) == {}


def test_a_short_demo_has_no_share_above_all_of_it(served_world, tmp_path, capsys) -> None:
    for ticks in ("1", "2"):
        arguments = ["demo", "-w", served_world, "-r", "palette", "--ticks", ticks]
        assert run([*arguments, "-o", str(tmp_path / ticks)]) == 0
        words = capsys.readouterr().out.split()
        found = [int(word.removesuffix("%")) for word in words if word[:-1].isdigit()]
        assert all(share <= 110 for share in found), words


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text))
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.05)
    with console.progress() as bar:
        task = bar.add_task("training", total=8)
        hidden = bar.add_task("hidden", total=2, visible=False)
        for _ in range(4):
            bar.advance(task)
            bar.advance(hidden)
            time.sleep(0.05)
        bar.reset(task, description="reading", total=None)
        time.sleep(0.12)
    lines = text.getvalue().splitlines()
    assert any(line.startswith("training: ") and " of 8 (" in line for line in lines), lines
    assert any(line.startswith("reading: 0") for line in lines)
    assert "hidden" not in text.getvalue()
    assert len(lines) < 10
    time.sleep(0.1)
    assert text.getvalue().splitlines() == lines


def test_a_terminal_gets_a_bar(monkeypatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text, force_terminal=True))
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.01)
    with console.progress() as bar:
        bar.add_task("training", total=8)
        time.sleep(0.05)
    assert "training: 0 of 8" not in text.getvalue()
    assert "0/8" in text.getvalue()


def test_the_help_of_train_names_all_configs(capsys) -> None:
    assert run(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for file in resources.files("sim2street.configs").joinpath("train").iterdir():
        name = file.name.removesuffix(".yaml")
        assert name == "distil" or f"{name}," in shown, name


class NoSensors(TownWorld):
    """The town without images."""

    def open(self, sensors: bool = True) -> None:
        super().open(sensors=False)


def driven_town(monkeypatch, capsys, *options: str) -> tuple[int, list[SensorFrame], str]:
    """Exit code of `demo`, the frames that it would have filmed, and what it said on stderr."""
    frames: list[SensorFrame] = []

    def drive(world, ticks, seed, given):
        driver = driver_for(world)
        frames.append(world.reset(seed, given))
        frames.extend(world.step(driver(frames[-1])) for _ in range(ticks - 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_command, "driven", drive)
    monkeypatch.setattr(
        "sim2street.apps.compose.WORLDS", {"town": lambda _data, _name: NoSensors(TownConfig())}
    )
    code = run(["demo", "-r", "palette", "--ticks", "1", "--seed", "4", *options])
    return code, frames, capsys.readouterr().err


def test_demo_takes_a_town_its_weather_and_its_traffic(monkeypatch, capsys) -> None:
    code, [plain], _ = driven_town(monkeypatch, capsys, "--town", "5")
    assert code == 130
    _, [wet], _ = driven_town(monkeypatch, capsys, "--town", "5", "--weather", "rain")
    _, [empty], _ = driven_town(monkeypatch, capsys, "--town", "5", "--traffic", "0")
    _, [other], _ = driven_town(monkeypatch, capsys, "--town", "6")
    assert wet.weather.rain > 0.3
    assert any(any(actor.velocity_mps) for actor in plain.actors)
    assert not any(any(actor.velocity_mps) for actor in empty.actors)
    assert (plain.ego.pose == wet.ego.pose).all()
    assert not (plain.ego.pose == other.ego.pose).all()
    code, _, said = driven_town(monkeypatch, capsys, "--weather", "soup")
    assert code == 2
    assert "soup" in said


@pytest.mark.parametrize("command", ["demo", "record"])
@pytest.mark.parametrize("option", ["--town=3", "--weather=rain", "--traffic=2"])
def test_a_world_without_such_an_option_says_so(
    command, option, tmp_path, monkeypatch, capsys
) -> None:
    file = tmp_path / "drive.mcap"
    monkeypatch.setattr(ReplayWorld, "open", lambda self, sensors=True: None)
    target = [str(tmp_path / "new.mcap")] if command == "record" else ["-o", str(tmp_path / "out")]
    assert run([command, *target, "-w", str(file), option]) == 2
    said = capsys.readouterr().err
    assert f"{option.split('=')[0]}: this world's episodes have no option" in said
    assert list(tmp_path.iterdir()) == []
