"""Canvases in training and serving: where they come from, and what they change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from street_photos import painted_street
from support.flat_atlas import flat_atlas
from support.toy_world import ToyWorld
from support.untrained import untrained_weights
from tiny_runs import tiny_config, write_photos

from sim2street.apps.compose import build_renderer, build_world
from sim2street.bridge.frame import View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.neural_renderer.canvas.atlas import Atlas, load_atlas
from sim2street.neural_renderer.canvas.source import CanvasSource
from sim2street.neural_renderer.checkpoint import load_generator
from sim2street.neural_renderer.data import photo_canvas
from sim2street.neural_renderer.data.photo_canvas import PhotoCanvas, Region, crop_view, spoilt
from sim2street.neural_renderer.data.town_pack import decode_canvas, encode_canvas
from sim2street.neural_renderer.networks.generator import Generator
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return flat_atlas()


@pytest.fixture(scope="module")
def source(atlas: Atlas) -> CanvasSource:
    return CanvasSource(atlas)


HORIZON_ROW = 64


def street() -> tuple[View, np.ndarray]:
    """A view with a road below a sky, and its pixels in [-1, 1]."""
    rgb, _ = painted_street()
    rgb = (rgb[:128].transpose(2, 0, 1) / 127.5 - 1.0).astype(np.float32)
    height, width = rgb.shape[1:]
    labels = np.full((height, width), Tag.SKY, np.uint8)
    labels[HORIZON_ROW:] = Tag.ROAD
    rows = np.arange(height)[:, None]
    depth_m = np.where(rows > HORIZON_ROW, 300.0 / np.maximum(rows - HORIZON_ROW, 1), 1000.0)
    depth_m = np.broadcast_to(depth_m, labels.shape).astype(np.float32)
    camera = np.array([200.0, 200.0, width // 2, HORIZON_ROW])
    return crop_view(labels, depth_m, np.zeros_like(labels), camera, level_pose(1.5)), rgb


def still(
    source: CanvasSource, monkeypatch: pytest.MonkeyPatch, atlas: float, own: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvas, where it is foreign, and the photograph, with these shares for the road."""
    monkeypatch.setattr(photo_canvas, "REGIONS", (Region((Tag.ROAD,), atlas, own),))
    view, rgb = street()
    canvas, foreign = PhotoCanvas(source).still(view, rgb, np.random.default_rng(1))
    assert view.labels is not None
    road = view.labels == Tag.ROAD
    return canvas[:, road], foreign[0, road], rgb[:, road]


def test_the_atlas_is_foreign(source: CanvasSource, monkeypatch: pytest.MonkeyPatch) -> None:
    canvas, foreign, _ = still(source, monkeypatch, atlas=1.0, own=0.0)
    assert canvas[3].mean() > 0.9
    assert np.array_equal(foreign > 0.0, canvas[3] > 0.0)


def test_own_pixels_are_spoilt_but_not_foreign(
    source: CanvasSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas, foreign, rgb = still(source, monkeypatch, atlas=0.0, own=1.0)
    assert (canvas[3] == 1.0).all()
    assert not foreign.any()
    assert np.corrcoef(canvas[0], rgb[0])[0, 1] > 0.7
    assert np.abs(canvas[:3] - rgb).mean() > 0.01


def test_some_regions_have_no_canvas(source: CanvasSource, monkeypatch: pytest.MonkeyPatch) -> None:
    canvas, foreign, _ = still(source, monkeypatch, atlas=0.0, own=0.0)
    assert not canvas.any()
    assert not foreign.any()


def test_a_recoloured_car_has_other_colours_at_the_same_places() -> None:
    rgb = np.full((3, 32, 64), -0.8, np.float32)
    rgb[0, :, 32:] = 0.9  # red on the right
    changed = [spoilt(rgb, np.random.default_rng(seed), recoloured=True) for seed in range(8)]
    reddest = [int(image[:, 8:-8, 40:-8].mean(axis=(1, 2)).argmax()) for image in changed]
    assert len(set(reddest)) > 1
    assert all(image[:, :, 40:].max() > image[:, :, :24].max() for image in changed)


def test_a_clips_canvas_lies_on_the_world() -> None:
    """1.25 m ahead the road's textures are where perspective says; other seeds show others."""
    photo_source = PhotoCanvas(CanvasSource(load_atlas()))
    view, _ = street()
    pose = view.pose.copy()
    pose[:3, 3] += 1.25 * pose[:3, 2]
    moved = dataclasses.replace(view, pose=pose)
    first, second = photo_source.frames([view, moved], np.random.default_rng(3))
    other, _ = photo_source.frames([view, moved], np.random.default_rng(4))
    # 48 rows below the horizon the road is 6.25 m away, 60 rows below it 5 m.
    steps = np.arange(-20, 21)
    centre = view.camera.width_px // 2
    here = first[0, HORIZON_ROW + 48, centre + 4 * steps]
    there = second[0, HORIZON_ROW + 60, centre + 5 * steps]
    elsewhere = other[0, HORIZON_ROW + 48, centre + 4 * steps]
    assert np.corrcoef(here, there)[0, 1] > 0.8
    assert abs(np.corrcoef(here, elsewhere)[0, 1]) < 0.6


def test_packed_canvases_keep_colours_and_coverage() -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((3, 8, 16)), np.ones((16, 16))).astype(np.float32) * 2.0 - 1.0
    coverage = np.ones((1, 128, 256), np.float32)
    coverage[:, :40] = 0.0
    coverage[:, 40:60] = 0.5
    planes = np.concatenate([smooth * coverage, coverage])
    back = decode_canvas(encode_canvas(planes))
    assert np.abs(back[3] - planes[3]).max() < 0.02
    assert np.abs(back[:3] - planes[:3]).mean() < 0.03
    assert not back[:3, :40].any()
    opaque = np.concatenate([smooth, np.ones_like(coverage)])
    assert decode_canvas(encode_canvas(opaque))[3].min() == 1.0


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_training_with_a_canvas_resumes_exactly(tmp_path: Path, clip_share: float) -> None:
    photos = write_photos(tmp_path / "photos")
    phase = {"clip_share": clip_share, "clip_batch_size": 2}
    config = tiny_config(photos, phase, canvas=True)
    whole = train(config, tmp_path / "whole", CPU)
    train(config, tmp_path / "parts", CPU, stop_at=2)
    parts = train(config, tmp_path / "parts", CPU)
    assert isinstance(whole.generator, Generator)
    assert whole.generator.harmoniser is not None
    assert whole.generator.harmoniser.to_take.bias is not None
    assert float(whole.generator.harmoniser.to_take.bias.detach().abs().sum()) > 0.0
    other = parts.generator.state_dict()
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, other[name]), name
    _, info = load_generator(tmp_path / "whole" / "generator.safetensors")
    assert info.canvas


def test_weights_with_a_canvas_render_with_it(tmp_path: Path, atlas: Atlas) -> None:
    """The picture follows the seed of the textures; the next frame's history has no textures."""
    weights, styles = untrained_weights(tmp_path, canvas=True)
    renderer = NeuralRenderer(weights, styles, device="cpu", precision="float32")
    assert renderer.uses_surfaces
    with renderer, ToyWorld() as world:
        frame = world.reset(0)
        camera = frame.view.camera
        size_px = (camera.width_px, camera.height_px)
        images, saved = [], []
        for seed in (1, 1, 2):
            config = SessionConfig("day", camera, size_px, seed=seed)
            session = renderer.open_session(config)
            request = RenderRequest(session, frame.view, 0, 0, frame.actors)
            images.append(renderer.render([request])[0].rgb)
            saved.append(renderer.save_session(session)[0])
        assert np.array_equal(images[0], images[1])
        assert not np.array_equal(images[0], images[2])
        assert saved[0] is not None
        painted = (saved[0].rgb[0].permute(1, 2, 0).numpy() + 1.0) * 127.5
        assert np.abs(painted - images[0]).mean() > 5.0


def test_the_town_sends_surfaces_to_a_renderer_that_uses_them() -> None:
    pytest.importorskip("panda3d")
    with build_renderer("canvas") as canvas, build_renderer("palette") as palette:
        assert canvas.uses_surfaces
        assert not palette.uses_surfaces
    for wanted in (False, True):
        world = build_world("town_short", surfaces=wanted)
        with world:
            assert ("surfaces" in world.spec.fields) == wanted
