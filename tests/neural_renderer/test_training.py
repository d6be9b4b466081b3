"""The trainer on made-up photographs: resume, dry failures, losses that point the right way."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import tiny_config, write_photos

from configs import ConfigError, parse
from neural_renderer.checkpoint import CheckpointError, load_generator
from neural_renderer.networks.discriminators import Judgement
from neural_renderer.networks.generator import HISTORY_CHANNELS, Generator
from neural_renderer.training import losses
from neural_renderer.training.config import TrainConfig
from neural_renderer.training.state import build_state
from neural_renderer.training.trainer import (
    EXPORT_FILE,
    STATE_FILE,
    Progress,
    TrainingStopped,
    check_health,
    train,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "made")


def config(root: Path, clip_share: float = 0.0, **changes: object) -> TrainConfig:
    return tiny_config(root, {"clip_share": clip_share}, **changes)


@pytest.mark.parametrize("clip_share", [0.0, 0.5])
def test_two_steps_and_two_more_equal_four(photos: Path, tmp_path: Path, clip_share: float) -> None:
    run = config(photos, clip_share)
    train(run, tmp_path / "a", CPU, stop_at=2)
    resumed = train(run, tmp_path / "a", CPU)
    straight = train(run, tmp_path / "b", CPU)
    assert resumed.step == straight.step == 4
    for name, module in resumed.modules().items():
        other = straight.modules()[name].state_dict()
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, other[key]), f"{name}.{key}"


def test_a_history_that_is_only_blended_in_gets_no_map(photos: Path, tmp_path: Path) -> None:
    def largest(run: TrainConfig, folder: Path) -> float:
        state = train(run, folder, CPU)
        assert isinstance(state.generator, Generator)
        assert isinstance(state.ema, Generator)
        nets = (state.generator, state.ema)
        weights = [weight for net in nets for weight in net.history_weights()]
        return max(float(weight.detach()[:, -HISTORY_CHANNELS:].abs().max()) for weight in weights)

    assert largest(config(photos, 1.0), tmp_path / "with") > 0.0
    with_map = tmp_path / "with" / STATE_FILE
    held = config(photos, 1.0, history_map=False)
    (tmp_path / "held").mkdir()
    shutil.copy(with_map, tmp_path / "held")  # goes on from weights that have a map
    more = held.phases[0].model_copy(update={"steps": 6})
    assert largest(held.model_copy(update={"phases": (more,)}), tmp_path / "held") == 0.0


def test_batches_made_ahead_change_nothing(photos: Path, tmp_path: Path) -> None:
    here = train(config(photos, 0.5), tmp_path / "a", CPU, stop_at=3)
    ahead = train(config(photos, 0.5, workers=2), tmp_path / "b", CPU, stop_at=3)
    weights = ahead.generator.state_dict()
    for key, tensor in here.generator.state_dict().items():
        assert torch.equal(tensor, weights[key]), key


def test_a_run_writes_a_checkpoint_that_serves_and_a_sheet(photos: Path, tmp_path: Path) -> None:
    state = train(config(photos), tmp_path, CPU, stop_at=2)
    generator, info = load_generator(tmp_path / EXPORT_FILE)
    assert info.step == 2
    assert set(info.seen_tags) == {1, 3, 11, 14}
    averaged = state.ema.state_dict()
    for key, tensor in generator.state_dict().items():
        torch.testing.assert_close(tensor, averaged[key], atol=1e-3, rtol=1e-3)
    with Image.open(tmp_path / "samples" / "step_000002.png") as sheet:
        assert sheet.size == (4 * 64, 6 * 32)


def test_another_runs_state_is_refused(photos: Path, tmp_path: Path) -> None:
    train(config(photos), tmp_path, CPU, stop_at=1)
    with pytest.raises(CheckpointError, match="--init-from"):
        train(config(photos, size="small"), tmp_path, CPU)
    (tmp_path / STATE_FILE).write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(config(photos), tmp_path, CPU)


def test_two_runs_do_not_share_a_folder(photos: Path, tmp_path: Path) -> None:
    def begin_another(progress: Progress) -> None:
        with pytest.raises(ConfigError, match="another process trains in"):
            train(config(photos), tmp_path, CPU)

    assert train(config(photos), tmp_path, CPU, stop_at=1, report=begin_another).step == 1
    assert train(config(photos), tmp_path, CPU, stop_at=2).step == 2, "the lock is gone"
    with pytest.raises(ConfigError, match="size"):
        train(config(photos, size="huge"), tmp_path / "never", CPU)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": [100, 64]}, "multiples of 32"),
        ({"mix": {"mad": 1.0}}, "mixes 'mad'; did you mean 'made'"),
        ({"clip_share": 0.5, "town_share": 0.5}, "no town_clips folder"),
        ({"steps": 0}, "phases.0.steps"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_begins(
    change: dict[str, object], message: str
) -> None:
    phase = {"steps": 4, "size_px": [64, 32], "batch_size": 2, "mix": {"made": 1.0}, **change}
    source = {"name": "made", "root": "photos", "layout": "folder"}
    with pytest.raises(ConfigError, match=message):
        parse(TrainConfig, {"sources": [source], "phases": [phase]})
    with pytest.raises(ConfigError, match="phases"):
        parse(TrainConfig, {"sources": [source], "phases": []})


def test_nan_and_collapse_stop_the_run(photos: Path, tmp_path: Path) -> None:
    state = build_state(config(photos), CPU)
    picture = torch.rand(1, 3, 32, 64)
    check_health(state, {"g": torch.tensor(1.0)}, picture, tmp_path / STATE_FILE)
    with pytest.raises(TrainingStopped, match="g is not finite"):
        check_health(state, {"g": torch.tensor(torch.nan)}, picture, tmp_path / STATE_FILE)
    state.step = 1000
    with pytest.raises(TrainingStopped, match=r"constant.*state\.pt"):
        check_health(state, {"g": torch.tensor(1.0)}, picture * 0.0, tmp_path / STATE_FILE)


def test_a_set_of_labels_is_right_with_any_member() -> None:
    targets = torch.zeros(1, 3, 4, 4)
    targets[:, :2] = 1.0
    weights = torch.ones(3)
    sure = torch.full((1, 4, 4, 4), -9.0)
    values = []
    for group in range(4):
        logits = sure.clone()
        logits[:, group] = 9.0
        values.append(float(losses.segmentation_real(logits, targets, weights)))
    assert max(values[:2]) < 0.01
    assert min(values[2:]) > 5.0


def test_unlabelled_pixels_do_not_count() -> None:
    nothing = torch.zeros(1, 3, 4, 4)
    logits = torch.randn(1, 4, 4, 4)
    assert float(losses.segmentation_real(logits, nothing, losses.class_weights(nothing))) == 0.0


def test_hinge_losses_pull_in_opposite_directions() -> None:
    def judged(score: float) -> Judgement:
        return Judgement((torch.full((2, 1, 4, 4), score),), None, ())

    right = losses.hinge_discriminator(judged(2.0), judged(-2.0))
    wrong = losses.hinge_discriminator(judged(-2.0), judged(2.0))
    assert float(right) == 0.0
    assert float(wrong) == 6.0
    assert losses.hinge_generator(judged(2.0)) < losses.hinge_generator(judged(-2.0))


def test_label_mix_takes_whole_classes() -> None:
    real, fake = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    groups = torch.zeros(1, 2, 8, 8)
    groups[:, 0, :4], groups[:, 1, 4:] = 1.0, 1.0
    mixed, mask = losses.label_mix(real, fake, groups, torch.tensor([True, False]))
    assert (mixed[..., :4, :] == 1.0).all()
    assert (mixed[..., 4:, :] == 0.0).all()
    assert float(mask.mean()) == 0.5


def test_temporal_loss_ignores_what_was_hidden() -> None:
    now, before = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    before[..., :2] = 1.0
    validity = torch.ones(1, 1, 4, 4)
    assert float(losses.temporal(now, before, validity)) == 0.5
    validity[..., :2] = 0.0
    assert float(losses.temporal(now, before, validity)) == 0.0
