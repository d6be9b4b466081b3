"""The comparison of kinds: equal minutes and cost, resumed, shared by two processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from street_photos import write_pair

from benchmarks.compare_generators import (
    KINDS,
    StepLog,
    checked_costs,
    claimed,
    compare,
    options,
)

SOURCE = {"name": "street", "root": "street", "layout": "camvid"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("compare")
    for drive, frame in (("a", 0), ("a", 100), ("b", 0), ("b", 100)):
        write_pair(folder / "street" / "train", f"{drive}_{frame}", frame)
    phase = {"steps": 4, "size_px": [64, 32], "batch_size": 1, "mix": {"street": 1.0}}
    train = {"size": "tiny", "sources": [SOURCE], "phases": [phase]}
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    looked_at = {"size_px": [64, 32], "sources": [SOURCE], "styles": [SOURCE], "video_frames": 0}
    (folder / "evaluate.yaml").write_text(yaml.safe_dump(looked_at))
    return folder


def arguments(data: Path, out: Path, minutes: float) -> list[str]:
    return [
        "--data", str(data), "--out", str(out), "--minutes", str(minutes), "--seeds", "1",
        "--train", str(data / "train.yaml"), "--evaluate", str(data / "evaluate.yaml"),
        "--clock", "cpu",
    ]  # fmt: skip


def test_kinds_that_are_compared_cost_the_same() -> None:
    costs = checked_costs(KINDS, "small")
    assert set(costs) == {"few-shot", "spade", "plain"}
    assert max(costs.values()) < 1.1 * min(costs.values())


class Ticks:
    """A clock that moves on by one second whenever it is read."""

    now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_seconds_are_those_between_steps_of_the_run_as_it_was_kept(tmp_path: Path) -> None:
    clock = Ticks()
    log = StepLog(tmp_path / "seconds.txt", clock)
    for step in (1, 2, 3, 4):
        log.record(step)
    assert (log.steps, log.spent_s) == (4, 3.0)  # the first step had nothing before it
    clock.now += 1000.0  # killed; the state kept was that of step 2
    again = StepLog(tmp_path / "seconds.txt", clock)
    assert (again.steps, again.spent_s) == (4, 3.0)
    again.record(3)
    assert again.steps == 3
    assert 1.0 <= again.spent_s <= 2.0  # not the pause
    again.record(4)
    assert StepLog(tmp_path / "seconds.txt", clock).steps == 4


def test_a_run_is_one_process_s(tmp_path: Path) -> None:
    with claimed(tmp_path / "run" / "lock") as first, claimed(tmp_path / "run" / "lock") as second:
        assert first
        assert not second
    with claimed(tmp_path / "run" / "lock") as free:
        assert free


@pytest.mark.slow
def test_all_kinds_are_trained_for_their_minutes_measured_and_not_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options(arguments(data, tmp_path / "runs", 0.02))
    text = compare(chosen)
    capsys.readouterr()
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == ["kind", *KINDS]
    for kind in KINDS:
        folder = tmp_path / "runs" / f"{kind}-1"
        scores = json.loads((folder / "scores.json").read_text())
        assert scores["weights"]["kind"] == kind
        assert (folder / "sheet.png").is_file()
        log = StepLog(folder / "seconds.txt", Ticks())
        assert log.steps >= 24
        assert log.steps == scores["weights"]["step"]
        assert log.spent_s >= 0.6 * 1.2
    written = (tmp_path / "runs" / "plain-1" / "scores.json").stat().st_mtime_ns
    assert compare(chosen) == text
    assert (tmp_path / "runs" / "plain-1" / "scores.json").stat().st_mtime_ns == written


def test_dry_run_names_runs_and_makes_none(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = compare(options([*arguments(data, tmp_path / "runs", 20.0), "--dry-run"]))
    assert text.count("20 min") == 3
    assert "GMAC a frame" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
