"""The functions of `import sim2street`: what the README's first examples call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sim2street
from sim2street.bridge.errors import RendererError
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError

STYLES = Path(sim2street.__file__).parent / "neural_renderer" / "weights" / "tiny" / "styles"


def street(height: int = 64, width: int = 128) -> np.ndarray:
    labels = np.full((height, width), Tag.SKY, np.uint8)
    labels[height // 2 :] = Tag.ROAD
    labels[height // 4 : height // 2, : width // 3] = Tag.BUILDING
    return labels


@pytest.fixture(scope="module")
def tiny() -> sim2street.Renderer:
    return sim2street.load_renderer("tiny", device="cpu", precision="float32")


def test_a_label_map_becomes_an_image(tiny: sim2street.Renderer) -> None:
    image = tiny.render_labels(street(), style="day")
    assert image.shape == (64, 128, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10
    again = tiny.render_labels(street(), style="day")
    np.testing.assert_array_equal(image, again)


def test_batches_and_several_styles(tiny: sim2street.Renderer) -> None:
    maps = np.stack([street(), street()[:, ::-1]])
    batch = tiny.render_labels(maps, style="day")
    assert batch.shape == (2, 64, 128, 3)
    alone = tiny.render_labels(maps[1], style="day")
    assert np.abs(batch[1].astype(int) - alone).max() <= 2  # a batch sums in another order
    both = tiny.render_labels(street(), style=["day", "dusk"])
    assert both.shape == (2, 64, 128, 3)
    assert np.abs(both[0].astype(int) - both[1]).mean() > 3
    mixed = tiny.render_labels(maps, style=["day", {"day": 0.5, "dusk": 0.5}])
    assert mixed.shape == (2, 64, 128, 3)


def test_scale_and_depth(tiny: sim2street.Renderer) -> None:
    depth_m = np.full((64, 128), 20.0, np.float32)
    image = tiny.render_labels(street(), depth_m=depth_m, scale=2)
    assert image.shape == (128, 256, 3)


def test_a_style_file_is_a_style(tiny: sim2street.Renderer) -> None:
    style = sim2street.load_style(STYLES / "dusk.safetensors")
    assert style.name == "dusk"
    by_file = tiny.render_labels(street(), style=style)
    np.testing.assert_array_equal(by_file, tiny.render_labels(street(), style="dusk"))


@pytest.mark.parametrize(
    ("labels", "style", "said"),
    [
        (street().astype(np.int64), "day", "expected uint8"),
        (street()[0], "day", r"\(H, W\)"),
        (np.full((64, 128), 200, np.uint8), "day", "200"),
        (street(), "dya", "did you mean 'day'"),
        (street(), [], "0 styles"),
        (np.stack([street()] * 3), ["day", "dusk"], "2 styles and 3 label maps"),
    ],
)
def test_mistakes_are_explained(
    tiny: sim2street.Renderer, labels: np.ndarray, style: object, said: str
) -> None:
    with pytest.raises(RendererError, match=said):
        tiny.render_labels(labels, style)  # type: ignore[arg-type]


def test_no_session_is_left_open(tiny: sim2street.Renderer) -> None:
    tiny.render_labels(street())
    with pytest.raises(RendererError):
        tiny.render_labels(street(), style=["day", "no such style"])
    assert not tiny._sessions  # type: ignore[attr-defined]


def test_the_palette_renders_stills_too() -> None:
    with sim2street.load_renderer("palette") as palette:
        assert palette.render_labels(street()).shape == (64, 128, 3)


def test_the_same_seed_gives_the_same_world() -> None:
    frames = []
    for seed in (7, 7, 8):
        world = sim2street.make_world("town", seed=seed, sensors=False)
        try:
            first, second = world.reset(), world.reset()
            frames.append((first.ego.pose, second.ego.pose))
        finally:
            world.close()
    np.testing.assert_array_equal(frames[0][0], frames[1][0])
    np.testing.assert_array_equal(frames[0][1], frames[1][1])
    assert not np.array_equal(frames[0][0], frames[0][1])
    assert not np.array_equal(frames[0][0], frames[2][0])


def test_a_world_drives_and_shows_images() -> None:
    world = sim2street.make_world("town", seed=7, size_px=(64, 32))
    with world:
        world.reset()
        frame = world.step(sim2street.Control(throttle=0.5))
        assert frame.tick == 1
        assert frame.view.labels is not None
        assert frame.view.labels.shape == (32, 64)


def test_unknown_names_and_keys_are_explained() -> None:
    with pytest.raises(ConfigError, match="did you mean 'town'"):
        sim2street.make_world("twon")
    with pytest.raises(ConfigError, match="trafic"):
        sim2street.make_world("town", trafic=3)
    with pytest.raises(ConfigError, match="palette"):
        sim2street.load_renderer("palete")
