"""What a run writes and reads: stopping on request, damaged states, permissions, pictures."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_disk import small_disk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import tiny_config, write_photos

from sim2street.neural_renderer.checkpoint import CheckpointError, load_generator
from sim2street.neural_renderer.training.optimise import TrainingStopped, check_health
from sim2street.neural_renderer.training.state import build_state, save_state
from sim2street.neural_renderer.training.trainer import (
    EXPORT_FILE,
    STATE_FILE,
    Progress,
    train,
)
from sim2street.neural_renderer.training.transfer import read_weights, start_from, write_seed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "made")


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder: Path = tmp_path_factory.mktemp("runs") / "first"
    train(tiny_config(photos), folder, CPU)
    return folder


def test_a_run_that_is_asked_to_stop_saves_and_continues_exactly(
    photos: Path, tmp_path: Path, run: Path
) -> None:
    reported: list[Progress] = []
    state = train(
        tiny_config(photos), tmp_path / "a", CPU,
        report=reported.append, should_stop=lambda: len(reported) == 3,
    )  # fmt: skip
    assert (state.step, len(reported)) == (3, 3)
    assert load_generator(tmp_path / "a" / EXPORT_FILE)[1].step == 3
    resumed = train(tiny_config(photos), tmp_path / "a", CPU)
    whole = read_weights(run / STATE_FILE).tensors
    for name, module in resumed.modules().items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, whole[f"{name}.{key}"]), f"{name}.{key}"


def test_files_of_a_run_can_be_read_by_others(run: Path, tmp_path: Path) -> None:
    seed = write_seed(run / STATE_FILE, tmp_path / "seed")
    for path in (run / STATE_FILE, run / EXPORT_FILE, *seed):
        assert path.stat().st_mode & 0o044 == 0o044, path
    assert not list(run.glob("*.part"))


def test_sample_sheets_are_pictures_in_tensorboard(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard"), {"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("samples")] == [2, 4]
    with Image.open(run / "samples" / "step_000004.png") as sheet:
        expected = np.array(sheet)
    (run / "shown.png").write_bytes(events.Images("samples")[1].encoded_image_string)
    with Image.open(run / "shown.png") as shown:
        np.testing.assert_array_equal(np.array(shown), expected)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "it is empty"),
        (lambda data: data[: len(data) // 2], "it is cut off"),
        (lambda data: data[:-30], "it is cut off"),
        (lambda data: b"step: 4\n" * 100, "it is a text file"),
        (lambda data: bytes(range(256)) * 16, "it is damaged"),
        (None, "it is a folder"),
        ("weights", "it is a safetensors file"),
    ],
)
def test_a_damaged_state_is_explained(photos, run, tmp_path, damage, reason) -> None:
    path = tmp_path / STATE_FILE
    if damage is None:
        path.mkdir()
    elif damage == "weights":
        shutil.copy(run / EXPORT_FILE, path)
    else:
        path.write_bytes(damage((run / STATE_FILE).read_bytes()))
    uses = [
        lambda: train(tiny_config(photos), tmp_path, CPU),
        lambda: start_from(build_state(tiny_config(photos), CPU), path),
        lambda: write_seed(path, tmp_path / "seed"),
    ]
    for use in uses[:1] if damage is None else uses:  # other uses take a folder for a seed
        with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
            use()
        assert reason in str(caught.value)
        assert len(str(caught.value)) < 500


def test_a_state_of_other_networks_is_explained(photos, run, tmp_path) -> None:
    for changes, reason in (
        ({"size": "small"}, "size: tiny, this one size: small"),
        ({"kind": "spade"}, "kind: few-shot, this one kind: spade"),
    ):
        with pytest.raises(CheckpointError, match=f"other networks .*{reason}.*--init-from"):
            train(tiny_config(photos, **changes), run, CPU)
    with pytest.raises(CheckpointError, match=r"name the state\.pt"):
        train(tiny_config(photos), tmp_path / "new", CPU, init_from=run)


def test_weights_of_another_size_are_pointed_out(photos, run) -> None:
    transfer = start_from(build_state(tiny_config(photos, size="small"), CPU), run / EXPORT_FILE)
    assert any("weights of another size or kind?" in line for line in transfer.lines())
    same = start_from(build_state(tiny_config(photos), CPU), run / EXPORT_FILE)
    assert not any("another size" in line for line in same.lines())


def test_a_full_disk_keeps_the_state_saved_before(photos, tmp_path) -> None:
    config = tiny_config(photos)
    state = build_state(config, CPU)
    save_state(state, config, tmp_path / STATE_FILE)
    before = (tmp_path / STATE_FILE).read_bytes()
    with small_disk(100_000), pytest.raises(CheckpointError, match=r"cannot write .*state\.pt"):
        save_state(state, config, tmp_path / STATE_FILE)
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_a_state_that_was_never_saved_is_not_recommended(photos, tmp_path) -> None:
    state = build_state(tiny_config(photos), CPU)
    terms, image = {"g": torch.tensor(torch.nan)}, torch.rand(1, 3, 32, 64)
    with pytest.raises(TrainingStopped, match=r"There is no .*state\.pt yet: start again"):
        check_health(state, terms, image, tmp_path / STATE_FILE)
    (tmp_path / STATE_FILE).write_bytes(b"saved")
    with pytest.raises(TrainingStopped, match=r"The last good state is .*state\.pt"):
        check_health(state, terms, image, tmp_path / STATE_FILE)
