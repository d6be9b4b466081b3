"""The training loop on synthetic photographs: resuming, errors, and the direction of losses."""

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
from sim2street.neural_renderer.networks.discriminators import (
    DiscriminatorOutput,
    PatchDiscriminator,
)
from sim2street.neural_renderer.networks.generator import HISTORY_CHANNELS, Generator
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.config import LossWeights, TrainConfig
from sim2street.neural_renderer.training.objective import (
    DiscriminatorOutputs,
    adversarial_losses,
    discriminator_losses,
)
from sim2street.neural_renderer.training.optimise import TrainingStopped, check_health
from sim2street.neural_renderer.training.rollout import temporal_pair
from sim2street.neural_renderer.training.state import build_state
from sim2street.neural_renderer.training.trainer import (
    EXPORT_FILE,
    STATE_FILE,
    Progress,
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
    """A run on real video only: the six photographs are consecutive frames."""
    source = PhotoSourceConfig(name="made", root=root, layout="folder", video_step=step)
    weights = LossWeights(temporal_adversarial=0.5)
    phase = {"clip_share": 1.0, "video_share": 1.0}
    return tiny_config(root, phase, sources=(source,), weights=weights)


def test_video_trains_the_temporal_discriminator_and_resumes(photos: Path, tmp_path: Path) -> None:
    reported: list[Progress] = []
    run = with_video(photos)
    state = train(run, tmp_path / "a", CPU, stop_at=1, report=reported.append)
    first = state.temporal_discriminator
    assert {"d_temporal", "d_temporal_r1", "g_temporal_adversarial"} <= set(reported[0].terms)
    assert {"g_temporal", "g_colour"} <= set(reported[0].terms)
    again = train(run, tmp_path / "a", CPU, stop_at=1).temporal_discriminator
    untrained = build_state(run, CPU).temporal_discriminator
    assert first is not None
    assert again is not None
    assert untrained is not None
    assert torch.equal(again.score.weight, first.score.weight)
    assert not torch.equal(again.score.weight, untrained.score.weight)
    with pytest.raises(ConfigError, match="video of 2 frames, but at most 0 photographs"):
        train(with_video(photos, step=7), tmp_path / "c", CPU)


def test_the_temporal_discriminator_learns_to_detect_flicker() -> None:
    rng = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    discriminator = PatchDiscriminator(6)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.0, 0.99))

    def pairs() -> tuple[torch.Tensor, torch.Tensor]:
        """Static and flickering pairs; single frames look alike in both."""
        shape = (4, 3, 32, 32)
        seen = torch.ones(4, 1, 32, 32)
        one, other = (torch.rand(shape, generator=rng) * 2.0 - 1.0 for _ in range(2))
        return temporal_pair(one, one, seen), temporal_pair(one, other, seen)

    for _ in range(40):
        still, flicker = pairs()
        loss = losses.hinge_discriminator(discriminator(still), discriminator(flicker))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still, flicker = pairs()
    assert discriminator(still).scores[0].mean() > 0.5
    assert discriminator(flicker).scores[0].mean() < -0.5


def test_a_temporal_pair_repeats_the_frame_where_the_predecessor_is_not_valid() -> None:
    rgb, previous = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    validity = torch.zeros(1, 1, 4, 4)
    validity[..., :2] = 1.0
    pair = temporal_pair(rgb, previous, validity)
    assert torch.equal(pair[:, :3], rgb)
    assert torch.equal(pair[:, 3:, :, :2], previous[..., :2])
    assert torch.equal(pair[:, 3:, :, 2:], rgb[..., 2:])


def test_without_a_history_map_its_weights_stay_zero(photos: Path, tmp_path: Path) -> None:
    def largest(run: TrainConfig, folder: Path) -> float:
        state = train(run, folder, CPU)
        assert isinstance(state.generator, Generator)
        assert isinstance(state.ema, Generator)
        nets = (state.generator, state.ema)
        weights = [weight for net in nets for weight in net.history_weights()]
        return max(float(weight.detach()[:, -HISTORY_CHANNELS:].abs().max()) for weight in weights)

    assert largest(config(photos, 1.0), tmp_path / "with") > 0.0
    with_map = tmp_path / "with" / STATE_FILE
    disabled = config(photos, 1.0, history_map=False)
    (tmp_path / "disabled").mkdir()
    shutil.copy(with_map, tmp_path / "disabled")  # starts from weights that use the map
    more = disabled.phases[0].model_copy(update={"steps": 6})
    longer = disabled.model_copy(update={"phases": (more,)})
    assert largest(longer, tmp_path / "disabled") == 0.0


def test_worker_processes_do_not_change_the_result(photos: Path, tmp_path: Path) -> None:
    here = train(config(photos, 0.5), tmp_path / "a", CPU, stop_at=3)
    ahead = train(config(photos, 0.5, workers=2), tmp_path / "b", CPU, stop_at=3)
    weights = ahead.generator.state_dict()
    for key, tensor in here.generator.state_dict().items():
        assert torch.equal(tensor, weights[key]), key


def test_a_run_writes_a_checkpoint_and_a_sample_sheet(photos: Path, tmp_path: Path) -> None:
    state = train(config(photos), tmp_path, CPU, stop_at=2)
    generator, info = load_generator(tmp_path / EXPORT_FILE)
    assert info.step == 2
    assert set(info.seen_tags) == {1, 3, 11, 14}
    averaged = state.ema.state_dict()
    for key, tensor in generator.state_dict().items():
        torch.testing.assert_close(tensor, averaged[key], atol=1e-3, rtol=1e-3)
    with Image.open(tmp_path / "samples" / "step_000002.png") as sheet:
        assert sheet.size == (4 * 64, 6 * 32)


def test_a_state_of_another_config_is_refused(photos: Path, tmp_path: Path) -> None:
    train(config(photos), tmp_path, CPU, stop_at=1)
    with pytest.raises(CheckpointError, match="--init-from"):
        train(config(photos, size="small"), tmp_path, CPU)
    (tmp_path / STATE_FILE).write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(config(photos), tmp_path, CPU)


def test_two_runs_cannot_use_the_same_folder(photos: Path, tmp_path: Path) -> None:
    def begin_another(progress: Progress) -> None:
        with pytest.raises(ConfigError, match="another process trains in"):
            train(config(photos), tmp_path, CPU)

    assert train(config(photos), tmp_path, CPU, stop_at=1, report=begin_another).step == 1
    assert train(config(photos), tmp_path, CPU, stop_at=2).step == 2, "the lock is released"
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
def test_an_inconsistent_config_is_refused(change: dict[str, object], message: str) -> None:
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
    image = torch.rand(1, 3, 32, 64)
    check_health(state, {"g": torch.tensor(1.0)}, image, tmp_path / STATE_FILE)
    with pytest.raises(TrainingStopped, match="g is not finite"):
        check_health(state, {"g": torch.tensor(torch.nan)}, image, tmp_path / STATE_FILE)
    state.step = 1000
    with pytest.raises(TrainingStopped, match=r"constant.*state\.pt"):
        check_health(state, {"g": torch.tensor(1.0)}, image * 0.0, tmp_path / STATE_FILE)


def test_any_member_of_a_set_of_labels_is_correct() -> None:
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
    def output(score: float) -> DiscriminatorOutput:
        return DiscriminatorOutput((torch.full((2, 1, 4, 4), score),), None, ())

    right = losses.hinge_discriminator(output(2.0), output(-2.0))
    wrong = losses.hinge_discriminator(output(-2.0), output(2.0))
    assert float(right) == 0.0
    assert float(wrong) == 6.0
    assert losses.hinge_generator(output(2.0)) < losses.hinge_generator(output(-2.0))


def test_unpaired_images_are_fakes_for_the_segmentation_head_only() -> None:
    def outputs(fake_logit: float) -> DiscriminatorOutputs:
        logits = torch.zeros(1, 4, 4, 4)
        logits[:, 3] = fake_logit
        output = DiscriminatorOutput((torch.zeros(1, 1, 4, 4),), logits, ())
        return DiscriminatorOutputs(output, output)

    groups = torch.zeros(1, 3, 16, 16)
    groups[:, 0] = 1.0
    unsure = discriminator_losses(outputs(0.0), outputs(0.0), groups, paired=False)
    sure = discriminator_losses(outputs(0.0), outputs(9.0), groups, paired=False)
    assert set(unsure) == {"d_patch", "d_segment"}
    assert sure["d_segment"] < unsure["d_segment"]
    assert "d_feature" in discriminator_losses(outputs(0.0), outputs(0.0), groups)


def test_unpaired_images_have_their_own_segmentation_weight() -> None:
    scores, logits, hidden = (torch.zeros(1, 1, 4, 4),), torch.zeros(1, 4, 4, 4), torch.zeros(1)
    output = DiscriminatorOutput(scores, logits, (hidden,))
    both = DiscriminatorOutputs(output, output)
    groups = torch.zeros(1, 3, 16, 16)
    groups[:, 0] = 1.0
    weights = LossWeights(segmentation=2.0, segmentation_unpaired=0.5)
    paired = adversarial_losses(both, both, groups, weights)["g_segment"]
    unpaired = adversarial_losses(both, both, groups, weights, paired=False)["g_segment"]
    # Four equally likely classes: the cross entropy is log 4.
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


def test_the_temporal_loss_ignores_pixels_that_are_not_valid() -> None:
    now, before = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    before[..., :2] = 1.0
    validity = torch.ones(1, 1, 4, 4)
    assert float(losses.temporal(now, before, validity)) == 0.5
    validity[..., :2] = 0.0
    assert float(losses.temporal(now, before, validity)) == 0.0
