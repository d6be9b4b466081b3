"""An evaluation on made-up streets: every measure it promises, and planted defects in clips."""

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
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.data.prepare import load_photos
from sim2street.neural_renderer.data.town_pack import PackConfig, drive_clip, pack_clips
from sim2street.neural_renderer.evaluation.config import EvaluationConfig, Judges
from sim2street.neural_renderer.evaluation.evaluate import Watch, evaluate
from sim2street.neural_renderer.evaluation.failures import TITLE_PX, worst
from sim2street.neural_renderer.evaluation.feature_cache import FeatureCache
from sim2street.neural_renderer.evaluation.motion_rows import clip_rows, revisit_row, score_clip
from sim2street.neural_renderer.evaluation.painter import Painter, StyleBook
from sim2street.neural_renderer.evaluation.scenes import (
    Clip,
    Still,
    as_tensor,
    as_uint8,
    clip_of_pack,
    still_of,
)
from sim2street.neural_renderer.evaluation.still_rows import Painted, Readings, distance_rows
from sim2street.neural_renderer.metrics.label_agreement import NOT_SCORED, SCORED_GROUPS
from sim2street.neural_renderer.metrics.perceptual import ALEXNET_PLAN, AlexNetFeatures
from sim2street.neural_renderer.networks.baselines import build_frame_generator
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.styles.files import StyleError

SIZE = (96, 64)


class BrightIsSky(nn.Module):
    """Cityscapes logits: sky where bright, else road."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean(dim=1, keepdim=True)
        other = torch.full_like(bright, -9.0)
        return torch.cat([-bright, *[other] * 9, bright, *[other] * 8], dim=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of twelve drives, a short video, town clips, weights and judges."""
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


def settings(root: Path, **changes: object) -> EvaluationConfig:
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


def quick(root: Path, **changes: object) -> EvaluationConfig:
    """With the photographs of one drive to take styles from."""
    (train,) = settings(root).styles
    return settings(root, styles=(train.model_copy(update={"drives": ("a",)}),), **changes)


def judges(root: Path) -> Judges:
    return Judges(
        segmenter=root / "segmenter.pt2", alexnet=root / "alex.pth", lpips=root / "heads.pth"
    )


def test_weights_without_styles_are_refused_a_fit_at_once(root: Path, tmp_path: Path) -> None:
    _, info = load_generator(root / "tiny.safetensors")
    plain = build_frame_generator("spade", info.size, len(info.class_map.names))
    path = tmp_path / "spade.safetensors"
    save_generator(path, plain, dataclasses.replace(info, kind="spade"))
    stages: list[str] = []
    watch = Watch(lambda what, total: stages.append(what))
    with pytest.raises(StyleError, match="nothing to fit"):
        evaluate(path, settings(root), judges(root), watch=watch, fit=lambda *given: given[2])
    assert not stages


def test_every_measure_is_taken(root: Path) -> None:
    stages: list[str] = []
    pictures = 0

    def count() -> None:
        nonlocal pictures
        pictures += 1

    watch = Watch(lambda what, total: stages.append(what), count)
    fits: list[StyleCode] = []

    def fit(*given: Any) -> StyleCode:
        fits.append(given[2])
        return fits[-1]

    report = evaluate(root / "tiny.safetensors", settings(root), judges(root), watch=watch, fit=fit)
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
    assert pictures > 30
    assert "revisits" in stages
    # four strips of stills of three pictures, then a strip each of town and video
    assert report.sheet().shape == ((SIZE[1] + 4) * 6, 4 * SIZE[0], 3)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["weights"]["size"] == "tiny"
    assert plain["measures"]["KID (AlexNet)"]["n"] == 4
    assert "photographs" in plain["measures"]["temporal error, video"]


def test_without_networks_only_motion_is_measured_and_the_rest_named(root: Path) -> None:
    config = quick(root, video_frames=0, stills=2)
    report = evaluate(root / "tiny.safetensors", config, Judges())
    assert {row.measure.split(",")[0] for row in report.rows} == {
        "temporal error", "ghosting", "detail kept", "revisit error",
    }  # fmt: skip
    missing = " ".join(report.left_out)
    assert all(word in missing for word in ("--segmenter", "--alexnet", "--lpips", "video"))


def test_a_network_of_a_loss_never_scores(root: Path, tmp_path: Path) -> None:
    generator, info = load_generator(root / "tiny.safetensors")
    digest = hashlib.sha256((root / "alex.pth").read_bytes()).hexdigest()
    path = tmp_path / "cheat.safetensors"
    save_generator(path, generator, dataclasses.replace(info, loss_networks=(digest,)))
    with pytest.raises(ConfigError, match="--alexnet was in a loss"):
        evaluate(path, quick(root), judges(root))


def test_bad_input_is_one_line(root: Path, tmp_path: Path) -> None:
    weights = root / "tiny.safetensors"
    with pytest.raises(ConfigError, match="multiples of 32"):
        evaluate(weights, quick(root, size_px=(100, 64)), Judges())
    with pytest.raises(ConfigError, match="does not take pictures of 64x32"):
        evaluate(weights, quick(root, size_px=(64, 32)), judges(root))
    small = quick(root, size_px=(64, 32), read_at_px=SIZE, town_clips=None, video_frames=0)
    read = evaluate(weights, small, Judges(segmenter=root / "segmenter.pt2"))
    assert [row.measure for row in read.rows] == [
        "label agreement, mIoU", "label agreement, accuracy",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no packed clips"):
        evaluate(weights, quick(root, town_clips=tmp_path), Judges())
    with pytest.raises(ConfigError, match="no file"):
        evaluate(weights, quick(root), Judges(alexnet=tmp_path / "none.pth"))


def test_exemplars_keep_away_from_the_picture_they_are_for(root: Path) -> None:
    photos = load_photos(settings(root).styles[0].model_copy(update={"drives": ("d3",)}))
    painter = Painter(root / "tiny.safetensors")
    book = StyleBook(painter, photos, SIZE, exemplars=2)
    assert [p.frame for p in book.exemplars("street/d3", 100)] == [0, 200]
    assert book.style("street/nowhere") is None
    assert book.style("street/d3", 100) is book.style("street/d3", 110)
    painter.close()


def test_a_still_is_the_photograph_with_its_labels(root: Path) -> None:
    photo = load_photos(settings(root).styles[0].model_copy(update={"drives": ("d3",)}))[0]
    still = still_of(photo, SIZE)
    assert still.view.labels is not None
    still.view.validate()
    rows, columns = np.indices(still.view.labels.shape)
    assert (still.tags.numpy()[still.view.labels, rows, columns] == 1).all()
    pixels = as_uint8(still.rgb)
    assert (as_uint8(as_tensor(pixels)) == pixels).all()


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A drive with actors through the toy world."""
    from sim2street.neural_renderer.data.town_pack import clip_from_frames

    with ToyWorld(160, 80) as world:
        pack = PackConfig(clips=1, frames=6, every=1, warm_up=4)
        frames = drive_clip(world, lambda _: Control(throttle=1.0), pack, world.reset(3))
    packed = clip_of_pack(clip_from_frames(frames, "toy/3"))
    for moment, frame in zip(packed.moments, frames, strict=True):
        assert {a.tag for a in moment.actors} <= set(range(29))
        assert len(moment.actors) == len(frame.actors)
    return packed


def painted(clip: Clip, noise: float) -> list[np.ndarray]:
    """Grey by inverse depth, with flicker."""
    rng = np.random.default_rng(0)
    pictures = []
    for moment in clip.moments:
        assert moment.view.depth_m is not None
        grey = 40.0 + 160.0 / (1.0 + moment.view.depth_m / 20.0)
        grey = grey + rng.normal(0.0, noise, grey.shape) if noise else grey
        pictures.append(np.repeat(grey[..., None], 3, axis=2).clip(0, 255).astype(np.uint8))
    return pictures


def test_flicker_is_a_temporal_error_and_shows_beside_frame_by_frame(clip: Clip) -> None:
    steady, flicker = (score_clip(clip, painted(clip, noise)) for noise in (0.0, 12.0))
    assert flicker.error > 2.0 * steady.error
    rows = clip_rows("toy", [clip], lambda c, history: painted(c, 0.0 if history else 12.0))
    error = rows[0]
    assert error.value == pytest.approx(steady.error)
    assert error.details["frame_by_frame"] == pytest.approx(flicker.error)
    assert "of it" in error.beside
    alone = painted(clip, 12.0)
    blurred = clip_rows("toy", [clip], lambda c, history: fading(alone) if history else alone)
    assert blurred[2].value < 0.3
    kept = clip_rows("toy", [clip], lambda c, history: alone)
    assert kept[2].value == pytest.approx(1.0)


def fading(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Detail lost from frame to frame."""
    mean = pictures[-1].mean()
    return [*pictures[:-1], np.full_like(pictures[-1], int(mean))]


def test_a_place_that_changed_is_seen_on_the_revisit(clip: Clip) -> None:
    same = revisit_row([clip], lambda c, history: painted(c, 0.0))
    changed = revisit_row([clip], lambda c, history: [
        np.clip(p.astype(int) + 3 * i, 0, 255).astype(np.uint8)
        for i, p in enumerate(painted(c, 0.0))
    ])  # fmt: skip
    assert same.value < 1e-5
    assert changed.value > 20.0


def test_photographs_are_asked_once_and_a_broken_cache_is_made_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def find() -> np.ndarray:
        asked.append(1)
        return np.arange(3.0)

    picture = (torch.ones(3, 4, 4),)
    first = FeatureCache(tmp_path, "looks", "ab" * 32)
    assert first.of(picture, find).tolist() == [0.0, 1.0, 2.0]
    first.save()
    assert FeatureCache(tmp_path, "looks", "ab" * 32).of(picture, find).tolist() == [0, 1, 2]
    assert len(asked) == 1
    FeatureCache(tmp_path, "looks", "cd" * 32).of(picture, find)  # another network
    FeatureCache(tmp_path, "looks", "ab" * 32).of((torch.zeros(3, 4, 4),), find)
    assert len(asked) == 3
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(b"cut short")
    FeatureCache(tmp_path, "looks", "ab" * 32).of(picture, find)
    assert len(asked) == 4
    FeatureCache(None, "looks", "ab" * 32).save()


def reading(cars_read: float) -> np.ndarray:
    """1,000 pixels of cars, a share of which is read as such, the rest as buildings."""
    names = list(SCORED_GROUPS)
    counts = np.zeros((NOT_SCORED, NOT_SCORED + 1), dtype=np.int64)
    counts[names.index("road"), names.index("road")] = 9000
    counts[names.index("vehicle"), names.index("vehicle")] = round(1000 * cars_read)
    counts[names.index("vehicle"), names.index("building")] = round(1000 * (1 - cars_read))
    return counts


def test_failures_are_what_is_lost_against_the_photograph() -> None:
    rendered = [reading(share) for share in (0.9, 0.1, 0.4)]
    photographs = [reading(share) for share in (0.9, 0.2, 0.9)]
    found = worst(Readings(rendered, photographs), 5)
    assert [(f.index, f.group) for f in found] == [(2, "vehicle"), (1, "vehicle")]
    assert found[0].iou == pytest.approx(0.4)
    assert found[0].iou_photograph == pytest.approx(0.9)
    assert worst(Readings(photographs, photographs), 5) == []


def test_failures_are_drawn_and_a_quick_look_sees_less(root: Path, tmp_path: Path) -> None:
    config = quick(root, town_clips=None, video_frames=0, failures=2).quick()
    assert (config.stills, config.clips, config.retrieval_pictures) == (16, 2, 1)
    networks = Judges(segmenter=root / "segmenter.pt2", alexnet=root / "alex.pth")
    first = evaluate(root / "tiny.safetensors", config, networks, cache=tmp_path)
    assert first.failures is not None
    height, width = first.failures.shape[:2]
    assert width == 4 * SIZE[0]
    assert height % (SIZE[1] + TITLE_PX) == 0
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.npz")} >= {"labels", "pooled"}
    again = evaluate(root / "tiny.safetensors", config, networks, cache=tmp_path)
    assert again.to_json() == first.to_json()


class Thumbnail(nn.Module):
    """Eight numbers of a picture that must be 299x299, as Inception's."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 299, 299)
        return nn.functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1)[:, :8]


def test_kid_by_given_features_is_named_and_bootstrapped(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "thumbnail.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        torch.jit.script(Thumbnail()).save(str(path))
    config = quick(root, town_clips=None, video_frames=0)
    report = evaluate(root / "tiny.safetensors", config, Judges(kid_features=path))
    (row,) = report.rows
    assert row.measure == "KID (thumbnail)"
    assert row.details["n"] == 4
    assert row.details["low"] <= row.value <= row.details["high"]
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a TorchScript network"):
        evaluate(root / "tiny.safetensors", config, Judges(kid_features=tmp_path / "bad.pt"))


def test_fid_needs_more_pictures_than_features() -> None:
    rng = torch.Generator().manual_seed(0)

    def pictures(count: int, brighter: float) -> list[Painted]:
        found = []
        for _ in range(count):
            rgb = torch.rand(3, 8, 8, generator=rng) - 0.5
            still = Still(None, rgb, torch.zeros(29, 8, 8), "d", 0)  # type: ignore[arg-type]
            found.append(Painted(still, rgb + brighter, None))  # type: ignore[arg-type]
        return found

    def features(rgb: Tensor) -> Tensor:
        return rgb.mean(dim=(2, 3))

    cache = FeatureCache(None, "pooled", "")
    near = distance_rows(features, "mean", pictures(6, 0.1), 0, cache)
    assert [row.measure for row in near] == ["KID (mean)", "FID (mean)"]
    far = distance_rows(features, "mean", pictures(6, 0.8), 0, cache)
    assert all(f.value > n.value for f, n in zip(far, near, strict=True))
    few = distance_rows(features, "mean", pictures(3, 0.1), 0, cache)
    assert [row.measure for row in few] == ["KID (mean)"]
