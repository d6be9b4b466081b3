"""The trainer on made-up photographs: resume, dry failures, losses that point the right way."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import tiny_config, write_photos

from sim2street.configs import ConfigError, parse
from sim2street.neural_renderer.checkpoint import CheckpointError, load_generator
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.networks.discriminators import Judgement, PatchDiscriminator
from sim2street.neural_renderer.networks.generator import HISTORY_CHANNELS, Generator
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.config import LossWeights, TrainConfig
from sim2street.neural_renderer.training.objective import (
    Judged,
    adversarial_losses,
    discriminator_losses,
)
from sim2street.neural_renderer.training.rollout import aligned
from sim2street.neural_renderer.training.state import build_state
from sim2street.neural_renderer.training.trainer import (
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


def with_video(root: Path, step: int = 1) -> TrainConfig:
    """Nothing but real video: the six pictures follow each other."""
    source = PhotoSourceConfig(name="made", root=root, layout="folder", video_step=step)
    weights = LossWeights(temporal_adversarial=0.5)
    phase = {"clip_share": 1.0, "video_share": 1.0}
    return tiny_config(root, phase, sources=(source,), weights=weights)


def test_video_teaches_a_temporal_discriminator_and_resumes(photos: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    run = with_video(photos)
    first = train(run, tmp_path / "a", CPU, stop_at=1, report=told.append).temporal
    assert {"d_moving", "d_moving_r1", "g_moving", "g_temporal", "g_colour"} <= set(told[0].terms)
    again = train(run, tmp_path / "a", CPU, stop_at=1).temporal
    untaught = build_state(run, CPU).temporal
    assert first is not None
    assert again is not None
    assert untaught is not None
    assert torch.equal(again.score.weight, first.score.weight)
    assert not torch.equal(again.score.weight, untaught.score.weight)
    with pytest.raises(ConfigError, match="video of 2 frames, but at most 0 pictures follow"):
        train(with_video(photos, step=7), tmp_path / "c", CPU)


def test_the_temporal_discriminator_learns_to_see_flicker() -> None:
    rng = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    judge = PatchDiscriminator(6)
    optimiser = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.0, 0.99))

    def pairs() -> tuple[torch.Tensor, torch.Tensor]:
        """Still and flickering: single frames look alike in both."""
        shape = (4, 3, 32, 32)
        seen = torch.ones(4, 1, 32, 32)
        one, other = (torch.rand(shape, generator=rng) * 2.0 - 1.0 for _ in range(2))
        return aligned(one, one, seen), aligned(one, other, seen)

    for _ in range(40):
        still, flicker = pairs()
        loss = losses.hinge_discriminator(judge(still), judge(flicker))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still, flicker = pairs()
    assert judge(still).scores[0].mean() > 0.5
    assert judge(flicker).scores[0].mean() < -0.5


def test_a_pair_tells_nothing_where_the_predecessor_did_not_look() -> None:
    rgb, previous = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    validity = torch.zeros(1, 1, 4, 4)
    validity[..., :2] = 1.0
    pair = aligned(rgb, previous, validity)
    assert torch.equal(pair[:, :3], rgb)
    assert torch.equal(pair[:, 3:, :, :2], previous[..., :2])
    assert torch.equal(pair[:, 3:, :, 2:], rgb[..., 2:])


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
        ({"clip_share": 0.5, "video_share": 0.5}, "no source has a video_step"),
        ({"town_share": 0.6, "video_share": 0.6, "clip_share": 0.5}, "more than 1"),
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


def test_a_temporal_discriminator_without_video_is_refused() -> None:
    phase = {"steps": 4, "size_px": [64, 32], "batch_size": 2, "mix": {"made": 1.0}}
    source = {"name": "made", "root": "photos", "layout": "folder"}
    run = {"sources": [source], "phases": [phase], "weights": {"temporal_adversarial": 1.0}}
    with pytest.raises(ConfigError, match="temporal_adversarial needs a phase with a video_share"):
        parse(TrainConfig, run)


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


def test_pictures_without_a_target_are_fake_to_the_segmentation_head_alone() -> None:
    def judged(fake_logit: float) -> Judged:
        logits = torch.zeros(1, 4, 4, 4)
        logits[:, 3] = fake_logit
        judgement = Judgement((torch.zeros(1, 1, 4, 4),), logits, ())
        return Judged(judgement, judgement)

    groups = torch.zeros(1, 3, 16, 16)
    groups[:, 0] = 1.0
    unsure = discriminator_losses(judged(0.0), judged(0.0), groups, paired=False)
    sure = discriminator_losses(judged(0.0), judged(9.0), groups, paired=False)
    assert set(unsure) == {"d_patch", "d_segment"}
    assert sure["d_segment"] < unsure["d_segment"]
    assert "d_feature" in discriminator_losses(judged(0.0), judged(0.0), groups)


def test_pictures_without_a_target_are_told_their_labels_less() -> None:
    judgement = Judgement((torch.zeros(1, 1, 4, 4),), torch.zeros(1, 4, 4, 4), (torch.zeros(1),))
    judged = Judged(judgement, judgement)
    groups = torch.zeros(1, 3, 16, 16)
    groups[:, 0] = 1.0
    weights = LossWeights(segmentation=2.0, segmentation_unpaired=0.5)
    paired = adversarial_losses(judged, judged, groups, weights)["g_segment"]
    unpaired = adversarial_losses(judged, judged, groups, weights, paired=False)["g_segment"]
    # Of four classes that look alike, one is right.
    assert float(paired) == pytest.approx(2.0 * math.log(4.0))
    assert float(unpaired) == pytest.approx(0.5 * math.log(4.0))


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
