"""The learning benchmark: statistics of hand-made episodes, and short runs of every script."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks.learning import evaluate, imitation, recipe, report  # noqa: E402
from benchmarks.learning.measure import STATISTICS, Episode, summary  # noqa: E402

ROOT = Path(__file__).parents[2]
WORLD = {"tick_s": 0.2, "vehicles": 2, "pedestrians": 0}


def episode(ending: str, metres: float, run: int = 0, red_stops: int = 0) -> Episode:
    success = ending == "goal"
    return Episode(run, 0, 0, 10.0 * success, 5.0, metres, ending, success, red_stops, 0.2)


def test_statistics_of_three_episodes() -> None:
    rows = [episode("goal", 600.0, red_stops=3), episode("collision", 300.0)]
    rows += [episode("ran_red_light", 100.0)]
    assert STATISTICS["collisions_per_km"](rows) == pytest.approx(1.0)
    assert STATISTICS["off_lane_per_km"](rows) == 0.0
    assert STATISTICS["red_lights_run_share"](rows) == pytest.approx(0.25)
    assert STATISTICS["success"](rows) == pytest.approx(1 / 3)
    made = summary(rows, resamples=200)
    assert made["km"]["value"] == 1.0
    assert made["success"]["low"] <= made["success"]["value"] <= made["success"]["high"]


def test_the_share_of_red_lights_run_is_missing_without_lights() -> None:
    assert summary([episode("goal", 10.0)], resamples=10)["red_lights_run_share"]["value"] is None


def test_intervals_are_wider_if_runs_differ() -> None:
    """Ten episodes each of a good and a bad run are less certain than twenty of one run."""
    mixed = [episode("goal", 1.0, run=0)] * 10 + [episode("collision", 1.0, run=1)] * 10
    one = [episode(row.ending, 1.0) for row in mixed]
    width = [s["success"]["high"] - s["success"]["low"] for s in map(summary, (mixed, one))]
    assert width[0] == 1.0
    assert width[1] < 0.6


def test_all_baselines_are_evaluated_into_a_table(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    settings = {"world_settings": WORLD, "task": {"time_limit_s": 4.0}}
    command = ["--episodes", "1", "--towns", "1", "--out", str(out)]
    command += ["--env-settings", json.dumps(settings), "--drivers"]
    evaluate.main([*command, "random", "autopilot"])
    evaluate.main([*command, "rules"])
    with pytest.raises(SystemExit, match="other settings"):
        evaluate.main(["--towns", "2", "--episodes", "0", "--out", str(out)])
    results = json.loads(out.read_text())
    assert set(results["splits"]) == {"train", "test"}
    for split, by_driver in results["splits"].items():
        assert set(by_driver) == {"random", "autopilot", "rules"}
        (row,) = by_driver["rules"]["episodes"]
        assert row["town"] == evaluate.SPLITS[split]
        assert row["ending"] == "time_limit"
    table = report.table(results).splitlines()
    assert len(table) == 2 + 6
    assert table[2].startswith("| train | random |")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_recipe_writes_curves_and_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    before = tracked_results()
    short = ["--seeds", "1", "2", "--demonstration-steps", "300", "--ppo-steps", "2048"]
    recipe.main([*short, "--out", str(tmp_path), "--episodes", "1"])
    page = (tmp_path / "learning.md").read_text()
    for row in ("train | random", "test | autopilot", "train | taught", "test | PPO"):
        assert f"| {row} |" in page
    curves = json.loads((tmp_path / "results" / "curves.json").read_text())
    assert [config["seed"] for config in curves["configs"]] == [1, 2]
    assert (tmp_path / "learning_curves.png").exists()
    assert tracked_results() == before


def tracked_results() -> dict[Path, bytes]:
    """Path -> content of everything that `--publish` replaces."""
    files = [*(ROOT / recipe.RESULTS).glob("*.json"), ROOT / recipe.PNG, ROOT / recipe.PAGE]
    return {file: file.read_bytes() for file in files}


def test_no_script_replaces_tracked_results_unless_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defaults of all scripts lie below `out`, and the recipe writes below its `--out`."""
    monkeypatch.chdir(ROOT)
    written: list[Path] = []
    monkeypatch.setattr(recipe, "pretrain", lambda *_: [])
    monkeypatch.setattr(recipe, "train", lambda *_: [])
    monkeypatch.setattr(evaluate, "main", lambda told: written.append(path_after(told, "--out")))
    monkeypatch.setattr(
        report,
        "main",
        lambda told: written.extend(
            path_after(told, name)
            for name in ("--json", "--png", "--results", "--page")
            if name in told
        ),
    )
    recipe.main(["--out", str(tmp_path)])
    assert len(written) == 7
    assert all(path.is_relative_to(tmp_path) for path in written)
    written.clear()
    recipe.main(["--out", str(tmp_path), "--publish"])
    assert {recipe.RESULTS / "town_route.json", recipe.PNG, recipe.PAGE} <= set(written)
    sources = [Path(module.__file__).read_text() for module in (evaluate, imitation, report)]
    for source in sources:
        for default in re.findall(r'"--(?:out|json|png)".*default=Path\("([^"]*)"', source):
            assert default.startswith("out/"), default


def path_after(told: list[str], name: str) -> Path:
    return Path(told[told.index(name) + 1])


def test_the_tables_on_the_page_match_the_results() -> None:
    page = (ROOT / "docs" / "learning.md").read_text()
    assert page == report.with_tables(page, ROOT / "benchmarks" / "learning")
    for split in ("train", "test"):
        assert f"| {split} | PPO |" in page


def test_curves_are_means_over_bins_of_steps(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"step": s, "return": float(s), "length": 5, "ending": "goal"} for s in range(1, 401)]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "episodes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    curves = report.binned_curves([report.read_run(tmp_path / "run")])
    assert curves["return"][0][6] == pytest.approx(217, abs=2)
    assert set(curves["success"][0]) == {1.0}
    report.draw(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_an_image_rotated_left_asks_for_steering_right() -> None:
    """From a camera that is turned left, a straight road appears farther right."""
    images = torch.zeros(40, 3, 8, imitation.WIDTH_PX)
    images[..., 64] = 1.0
    extras, actions = torch.full((40, 4), 0.25), torch.zeros(40, 2)
    moved, wanted = imitation.rotate_views(
        images, extras, actions, torch.Generator().manual_seed(0)
    )
    shift = moved[:, 0, 0].argmax(1) - 64
    assert shift.abs().max() in range(5, 9)
    assert ((shift > 0) == (wanted[:, 0] > 0))[shift != 0].all()
    assert torch.equal(wanted[:, 1], actions[:, 1])


def test_the_imitator_takes_images_of_the_env() -> None:
    net = imitation.Imitator()
    made = net(torch.rand(2, 3, imitation.HEIGHT_PX, imitation.WIDTH_PX), torch.zeros(2, 4))
    assert made.shape == (2, 2)
