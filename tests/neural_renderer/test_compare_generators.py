"""benchmarks/compare_generators.py: equal time and cost, resumed runs, several processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from street_photos import write_pair

from benchmarks.compare_generators import (
    KINDS,
    StepLog,
    compare,
    equal_costs_gmac,
    options,
    try_lock,
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
    evaluation = {"size_px": [64, 32], "sources": [SOURCE], "styles": [SOURCE], "video_frames": 0}
    (folder / "evaluate.yaml").write_text(yaml.safe_dump(evaluation))
    return folder


def arguments(data: Path, out: Path, minutes: float) -> list[str]:
    return [
        "--data", str(data), "--out", str(out), "--minutes", str(minutes), "--seeds", "1",
        "--train", str(data / "train.yaml"), "--evaluate", str(data / "evaluate.yaml"),
        "--clock", "cpu",
    ]  # fmt: skip


def test_all_kinds_cost_about_the_same() -> None:
    costs = equal_costs_gmac(KINDS, "small")
    assert set(costs) == {"few-shot", "spade", "plain"}
    assert max(costs.values()) < 1.1 * min(costs.values())


class Ticks:
    """A clock that advances by one second whenever it is read."""

    now = 100.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_only_time_between_steps_that_were_kept_counts(tmp_path: Path) -> None:
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


def test_only_one_process_at_a_time_locks_a_run(tmp_path: Path) -> None:
    with (
        try_lock(tmp_path / "run" / "lock") as first,
        try_lock(tmp_path / "run" / "lock") as second,
    ):
        assert first
        assert not second
    with try_lock(tmp_path / "run" / "lock") as free:
        assert free


@pytest.mark.slow
def test_all_kinds_are_trained_for_their_minutes_and_evaluated_once(
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


def test_dry_run_lists_the_runs_and_makes_none(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = compare(options([*arguments(data, tmp_path / "runs", 20.0), "--dry-run"]))
    assert text.count("20 min") == 3
    assert "GMAC per frame" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
