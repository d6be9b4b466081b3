"""Evaluation on synthetic streets: all measures, and clips with known defects."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from street_photos import write_drives, write_pair
from support.toy_world import ToyWorld
from support.untrained import untrained_weights
from torch import Tensor, nn

from sim2street.bridge.frame import Control
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import load_generator, save_generator
from sim2street.neural_renderer.data.crops import CropConfig
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.data.prepare import load_photos
from sim2street.neural_renderer.data.town_pack import PackConfig, drive_clip, pack_clips
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, ScoringNetworks
from sim2street.neural_renderer.evaluation.evaluate import evaluate
from sim2street.neural_renderer.evaluation.failures import TITLE_PX, worst_failures
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.motion_rows import clip_rows, revisit_row, score_clip
from sim2street.neural_renderer.evaluation.progress import EvaluationProgress
from sim2street.neural_renderer.evaluation.rendering import CheckpointRenderer, DriveStyles
from sim2street.neural_renderer.evaluation.scenes import (
    HORIZON_SHARE,
    Clip,
    Still,
    clip_from_pack,
    still_from_photo,
)
from sim2street.neural_renderer.evaluation.still_rows import (
    LabelConfusions,
    RenderedStill,
    distance_rows,
)
from sim2street.neural_renderer.images import to_tensor, to_uint8
from sim2street.neural_renderer.metrics.label_agreement import NOT_SCORED, SCORED_GROUPS
from sim2street.neural_renderer.metrics.perceptual import ALEXNET_PLAN, AlexNetFeatures
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.files import StyleError

SIZE = (96, 64)


def test_crops_have_the_middle_horizon_of_training() -> None:
    assert sum(CropConfig().horizon) / 2.0 == pytest.approx(HORIZON_SHARE)


class BrightIsSky(nn.Module):
    """Cityscapes logits: sky where bright, else road."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean(dim=1, keepdim=True)
        other = torch.full_like(bright, -9.0)
        return torch.cat([-bright, *[other] * 9, bright, *[other] * 8], dim=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of twelve drives, a short video, town clips, weights and scoring networks."""
    folder: Path = tmp_path_factory.mktemp("evaluation")
    write_drives(folder / "street")
    for drive in range(10):
        for frame in (0, 100, 200):
            write_pair(folder / "street" / "train", f"d{drive}_{frame}", drive)
    for frame in range(4):
        write_pair(folder / "street" / "val", f"a_{1000 + 2 * frame}", frame)
    with ToyWorld(*SIZE) as world:
        pack = PackConfig(clips=2, frames=4, every=1, warm_up=3)
        pack_clips(world, lambda _: Control(throttle=0.5), folder / "clips", pack)
    untrained_weights(folder)
    torch.manual_seed(0)
    torch.save(AlexNetFeatures().state_dict(), folder / "alex.pth")
    heads = {
        f"lin{k}.model.1.weight": torch.rand(1, p[0], 1, 1) for k, p in enumerate(ALEXNET_PLAN)
    }
    torch.save(heads, folder / "heads.pth")
    program = torch.export.export(BrightIsSky(), (torch.zeros(1, 3, SIZE[1], SIZE[0]),))
    torch.export.save(program, folder / "segmenter.pt2")
    return folder


def full_config(root: Path, **changes: object) -> EvaluationConfig:
    train = PhotoSourceConfig(name="street", root=root / "street", layout="camvid")
    config = EvaluationConfig(
        size_px=SIZE,
        sources=(train.model_copy(update={"split": "val"}),),
        styles=(train,),
        exemplars=1,
        video_frames=4,
        town_clips=root / "clips",
        retrieval_pictures=1,
        style_photos=3,
    )
    return config.model_copy(update=changes)


def quick_config(root: Path, **changes: object) -> EvaluationConfig:
    """Styles come from the photographs of one drive only."""
    (train,) = full_config(root).styles
    return full_config(root, styles=(train.model_copy(update={"drives": ("a",)}),), **changes)


def networks(root: Path) -> ScoringNetworks:
    return ScoringNetworks(
        segmenter=root / "segmenter.pt2", alexnet=root / "alex.pth", lpips=root / "heads.pth"
    )


def test_fit_is_refused_at_once_for_weights_without_styles(root: Path, tmp_path: Path) -> None:
    _, info = load_generator(root / "tiny.safetensors")
    plain = build_frame_generator("spade", info.size, info.class_map.names)
    path = tmp_path / "spade.safetensors"
    save_generator(path, plain, dataclasses.replace(info, kind="spade"))
    stages: list[str] = []
    progress = EvaluationProgress(lambda what, total: stages.append(what))
    with pytest.raises(StyleError, match="nothing to fit"):
        evaluate(
            path, full_config(root), networks(root), progress=progress, fit=lambda *given: given[2]
        )
    assert not stages


def test_all_measures_are_taken(root: Path) -> None:
    stages: list[str] = []
    images = 0

    def count() -> None:
        nonlocal images
        images += 1

    progress = EvaluationProgress(lambda what, total: stages.append(what), count)
    fits: list[StyleCode] = []

    def fit(*given: Any) -> StyleCode:
        fits.append(given[2])
        return fits[-1]

    report = evaluate(
        root / "tiny.safetensors", full_config(root), networks(root), progress=progress, fit=fit
    )
    values = {row.measure: row.value for row in report.rows}
    expected = {
        "label agreement, mIoU", "label agreement, accuracy", "KID (AlexNet)", "LPIPS (alex)",
        "style retrieval", "style retrieval, fitted", "temporal error, town", "ghosting, town",
        "detail kept, town", "temporal error, video", "ghosting, video", "detail kept, video",
        "revisit error",
    }  # fmt: skip
    assert set(values) == expected
    assert report.left_out == ()
    assert len(fits) >= 10
    assert all(math.isfinite(value) for value in values.values())
    assert values["LPIPS (alex)"] > 0.0
    assert images > 30
    assert "revisits" in stages
    # Four strips of stills with three images each, then one strip for town and one for video.
    assert report.sheet().shape == ((SIZE[1] + 4) * 6, 4 * SIZE[0], 3)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["weights"]["size"] == "tiny"
    assert plain["measures"]["KID (AlexNet)"]["n"] == 4
    assert "photographs" in plain["measures"]["temporal error, video"]


def test_without_networks_only_motion_is_measured_and_the_rest_is_listed(root: Path) -> None:
    config = quick_config(root, video_frames=0, stills=2)
    report = evaluate(root / "tiny.safetensors", config, ScoringNetworks())
    assert {row.measure.split(",")[0] for row in report.rows} == {
        "temporal error", "ghosting", "detail kept", "revisit error",
    }  # fmt: skip
    missing = " ".join(report.left_out)
    assert all(word in missing for word in ("--segmenter", "--alexnet", "--lpips", "video"))


def test_networks_used_in_a_loss_are_refused(root: Path, tmp_path: Path) -> None:
    generator, info = load_generator(root / "tiny.safetensors")
    digest = hashlib.sha256((root / "alex.pth").read_bytes()).hexdigest()
    path = tmp_path / "biased.safetensors"
    save_generator(path, generator, dataclasses.replace(info, loss_networks=(digest,)))
    with pytest.raises(ConfigError, match="--alexnet was in a loss"):
        evaluate(path, quick_config(root), networks(root))


def test_bad_input_raises_config_errors(root: Path, tmp_path: Path) -> None:
    weights = root / "tiny.safetensors"
    with pytest.raises(ConfigError, match="multiples of 32"):
        evaluate(weights, quick_config(root, size_px=(100, 64)), ScoringNetworks())
    with pytest.raises(ConfigError, match="does not take images of 64x32"):
        evaluate(weights, quick_config(root, size_px=(64, 32)), networks(root))
    small = quick_config(root, size_px=(64, 32), read_at_px=SIZE, town_clips=None, video_frames=0)
    read = evaluate(weights, small, ScoringNetworks(segmenter=root / "segmenter.pt2"))
    assert [row.measure for row in read.rows] == [
        "label agreement, mIoU", "label agreement, accuracy",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no packed clips"):
        evaluate(weights, quick_config(root, town_clips=tmp_path), ScoringNetworks())
    with pytest.raises(ConfigError, match="no file"):
        evaluate(weights, quick_config(root), ScoringNetworks(alexnet=tmp_path / "none.pth"))


def test_exemplars_are_not_close_to_the_rendered_photograph(root: Path) -> None:
    photos = load_photos(full_config(root).styles[0].model_copy(update={"drives": ("d3",)}))
    renderer = CheckpointRenderer(root / "tiny.safetensors")
    styles = DriveStyles(renderer, photos, SIZE, exemplars=2)
    assert [p.frame for p in styles.exemplars("street/d3", 100)] == [0, 200]
    assert styles.style("street/nowhere") is None
    assert styles.style("street/d3", 100) is styles.style("street/d3", 110)
    renderer.close()


def test_stills_have_the_labels_of_the_photograph(root: Path) -> None:
    photo = load_photos(full_config(root).styles[0].model_copy(update={"drives": ("d3",)}))[0]
    still = still_from_photo(photo, SIZE)
    assert still.view.labels is not None
    still.view.validate()
    rows, columns = np.indices(still.view.labels.shape)
    assert (still.tags.numpy()[still.view.labels, rows, columns] == 1).all()
    pixels = to_uint8(still.rgb)
    assert (to_uint8(to_tensor(pixels)) == pixels).all()


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A drive through the toy world, with actors."""
    from sim2street.neural_renderer.data.town_pack import clip_from_frames

    with ToyWorld(160, 80) as world:
        pack = PackConfig(clips=1, frames=6, every=1, warm_up=4)
        frames = drive_clip(world, lambda _: Control(throttle=1.0), pack, world.reset(3))
    packed = clip_from_pack(clip_from_frames(frames, "toy/3"))
    for packed_frame, frame in zip(packed.frames, frames, strict=True):
        assert {a.tag for a in packed_frame.actors} <= set(range(29))
        assert len(packed_frame.actors) == len(frame.actors)
    return packed


def grey_images(clip: Clip, noise: float) -> list[np.ndarray]:
    """Grey by inverse depth, plus independent noise (flicker)."""
    rng = np.random.default_rng(0)
    images = []
    for frame in clip.frames:
        assert frame.view.depth_m is not None
        grey = 40.0 + 160.0 / (1.0 + frame.view.depth_m / 20.0)
        grey = grey + rng.normal(0.0, noise, grey.shape) if noise else grey
        images.append(np.repeat(grey[..., None], 3, axis=2).clip(0, 255).astype(np.uint8))
    return images


def test_flicker_raises_the_temporal_error_against_independent_frames(clip: Clip) -> None:
    steady, flicker = (score_clip(clip, grey_images(clip, noise)) for noise in (0.0, 12.0))
    assert flicker.error > 2.0 * steady.error
    rows = clip_rows("toy", [clip], lambda c, history: grey_images(c, 0.0 if history else 12.0))
    error = rows[0]
    assert error.value == pytest.approx(steady.error)
    assert error.details["frame_by_frame"] == pytest.approx(flicker.error)
    assert "ratio" in error.beside
    sharp = grey_images(clip, 12.0)
    blurred = clip_rows("toy", [clip], lambda c, history: fading(sharp) if history else sharp)
    assert blurred[2].value < 0.3
    kept = clip_rows("toy", [clip], lambda c, history: sharp)
    assert kept[2].value == pytest.approx(1.0)


def fading(images: list[np.ndarray]) -> list[np.ndarray]:
    """The images with the last one replaced by its mean colour."""
    mean = images[-1].mean()
    return [*images[:-1], np.full_like(images[-1], int(mean))]


def test_a_changed_place_raises_the_revisit_error(clip: Clip) -> None:
    same = revisit_row([clip], lambda c, history: grey_images(c, 0.0))
    changed = revisit_row([clip], lambda c, history: [
        np.clip(p.astype(int) + 3 * i, 0, 255).astype(np.uint8)
        for i, p in enumerate(grey_images(c, 0.0))
    ])  # fmt: skip
    assert same.value < 1e-5
    assert changed.value > 20.0


def test_features_are_computed_once_and_broken_caches_are_replaced(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(3.0)

    image = (torch.ones(3, 4, 4),)
    first = FeatureCache(tmp_path, "looks", "ab" * 32)
    assert first.get(image, compute).tolist() == [0.0, 1.0, 2.0]
    first.save()
    assert FeatureCache(tmp_path, "looks", "ab" * 32).get(image, compute).tolist() == [0, 1, 2]
    assert len(calls) == 1
    FeatureCache(tmp_path, "looks", "cd" * 32).get(image, compute)  # another network
    FeatureCache(tmp_path, "looks", "ab" * 32).get((torch.zeros(3, 4, 4),), compute)
    assert len(calls) == 3
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(b"cut short")
    FeatureCache(tmp_path, "looks", "ab" * 32).get(image, compute)
    assert len(calls) == 4
    FeatureCache(None, "looks", "ab" * 32).save()


def confusion_counts(car_share: float) -> np.ndarray:
    """1,000 pixels of cars, of which a share is predicted as cars and the rest as buildings."""
    names = list(SCORED_GROUPS)
    counts = np.zeros((NOT_SCORED, NOT_SCORED + 1), dtype=np.int64)
    counts[names.index("road"), names.index("road")] = 9000
    counts[names.index("vehicle"), names.index("vehicle")] = round(1000 * car_share)
    counts[names.index("vehicle"), names.index("building")] = round(1000 * (1 - car_share))
    return counts


def test_failures_are_ranked_by_the_loss_against_the_photograph() -> None:
    rendered = [confusion_counts(share) for share in (0.9, 0.1, 0.4)]
    photographs = [confusion_counts(share) for share in (0.9, 0.2, 0.9)]
    found = worst_failures(LabelConfusions(rendered, photographs), 5)
    assert [(f.index, f.group) for f in found] == [(2, "vehicle"), (1, "vehicle")]
    assert found[0].iou == pytest.approx(0.4)
    assert found[0].iou_photograph == pytest.approx(0.9)
    assert worst_failures(LabelConfusions(photographs, photographs), 5) == []


def test_failures_are_drawn_and_quick_evaluations_are_smaller(root: Path, tmp_path: Path) -> None:
    config = quick_config(root, town_clips=None, video_frames=0, failures=2).quick()
    assert (config.stills, config.clips, config.retrieval_pictures) == (16, 2, 1)
    scoring = ScoringNetworks(segmenter=root / "segmenter.pt2", alexnet=root / "alex.pth")
    first = evaluate(root / "tiny.safetensors", config, scoring, cache=tmp_path)
    assert first.failures is not None
    height, width = first.failures.shape[:2]
    assert width == 4 * SIZE[0]
    assert height % (SIZE[1] + TITLE_PX) == 0
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.npz")} >= {"labels", "pooled"}
    again = evaluate(root / "tiny.safetensors", config, scoring, cache=tmp_path)
    assert again.to_json() == first.to_json()


class Thumbnail(nn.Module):
    """Eight features of an image that must be 299x299, as for Inception."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 299, 299)
        return nn.functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1)[:, :8]


def test_kid_of_a_given_network_has_its_name_and_an_interval(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "thumbnail.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated
        torch.jit.script(Thumbnail()).save(str(path))
    config = quick_config(root, town_clips=None, video_frames=0)
    report = evaluate(root / "tiny.safetensors", config, ScoringNetworks(kid_features=path))
    (row,) = report.rows
    assert row.measure == "KID (thumbnail)"
    assert row.details["n"] == 4
    assert row.details["low"] <= row.value <= row.details["high"]
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a TorchScript network"):
        evaluate(
            root / "tiny.safetensors", config, ScoringNetworks(kid_features=tmp_path / "bad.pt")
        )


def test_fid_needs_more_images_than_features() -> None:
    rng = torch.Generator().manual_seed(0)

    def stills(count: int, brighter: float) -> list[RenderedStill]:
        found = []
        for _ in range(count):
            rgb = torch.rand(3, 8, 8, generator=rng) - 0.5
            still = Still(None, rgb, torch.zeros(29, 8, 8), "d", 0)  # type: ignore[arg-type]
            found.append(RenderedStill(still, rgb + brighter, None))  # type: ignore[arg-type]
        return found

    def features(rgb: Tensor) -> Tensor:
        return rgb.mean(dim=(2, 3))

    cache = FeatureCache(None, "pooled", "")
    near = distance_rows(features, "mean", stills(6, 0.1), cache)
    assert [row.measure for row in near] == ["KID (mean)", "FID (mean)"]
    far = distance_rows(features, "mean", stills(6, 0.8), cache)
    assert all(f.value > n.value for f, n in zip(far, near, strict=True))
    few = distance_rows(features, "mean", stills(3, 0.1), cache)
    assert [row.measure for row in few] == ["KID (mean)"]
