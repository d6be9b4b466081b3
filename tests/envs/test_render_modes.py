"""What render() returns or shows in each render mode."""

from __future__ import annotations

import numpy as np
import pytest
from straight_road import StraightRoadWorld

from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.envs import DrivingEnv, ObservationConfig
from sim2street.envs.rendering import RENDER_MODES, paint_depth

AHEAD = np.array([0.0, 1.0], np.float32)


def env_for(render_mode: str, scale: int = 1) -> DrivingEnv:
    world = RenderedWorld(StraightRoadWorld(), PaletteRenderer(), scale=scale)
    return DrivingEnv(
        world,
        observation=ObservationConfig(keys=("state",)),
        image_scale=scale,
        render_mode=render_mode,
    )


def test_side_by_side_is_labels_depth_and_image() -> None:
    env = env_for("side_by_side", scale=2)
    env.reset(seed=0)
    image = env.render()
    assert image is not None
    assert (image.shape, image.dtype) == ((64, 3 * 128, 3), np.uint8)
    labels, depth, rgb = np.split(image, 3, axis=1)
    assert env.last_frame is not None
    assert np.array_equal(rgb, env.last_frame.view.rgb)
    assert np.array_equal(labels, rgb), "the palette renderer paints labels"
    assert depth[-1, 64, 0] > depth[40, 64, 0] > depth[0, 64, 0] == 1, "near is bright"
    env.close()


def test_side_by_side_without_rgb_has_a_black_panel() -> None:
    env = DrivingEnv(
        StraightRoadWorld(),
        observation=ObservationConfig(keys=("state",)),
        render_mode="side_by_side",
    )
    env.reset(seed=0)
    labels, _, rgb = np.split(env.render(), 3, axis=1)
    assert labels.any()
    assert not rgb.any()


def test_depth_is_painted_by_its_inverse() -> None:
    grey = paint_depth(np.array([[2.0, 4.0, 8.0, 1000.0]], np.float32))
    assert grey[0, :, 0].tolist() == [255, 255, 127, 1]


def test_human_shows_the_image_in_a_window(monkeypatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    env = env_for("human")
    env.metadata["render_fps"] = 1000
    env.reset(seed=0)
    env.step(AHEAD)
    assert env.render() is None
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert env.last_frame is not None
    assert np.array_equal(shown, env.last_frame.view.rgb)
    env.close()
    assert not pygame.display.get_init()
    env.close()


def test_metadata_lists_modes_and_fps() -> None:
    assert DrivingEnv.metadata["render_modes"] == list(RENDER_MODES)
    env = env_for("rgb_array")
    env.reset(seed=0)
    assert env.metadata["render_fps"] == 10
