"""Placement: whole bays and storeys on walls, everything fixed to the world."""

import dataclasses

import numpy as np
import pytest
from support.flat_atlas import (
    BLANK_COLOUR,
    CORNICE_M,
    GROUND_COLOUR,
    GROUND_M,
    STOREY_COLOUR,
    STOREY_M,
    TOP_COLOUR,
    flat_atlas,
)

from sim2street.bridge.frame import SKY_DEPTH_M, Camera, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import SurfaceKind, Surfaces, WallMaterial
from sim2street.neural_renderer.canvas.parts import AtlasParts, atlas_parts
from sim2street.neural_renderer.canvas.placement import place
from sim2street.neural_renderer.canvas.sampling import sample
from sim2street.neural_renderer.canvas.surface_map import NO_TEXTURE

HEIGHT, WIDTH, DISTANCE_M = 128, 256, 12.0


@pytest.fixture(scope="module")
def parts() -> AtlasParts:
    return atlas_parts(flat_atlas())


def wall_view(
    length_m: float, height_m: float, material: WallMaterial = WallMaterial.BRICK, key: int = 0x700
) -> View:
    """A wall straight ahead, standing on a road; exact texture coordinates."""
    camera = Camera.from_fov(WIDTH, HEIGHT, 90.0)
    y, x = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    along = (x - camera.cx_px) / camera.fx_px * DISTANCE_M + length_m / 2
    up = 1.5 - (y - camera.cy_px) / camera.fy_px * DISTANCE_M
    wall = (along >= 0) & (along < length_m) & (up >= 0) & (up < height_m)
    below = y > camera.cy_px
    road_depth = 1.5 * camera.fy_px / np.maximum(y - camera.cy_px, 1e-3)
    labels = np.where(wall, Tag.BUILDING, np.where(below, Tag.ROAD, Tag.SKY)).astype(np.uint8)
    depth = np.where(wall, DISTANCE_M, np.where(below, road_depth, SKY_DEPTH_M))
    surfaces = Surfaces(
        wall.astype(np.uint16),
        np.where(wall[..., None], np.stack([along, up], axis=-1), 0.0).astype(np.float32),
        np.array([SurfaceKind.WALL], np.uint8),
        np.array([key], np.uint32),
        np.array([[length_m, height_m]], np.float32),
        np.array([material], np.uint8),
    )
    depth_m = np.minimum(depth, SKY_DEPTH_M).astype(np.float32)
    view = View(camera, level_pose(1.5), labels, depth_m, surfaces=surfaces)
    view.validate()
    return view


def colours(view: View, parts: AtlasParts, seed: int = 1) -> np.ndarray:
    """Name of the piece at each pixel: 0 none, 1 ground, 2 storey, 3 top, 4 blank, 5 other."""
    image = sample(place(view, parts, seed), parts.packed).rgb
    out = np.full(image.shape[:2], 5)
    out[~image.any(axis=2)] = 0
    known = (GROUND_COLOUR, STOREY_COLOUR, TOP_COLOUR, BLANK_COLOUR)
    hue = image / np.maximum(image.max(axis=2, keepdims=True), 1e-6)
    for number, colour in enumerate(known, start=1):
        wanted = np.array(colour) / max(colour)
        near = np.abs(hue - wanted).max(axis=2) < 0.05
        out[near & (view.labels == Tag.BUILDING)] = number
    return out


def test_a_wall_gets_whole_bays_and_storeys(parts: AtlasParts) -> None:
    height_m = GROUND_M + 2 * STOREY_M + CORNICE_M
    view = wall_view(9.3, height_m)
    surfaces = place(view, parts, 1)
    wall = view.labels == Tag.BUILDING
    middle = np.flatnonzero(wall.any(axis=1))
    row = surfaces.texel[0][middle[len(middle) // 2]]
    bays = np.flatnonzero(np.diff(row[wall[middle[len(middle) // 2]]]) < -5)
    assert len(bays) == 2  # three bays of 3.1 m
    panes_per_row = surfaces.window & wall
    assert panes_per_row.any()
    assert not panes_per_row[:, np.flatnonzero(wall.any(axis=0))[[0, -1]]].any()


def test_pieces_from_the_ground_to_the_eaves(parts: AtlasParts) -> None:
    height_m = GROUND_M + STOREY_M + CORNICE_M
    column = colours(wall_view(9.0, height_m), parts)[:, WIDTH // 2]
    seen = [int(c) for c in column if c in (1, 2, 3, 4)]
    assert [c for k, c in enumerate(seen) if k == 0 or seen[k - 1] != c] == [3, 2, 1]


@pytest.mark.parametrize("material", [WallMaterial.GABLE, WallMaterial.BLIND])
def test_gables_and_blind_walls_have_no_windows(parts: AtlasParts, material: WallMaterial) -> None:
    view = wall_view(9.0, 6.0, material)
    assert set(np.unique(colours(view, parts)[view.labels == Tag.BUILDING])) == {4}
    assert not place(view, parts, 1).window.any()


def test_a_wall_narrower_than_a_bay_stays_plain(parts: AtlasParts) -> None:
    view = wall_view(1.2, 6.0)
    assert set(np.unique(colours(view, parts)[view.labels == Tag.BUILDING])) == {4}


def test_textures_are_fixed_to_the_world(parts: AtlasParts) -> None:
    """The same ground point has the same texel before and after the camera moved."""
    view = wall_view(9.0, 6.0)
    moved = dataclasses.replace(view, pose=view.pose.copy(), surfaces=None)
    moved.pose[0, 3] += 0.5
    still = dataclasses.replace(view, surfaces=None)
    road = view.labels == Tag.ROAD
    before, after = place(still, parts, 1), place(moved, parts, 1)
    assert (before.texture[road] == after.texture[road]).all()
    step = after.texel[:, road] - before.texel[:, road]
    np.testing.assert_allclose(step[0], 0.5 * 16.0, atol=1e-2)  # 16 texels per metre
    np.testing.assert_allclose(step[1], 0.0, atol=1e-2)


def test_the_same_view_gives_the_same_bits_and_seeds_differ(parts: AtlasParts) -> None:
    view = wall_view(9.0, 9.0)
    one, two = place(view, parts, 1), place(view, parts, 1)
    for field in ("texture", "texel", "jacobian", "tint", "window"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    other = place(view, parts, 2)
    assert not np.array_equal(one.tint, other.tint)


def test_walls_without_exact_coordinates_are_found_by_depth(parts: AtlasParts) -> None:
    view = dataclasses.replace(wall_view(9.0, 9.0), surfaces=None)
    wall = view.labels == Tag.BUILDING
    placed = place(view, parts, 1).texture[wall] != NO_TEXTURE
    assert placed.mean() > 0.8
    assert place(view, parts, 1).window[wall].mean() > 0.02


def test_other_surfaces_have_their_textures(parts: AtlasParts) -> None:
    view = wall_view(9.0, 6.0)
    image = sample(place(view, parts, 1), parts.packed)
    sky, road = view.labels == Tag.SKY, view.labels == Tag.ROAD
    assert image.rgb[sky, 2].mean() > image.rgb[sky, 0].mean()
    np.testing.assert_allclose(image.rgb[road].std(axis=1), 0.0, atol=0.02)
    assert (image.coverage[sky | road] > 0.99).all()
