"""The benchmark's views are exact, its turns are fair, its table is printed."""

from __future__ import annotations

import time

import numpy as np
import torch

from sim2street.apps.cli import run
from sim2street.bridge.frame import Camera
from sim2street.bridge.geometry import motion, visible_before
from sim2street.neural_renderer.evaluation.timing import (
    FRAMES_PER_TURN,
    Timing,
    street_view,
    time_in_turns,
)


def test_the_street_that_is_driven_along_is_exact() -> None:
    camera = Camera.from_fov(128, 64, 62.0)
    before, after = street_view(camera, 3), street_view(camera, 4)
    after.validate()
    moved = motion(after, before)
    seen = visible_before(moved, after, before)
    assert seen.mean() > 0.85
    assert np.isin(after.labels, (1, 2, 3, 11)).all()
    assert len(np.unique(after.labels)) == 4


def test_contestants_take_turns() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.01)

    timings = time_in_turns({"slow": slow, "fast": lambda: order.append("fast")}, turns=2)
    assert order[: 2 * FRAMES_PER_TURN] == ["slow"] * FRAMES_PER_TURN + ["fast"] * FRAMES_PER_TURN
    assert timings["slow"].frames == 2 * FRAMES_PER_TURN  # the first turn warms up
    assert timings["slow"].median_s > 0.009 > timings["fast"].median_s
    assert len(timings["slow"].turns_s) == 2
    assert timings["fast"].speedup_over(timings["slow"]) > 2.0


def test_a_ratio_is_taken_turn_by_turn() -> None:
    """The machine was busy in the second turn, and both felt it."""
    quick = Timing(0.0, 0.0, 12, (1.0, 10.0, 1.0))
    slow = Timing(0.0, 0.0, 12, (3.0, 30.0, 3.0))
    assert quick.speedup_over(slow) == 3.0


def test_the_table_names_all_and_their_conditions(capsys) -> None:
    threads = torch.get_num_threads()
    try:
        arguments = ["--size", "64x32", "--turns", "1", "--threads", "1", "--device", "cpu"]
        assert run(["bench", "renderer", "--sizes", "tiny", *arguments]) == 0
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    for name in ("tiny, float32", "tiny, bfloat16", "U-Net of 15 GMAC, bfloat16"):
        assert name in shown
    assert "x U-Net" in shown
    assert "64x32, cpu, 1 threads, 4 frames each" in shown
    assert run(["bench", "renderer", "--sizes", "tny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
