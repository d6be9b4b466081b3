"""Losses on features of VGG16 and EfficientNet, with networks of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_runs import tiny_config, write_photos
from torch import Tensor, nn

from sim2street.configs import ConfigError
from sim2street.neural_renderer.networks.features import (
    EfficientNetLite0Features,
    LiteBlock,
    Vgg16Features,
    load_efficientnet_lite0,
    load_vgg16,
)
from sim2street.neural_renderer.training import losses, update
from sim2street.neural_renderer.training.config import LossWeights, TrainConfig
from sim2street.neural_renderer.training.state import TrainState
from sim2street.neural_renderer.training.trainer import Progress, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "made")


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vgg16.safetensors and lite0.pth with the public networks' keys."""
    folder = tmp_path_factory.mktemp("packs")
    torch.manual_seed(0)
    vgg = {k: v for k, v in Vgg16Features().state_dict().items() if k.startswith("features.")}
    save_file(vgg, folder / "vgg16.safetensors")
    net, keys = EfficientNetLite0Features(), {}
    keys |= _with_norm(net.stem, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        assert isinstance(block, LiteBlock)
        if block.expand is not None:
            keys |= _with_norm(block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        keys |= _with_norm(block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        keys |= _with_norm(block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    torch.save(keys, folder / "lite0.pth")
    return folder


def _with_norm(conv: nn.Conv2d, name: str, bn: str) -> dict[str, Tensor]:
    width = conv.out_channels
    return {
        f"{name}.weight": conv.weight.detach(),
        f"{bn}.weight": torch.ones(width), f"{bn}.bias": torch.zeros(width),
        f"{bn}.running_mean": torch.zeros(width), f"{bn}.running_var": torch.ones(width),
    }  # fmt: skip


def run(photos: Path, packs: Path, swap_share: float) -> TrainConfig:
    return tiny_config(
        photos, {"swap_share": swap_share},
        vgg16=packs / "vgg16.safetensors", efficientnet_lite0=packs / "lite0.pth",
        weights=LossWeights(style=1.0),
    )  # fmt: skip


def trained(config: TrainConfig, folder: Path) -> tuple[TrainState, list[set[str]]]:
    """The state, and the names of each step's terms."""
    reported: list[set[str]] = []

    def note(progress: Progress) -> None:
        reported.append(set(progress.terms))

    return train(config, folder, CPU, report=note), reported


def test_stills_use_every_feature_network_and_none_of_them_learns(
    photos: Path, packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "LABEL_MIX_EVERY", 2)
    state, reported = trained(run(photos, packs, 0.0), tmp_path)
    for names in reported:
        assert {"g_perceptual", "g_segment", "g_feature", "g_matching", "d_segment"} <= names
        assert "g_style" not in names
    assert ["d_label_mix" in names for names in reported] == [True, False, True, False]
    assert state.vgg is not None
    assert state.efficientnet is not None
    frozen = ((state.vgg, load_vgg16(packs / "vgg16.safetensors")),
              (state.efficientnet, load_efficientnet_lite0(packs / "lite0.pth")))  # fmt: skip
    for used, fresh in frozen:
        for key, tensor in fresh.state_dict().items():
            assert torch.equal(used.state_dict()[key], tensor), f"{key} has learned"


def test_swapped_styles_have_no_target(photos: Path, packs: Path, tmp_path: Path) -> None:
    _, reported = trained(run(photos, packs, 1.0), tmp_path)
    for names in reported:
        assert {"g_style", "g_patch", "g_segment", "d_patch", "d_segment"} <= names
        assert not names & {"g_perceptual", "g_colour", "g_matching", "g_feature", "d_feature"}


def test_swapped_and_paired_steps_resume_alike(photos: Path, packs: Path, tmp_path: Path) -> None:
    config = run(photos, packs, 0.5).model_copy(update={"seed": 4})
    train(config, tmp_path / "a", CPU, stop_at=2)
    resumed, _ = trained(config, tmp_path / "a")
    straight, reported = trained(config, tmp_path / "b")
    kinds = {"g_style" in names for names in reported}
    assert kinds == {True, False}, "the seed should give steps of both kinds"
    for key, tensor in straight.generator.state_dict().items():
        assert torch.equal(tensor, resumed.generator.state_dict()[key]), key


def _scene(colour: float, grain: float) -> tuple[Tensor, Tensor]:
    """A map of 4 channels, two groups one above the other; the upper has the given look."""
    torch.manual_seed(1)
    x = torch.randn(1, 4, 16, 16) * 0.1
    x[:, :, :8] = x[:, :, :8] * grain / 0.1 + colour
    groups = torch.zeros(1, 3, 16, 16)
    groups[:, 0, :8], groups[:, 1, 8:] = 1.0, 1.0
    return x, groups


def _gap(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], one_sided: bool = False) -> float:
    return float(
        losses.region_statistics([a[0]], a[1], [b[0]], b[1][:, None], [1.0], one_sided=one_sided)
    )


def test_region_statistics_depend_on_groups_and_not_on_places() -> None:
    plain = _scene(0.0, 0.1)
    assert _gap(plain, plain) < 1e-5
    moved = (plain[0].roll(3, dims=3), plain[1])
    assert _gap(moved, plain) < 1e-4
    upside_down = (plain[0].flip(2), plain[1].flip(2))
    assert _gap(upside_down, plain) < 1e-4
    coloured, grainy = _scene(1.0, 0.1), _scene(0.0, 0.5)
    assert _gap(coloured, plain) > 1.0
    assert _gap(grainy, plain) > 1.0
    mistaken = (coloured[0], coloured[1].flip(2))
    assert _gap(mistaken, coloured) > 1.0, "the right statistics on the wrong group"


def test_one_sided_statistics_allow_less_variation_but_not_more() -> None:
    plain, grainy, coloured = _scene(0.0, 0.1), _scene(0.0, 0.5), _scene(1.0, 0.1)
    less, more = _gap(plain, grainy, one_sided=True), _gap(grainy, plain, one_sided=True)
    assert less < 0.3 * _gap(plain, grainy), "only the means of two draws differ"
    assert more == pytest.approx(_gap(grainy, plain))
    assert _gap(coloured, plain, one_sided=True) > 1.0, "another colour still counts"


def test_a_group_missing_on_one_side_does_not_count() -> None:
    coloured, groups = _scene(1.0, 0.1)
    plain, _ = _scene(0.0, 0.1)
    without = groups.clone()
    without[:, 0] = 0.0
    assert _gap((coloured, groups), (plain, without)) < 1e-4


def test_exemplars_are_pooled_group_by_group() -> None:
    x, groups = _scene(1.0, 0.1)
    upper, lower = groups.clone(), groups.clone()
    upper[:, 1], lower[:, 0] = 0.0, 0.0
    both = torch.stack([upper, lower], dim=1)
    gap = losses.region_statistics([x], groups, [torch.cat([x, x])], both, [1.0])
    assert float(gap) < 1e-5


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "features.5.bias"}, "missing features.5"),
        (lambda t: t | {"features.0.weight": torch.zeros(8, 3, 3, 3)}, r"\(64, 3, 3, 3\), got \(8"),
    ],
)
def test_a_file_of_another_network_is_refused(
    packs: Path,
    tmp_path: Path,
    spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    error: str,
) -> None:
    good = load_vgg16(packs / "vgg16.safetensors").state_dict()
    torch.save(spoil(dict(good)), tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=error):
        load_vgg16(tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["vgg16.safetensors", "lite0.pth"])
def test_an_incomplete_file_is_refused(packs: Path, tmp_path: Path, name: str) -> None:
    whole = (packs / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    load = load_vgg16 if name.startswith("vgg") else load_efficientnet_lite0
    with pytest.raises(ConfigError, match="copy the file again"):
        load(tmp_path / name)
