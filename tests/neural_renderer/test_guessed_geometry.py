"""Views without depth get the pseudo-depth that training photographs have."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sim2street import neural_renderer
from sim2street.bridge.frame import Camera, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.conditions.guessed_geometry import (
    guess_horizon,
    with_guessed_depth,
)
from sim2street.neural_renderer.conditions.view_input import ViewInput, view_input
from sim2street.neural_renderer.session import NeuralRenderer

CPU = torch.device("cpu")
HEIGHT, WIDTH, HORIZON = 128, 256, 0.4
WEIGHTS = Path(neural_renderer.__file__).parent / "weights" / "tiny"


def street(horizon: float = HORIZON, pose: np.ndarray | None = None) -> View:
    """A road up to the horizon between two facades, under the sky."""
    row = round(horizon * HEIGHT)
    labels = np.full((HEIGHT, WIDTH), Tag.SKY, np.uint8)
    labels[row:] = Tag.ROAD
    for column in range(WIDTH // 3):
        reach = round(row * (1.0 - column / (WIDTH / 3)))
        labels[max(0, row - reach) : row + round(reach * 0.6), column] = Tag.BUILDING
        labels[max(0, row - reach) : row + round(reach * 0.6), -1 - column] = Tag.BUILDING
    camera = Camera.from_fov(WIDTH, HEIGHT, 62.0)
    return View(camera, level_pose() if pose is None else pose, labels)


def inputs(view: View, horizon: float | None = None) -> ViewInput:
    return view_input(view, (), ClassMap.default(), 1, 0, CPU, torch.float32, horizon)


def test_depth_windows_and_height_are_guessed() -> None:
    x = inputs(street()).x
    assert float(x.has_depth) == 1.0
    road = x.geometry[0, 0, -1].mean(), x.geometry[0, 0, HEIGHT // 2].mean()
    assert road[0] > road[1] > 0.0  # nearer at the bottom
    assert not x.geometry[0, 0, 0, WIDTH // 2].any()  # the sky is far
    assert x.layout[0, -1].sum() > 50  # windows in the facades


def test_the_world_s_own_depth_is_not_replaced() -> None:
    view = street()
    exact = dataclasses.replace(view, depth_m=np.full((HEIGHT, WIDTH), 7.0, np.float32))
    made = inputs(exact)
    assert made.depth_m is not None
    assert float(made.depth_m.unique()) == 7.0
    assert made.horizon is None


def test_guessed_depth_moves_no_history() -> None:
    assert inputs(street()).depth_m is None


def test_the_horizon_is_read_from_the_road() -> None:
    found = guess_horizon(street(0.4))
    assert found is not None
    assert found == pytest.approx(0.4, abs=0.03)
    assert guess_horizon(View(street().camera, level_pose(), np.zeros((8, 8), np.uint8))) is None


def test_a_pitched_camera_becomes_level_where_it_stands() -> None:
    pitch = np.eye(4, dtype=np.float32)
    pitch[1:3, 1:3] = ((0.98, -0.2), (0.2, 0.98))
    pose = level_pose(1.6) @ pitch
    pose[:2, 3] = (30.0, -4.0)
    view = with_guessed_depth(street(pose=pose), 0.4)
    np.testing.assert_allclose(view.pose[:3, 3], (30.0, -4.0, 1.6), atol=1e-6)
    np.testing.assert_allclose(view.pose[:3, 1], (0.0, 0.0, -1.0))
    np.testing.assert_allclose(view.pose[:3, :3].T @ view.pose[:3, :3], np.eye(3), atol=1e-6)
    assert view.camera.cy_px == pytest.approx(0.4 * HEIGHT)


@pytest.mark.parametrize("z_m", [-3.0, 0.0, 150.0])
def test_a_height_that_is_not_above_the_ground_is_not_used(z_m: float) -> None:
    pose = level_pose(z_m)
    view = with_guessed_depth(street(pose=pose), 0.4)
    assert 1.0 < view.pose[2, 3] < 2.0
    assert view.depth_m is not None
    assert 2.0 < view.depth_m[-1].mean() < 10.0


def test_one_horizon_for_a_drive_and_a_new_one_after_a_cut() -> None:
    with NeuralRenderer(WEIGHTS / "tiny.safetensors", WEIGHTS / "styles", "cpu") as renderer:
        camera = street().camera
        session = renderer.open_session(SessionConfig("day", camera, (WIDTH, HEIGHT)))

        def horizon_after(view: View, tick: int, episode: int) -> float | None:
            renderer.render([RenderRequest(session, view, tick, episode)])
            state, _ = renderer.save_session(session)
            assert state is not None
            return state.horizon

        first = horizon_after(street(0.40), 0, 0)
        assert horizon_after(street(0.44), 1, 0) == first
        assert horizon_after(street(0.44), 0, 1) != first
