"""Shipped weights are complete and small enough, and render a street from synthetic labels."""

from pathlib import Path

import numpy as np
import pytest

from sim2street import neural_renderer
from sim2street.bridge.frame import SKY_DEPTH_M, Camera, View
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.neural_renderer.session import NeuralRenderer

WEIGHTS = Path(neural_renderer.__file__).parent / "weights"
CHECKPOINTS = sorted(WEIGHTS.glob("*/*.safetensors"))
LIMIT_BYTES = 20_000_000
CAMERA = Camera.from_fov(256, 128, 62.0)


def test_there_are_shipped_weights() -> None:
    assert CHECKPOINTS


def street() -> View:
    """A straight road between sidewalks, houses left, trees right, a car ahead."""
    labels = np.full((128, 256), Tag.SKY, np.uint8)
    rows, columns = np.mgrid[0:128, 0:256]
    away = np.abs(columns - 128)
    labels[(columns < 118) & (rows > 54 - away // 3)] = Tag.BUILDING
    labels[(columns > 140) & (rows > 54 - away // 4)] = Tag.VEGETATION
    ground = rows >= 56
    labels[ground] = Tag.SIDEWALK
    labels[ground & (away < 12 + 2.2 * (rows - 56))] = Tag.ROAD
    labels[60:76, 140:166] = Tag.CAR
    depth_m = np.full((128, 256), SKY_DEPTH_M, np.float32)
    depth_m[labels != Tag.SKY] = 30.0
    depth_m[ground] = (1.5 * CAMERA.fy_px / np.maximum(rows - 54.0, 1.0))[ground]
    pose = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], dtype=np.float32)
    return View(CAMERA, pose, labels=labels, depth_m=depth_m)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_shipped_weights_render_each_class_differently(path: Path) -> None:
    assert path.stat().st_size <= LIMIT_BYTES
    assert path.with_suffix(".md").is_file()
    view = street()
    with NeuralRenderer(path, path.parent / "styles", device="cpu", precision="float32") as net:
        assert "research" in net.info.license
        assert len(net.styles()) >= 2
        images = {}
        for style in net.styles():
            session = net.open_session(SessionConfig(style, CAMERA, (256, 128)))
            (out,) = net.render([RenderRequest(session, view, 0, 0)])
            images[style] = out.rgb.astype(np.float32)
    assert view.labels is not None
    for rgb in images.values():
        means = {
            tag: rgb[view.labels == tag].mean(axis=0)
            for tag in (Tag.SKY, Tag.ROAD, Tag.VEGETATION, Tag.BUILDING)
        }
        assert means[Tag.SKY].mean() > means[Tag.ROAD].mean() + 20.0
        assert means[Tag.SKY].mean() > means[Tag.VEGETATION].mean() + 20.0
        assert means[Tag.VEGETATION].mean() < 140.0
        # Trees have texture, neither flat colour nor noise, and more of it than the sky.
        detail = np.abs(np.diff(rgb.mean(axis=2), axis=1))
        trees = detail[(view.labels == Tag.VEGETATION)[:, 1:]].mean()
        sky = detail[(view.labels == Tag.SKY)[:, 1:]].mean()
        assert 2.0 < trees < 40.0
        assert trees > 1.5 * sky
    looks = np.array([rgb.mean(axis=(0, 1)) for rgb in images.values()])
    assert looks.max(axis=0).mean() - looks.min(axis=0).mean() > 8.0
