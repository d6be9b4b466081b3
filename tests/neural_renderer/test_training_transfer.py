"""Starting from other weights, seeds, distillation, accumulation, and the baselines."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_config, write_photos
from torch.utils.flop_counter import FlopCounterMode

from sim2street.bridge.frame import Camera
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import CheckpointError, load_generator
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.data.prepare import load_photos
from sim2street.neural_renderer.evaluation.rendering import CheckpointRenderer
from sim2street.neural_renderer.evaluation.scenes import Clip, ClipFrame
from sim2street.neural_renderer.evaluation.timing import frame_gmac, street_view
from sim2street.neural_renderer.networks.baselines import ImageUnet
from sim2street.neural_renderer.networks.build import KINDS, SIZES
from sim2street.neural_renderer.runtimes.precision import preferred_dtype
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.optimise import BatchOfStep, backward_and_step
from sim2street.neural_renderer.training.state import build_state, load_state
from sim2street.neural_renderer.training.trainer import (
    EXPORT_FILE,
    STATE_FILE,
    Progress,
    train,
)
from sim2street.neural_renderer.training.transfer import Transfer, start_from, write_seed

CPU = torch.device("cpu")
GROUPS = len(ClassMap.default().names)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "made")


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder: Path = tmp_path_factory.mktemp("runs") / "first"
    train(tiny_config(photos), folder, CPU)
    return folder


@pytest.fixture(scope="module")
def seed(run: Path) -> Path:
    folder = run.parent / "seed"
    write_seed(run / STATE_FILE, folder)
    return folder


def test_a_seed_holds_all_networks_in_small_files(run: Path, seed: Path, photos: Path) -> None:
    files = list(seed.iterdir())
    assert all(path.stat().st_size <= 15 * 2**20 for path in files)
    first = build_state(tiny_config(photos), CPU)
    transfer = start_from(first, seed)
    assert (transfer.new, transfer.dropped, transfer.step) == ((), (), 4)
    original = torch.load(run / STATE_FILE, weights_only=True)["modules"]
    for name, module in first.modules().items():
        for key, tensor in module.state_dict().items():
            source = "ema" if name == "generator" else name  # only the average is in a seed
            torch.testing.assert_close(tensor, original[source][key], atol=2e-3, rtol=2e-3)


def test_a_large_seed_is_split_and_a_missing_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path, photos: Path
) -> None:
    monkeypatch.setattr("sim2street.neural_renderer.training.transfer.PART_BYTES", 2**21)
    files = write_seed(run / STATE_FILE, tmp_path / "seed")
    assert len(files) > 3
    assert all(path.stat().st_size < 3 * 2**20 for path in files)
    assert start_from(build_state(tiny_config(photos), CPU), tmp_path / "seed").new == ()
    files[1].unlink()
    with pytest.raises(CheckpointError, match=f"{len(files) - 1} of a seed's {len(files)} files"):
        start_from(build_state(tiny_config(photos), CPU), tmp_path / "seed")


def test_a_run_from_a_seed_continues_the_averaging_and_resumes(
    seed: Path, photos: Path, tmp_path: Path
) -> None:
    transfers: list[Transfer] = []
    config = tiny_config(photos)
    before = build_state(config, CPU)
    start_from(before, seed)
    train(config, tmp_path / "a", CPU, stop_at=2, init_from=seed, transferred=transfers.append)
    resumed = train(config, tmp_path / "a", CPU, init_from=seed, transferred=transfers.append)
    straight = train(config, tmp_path / "b", CPU, init_from=seed)
    assert len(transfers) == 1  # the second time the run's own state counts
    assert (resumed.step, resumed.previous_steps) == (4, 4)
    for key, tensor in resumed.ema.state_dict().items():
        assert torch.equal(tensor, straight.ema.state_dict()[key]), key
    _, info = load_generator(tmp_path / "a" / EXPORT_FILE)
    assert info.step == 8
    # From scratch the average is the generator at once; here it keeps what it knew.
    known, key = before.ema.state_dict(), "to_pixels.weight"
    moved = (known[key] - resumed.ema.state_dict()[key]).abs().mean()
    leapt = (known[key] - resumed.generator.state_dict()[key]).abs().mean()
    assert moved < 0.9 * leapt


def test_weights_of_another_size_are_loaded_as_far_as_they_fit(run: Path, photos: Path) -> None:
    transfer = start_from(build_state(tiny_config(photos, size="small"), CPU), run / EXPORT_FILE)
    assert "generator.query.embed.weight" in transfer.taken
    assert "generator.stem.weight" in transfer.new
    assert "generator.stem.weight" in transfer.dropped
    assert any(name.startswith("patch.") for name in transfer.new)  # a checkpoint has none
    shown = "\n".join(transfer.lines())
    assert f"taken {len(transfer.taken)} tensors, from step 4" in shown
    assert f"new {len(transfer.new)}: " in shown


def test_files_without_weights_are_refused(photos: Path, run: Path, tmp_path: Path) -> None:
    state = build_state(tiny_config(photos), CPU)
    (tmp_path / "state.pt").write_bytes((run / STATE_FILE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="no state of a training run"):
        start_from(state, tmp_path / "state.pt")
    for content in (b"", [1, 2], {"step": 1, "modules": {"generator": 3}}):
        if isinstance(content, bytes):
            (tmp_path / "state.pt").write_bytes(content)
        else:
            torch.save(content, tmp_path / "state.pt")
        with pytest.raises(CheckpointError, match="no state of a training run"):
            start_from(state, tmp_path / "state.pt")
        with pytest.raises(CheckpointError, match=r"no state of a training run.*--init-from"):
            load_state(state, tiny_config(photos), tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="is no seed"):
        start_from(state, tmp_path)
    with pytest.raises(CheckpointError, match="is no seed"):
        write_seed(run / STATE_FILE, tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        build_state(tiny_config(photos, size="smal"), CPU)


def test_writing_a_seed_keeps_other_files(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seed"
    folder.mkdir()
    write_seed(run / STATE_FILE, folder)
    (folder / "README.md").write_text("mine")
    old = folder / "seed_1_of_1.safetensors"
    old.rename(folder / "seed_9_of_9.safetensors")
    with pytest.raises(CheckpointError, match="no weights at"):
        write_seed(tmp_path / "none.safetensors", folder)
    assert (folder / "seed_9_of_9.safetensors").is_file()
    shutil.copy(folder / "seed_9_of_9.safetensors", old)
    (folder / "seed_9_of_9.safetensors").unlink()
    files = write_seed(run / STATE_FILE, folder)
    assert sorted(folder.iterdir()) == sorted([*files, folder / "README.md"])
    assert [path.name for path in tmp_path.iterdir()] == ["seed"]
    assert write_seed(run / STATE_FILE, tmp_path / "new" / "one")[0].is_file()


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_the_teachers_images_are_the_targets(
    clip_share: float, run: Path, photos: Path, tmp_path: Path
) -> None:
    """The pixel loss is near 0 for a student with its teacher's weights, else not."""
    phase = {"steps": 1, "clip_share": clip_share, "frames": 3}
    config = tiny_config(
        photos, phase, teacher=run / EXPORT_FILE, weights={"pixel": 1.0}, seed=5, lr_generator=0.0
    )
    seen: list[float] = []

    def note(progress: Progress) -> None:
        seen.append(progress.terms["g_pixel"])

    train(config, tmp_path / "same", CPU, report=note, init_from=run / EXPORT_FILE)
    train(config, tmp_path / "other", CPU, report=note)
    # On some devices the student computes in bfloat16, which rounds to 2^-8 of a value.
    assert seen[0] < (2.0**-8 if preferred_dtype(CPU) is torch.bfloat16 else 1e-3)
    assert seen[1] > 0.1


def test_gradients_are_averaged_over_the_batches_of_a_step() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    inputs = torch.tensor([[1.0, 0.0], [0.5, 4.0]])
    for part, x in enumerate(inputs):
        backward_and_step(
            optimiser, {"a": (weight * x).sum(), "b": weight[0] * 2.0}, BatchOfStep(part, 2)
        )
        if part == 0:
            assert weight.tolist() == [1.0, 2.0]
    expected = torch.tensor([1.0, 2.0]) - 0.1 * (inputs.mean(dim=0) + torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(weight.detach(), expected)


def test_accumulation_resumes_exactly_and_draws_different_batches(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_config(photos, {"steps": 2}, accumulate=2)
    train(config, tmp_path / "a", CPU, stop_at=1)
    resumed = train(config, tmp_path / "a", CPU)
    straight = train(config, tmp_path / "b", CPU)
    single = train(tiny_config(photos, {"steps": 2}), tmp_path / "c", CPU)
    key = "to_pixels.weight"
    assert torch.equal(resumed.generator.state_dict()[key], straight.generator.state_dict()[key])
    assert not torch.equal(resumed.generator.state_dict()[key], single.generator.state_dict()[key])


@pytest.mark.parametrize("size", SIZES)
def test_all_kinds_of_generators_have_similar_cost(size: str) -> None:
    costs = [frame_gmac(kind, size) for kind in KINDS]
    assert max(costs) < 1.1 * min(costs)


def test_the_image_unet_costs_about_15_gmac() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ImageUnet()(torch.empty(1, 3, 256, 512))
    assert 14.0 < counter.get_total_flops() / 2e9 < 16.0


@pytest.mark.parametrize("kind", ["spade", "plain"])
def test_a_baseline_trains_and_its_checkpoint_can_be_served(
    kind: str, photos: Path, tmp_path: Path
) -> None:
    config: TrainConfig = tiny_config(photos, {"steps": 2}, kind=kind)
    state = train(config, tmp_path, CPU)
    generator, info = load_generator(tmp_path / EXPORT_FILE)
    assert (info.kind, type(generator)) == (kind, type(state.generator))
    rng = torch.Generator().manual_seed(0)
    rgb = torch.rand(2, 1, 3, 32, 64, generator=rng)
    groups = torch.zeros(2, 1, GROUPS, 32, 64)
    groups[:, :, 1] = 1.0
    code = generator.encode_style(rgb, groups)
    assert torch.equal(code.classes[0], code.classes[1])  # does not depend on the exemplars
    renderer = CheckpointRenderer(tmp_path / EXPORT_FILE)
    style = renderer.style(load_photos(config.sources[0])[:2], (64, 32), "any")
    way = [street_view(Camera.from_fov(64, 32, 62.0), place) for place in range(2)]
    assert way[1].labels is not None
    way[1] = dataclasses.replace(way[1], labels=way[1].labels[::-1].copy())
    frames = renderer.clip(Clip("street", tuple(ClipFrame(view) for view in way)), style)
    renderer.close()
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 2
    assert (frames[0] != frames[1]).any()
