"""Texture coordinates of the town: against ray casting, and constant over time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from town_views import CAMERA, body_pose, camera_pose, crowd, lane_spots

from sim2street.bridge.check.run import check_world
from sim2street.bridge.errors import FrameError, ProtocolError
from sim2street.bridge.frame import Actor
from sim2street.bridge.geometry import pixel_rays
from sim2street.bridge.labels import Tag
from sim2street.bridge.recording import Recorder, ReplayWorld
from sim2street.bridge.remapped_world import RemappedWorld
from sim2street.bridge.surfaces import (
    SURFACE_FIELDS,
    SignShape,
    SurfaceKind,
    VehicleSide,
    WallMaterial,
    vehicle_material,
    vehicle_model_and_side,
)
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import make_layout
from sim2street.bridge.town.scenery.building_meshes import Style, house
from sim2street.bridge.town.scenery.building_surfaces import building_meshes
from sim2street.bridge.town.scenery.furniture_meshes import fascia_sign, post_sign
from sim2street.bridge.town.scenery.meshes import Layer, SceneryItem, placed
from sim2street.bridge.town.scenery.sign_surfaces import with_sign_faces
from sim2street.bridge.town.traffic.autopilot import Autopilot
from sim2street.bridge.town.world import TownConfig, TownWorld
from sim2street.bridge.wire.codec import Limits, Message, decode, encode
from sim2street.bridge.wire.world_messages import frame_parts, read_frame

HOUSE_XY_M, HOUSE_YAW_RAD = (20.0, 15.0), -1.3
"""Place of the left end of a house's front, seen from outside, and direction of the front."""

WIDTH_M, EAVES_M = 12.0, 6.0


@pytest.fixture(scope="module")
def built():
    style = Style(EAVES_M, 9.0, "along", 0.7, chimneys=0, wall=WallMaterial.BRICK, shop=True)
    return house(np.random.default_rng(3), (0.0, WIDTH_M, 0.0, 9.0), style), style


def house_scene(built, number=100_007, seed=5):
    """A scene with one house at `HOUSE_XY_M`; its eaves' height (house() varies it)."""
    fine, _ = building_meshes(*built, number, seed)
    body = placed(fine, *HOUSE_XY_M, 0.0, HOUSE_YAW_RAD)
    item = SceneryItem(body, Layer.SOLID, HOUSE_XY_M)
    return Scene(make_layout(3), [item], surfaces=True)


def eaves_m(built):
    return float(built[0].fine[:8, :, 2].max())


def looking_at_front(distance_m, aside_rad=0.0):
    """A pose that looks at the middle of the house's front from the street."""
    cos, sin = np.cos(HOUSE_YAW_RAD), np.sin(HOUSE_YAW_RAD)
    middle = np.array(HOUSE_XY_M) + np.array([cos, sin]) * WIDTH_M / 2
    direction = HOUSE_YAW_RAD + np.pi / 2 + aside_rad  # away from the street is to the left
    eye = middle - np.array([np.cos(direction), np.sin(direction)]) * distance_m
    return camera_pose(eye[0], eye[1], direction, 1.6, -0.05)


def front_uv(pose):
    """(u, v) on the front's plane (H, W, 2), float64, by intersecting the pixels' rays."""
    rays = pixel_rays(CAMERA).astype(float) @ pose[:3, :3].astype(float).T
    along = np.array([np.cos(HOUSE_YAW_RAD), np.sin(HOUSE_YAW_RAD), 0.0])
    inward = np.array([-along[1], along[0], 0.0])
    away = np.array([*HOUSE_XY_M, 0.0]) - pose[:3, 3].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = rays * ((away @ inward) / (rays @ inward))[..., None] - away
    return np.stack([points @ along, points[..., 2]], axis=-1)


def rows_of(surfaces):
    """Row number (H, W) of each pixel's surface, -1 for none."""
    return surfaces.index.astype(int) - 1


@pytest.mark.parametrize(("distance_m", "aside_rad"), [(14.0, 0.0), (30.0, 0.5), (55.0, -1.1)])
def test_coordinates_on_a_wall_are_exact_to_a_millimetre(built, distance_m, aside_rad):
    pose = looking_at_front(distance_m, aside_rad)
    scene = house_scene(built)
    surfaces = scene.render(CAMERA, pose).surfaces
    scene.close()
    front = np.flatnonzero(surfaces.material == WallMaterial.SHOP_FRONT)
    assert len(front) == 1
    here = rows_of(surfaces) == front[0]
    assert here.sum() > 150
    np.testing.assert_allclose(surfaces.size_m[front[0]], [WIDTH_M, eaves_m(built)], atol=1e-5)
    truth = front_uv(pose)[here]
    # Pixels on the outline may lie just outside; all others belong to both of its triangles.
    inside = ((truth > 0) & (truth < [WIDTH_M, eaves_m(built)])).all(axis=1)
    assert inside.mean() > 0.95
    np.testing.assert_allclose(surfaces.uv[here][inside], truth[inside], atol=1e-3)
    assert (surfaces.uv[here] >= 0).all()
    assert (surfaces.uv[here] <= surfaces.size_m[front[0]]).all()


def test_the_left_end_seen_from_outside_is_zero(built):
    pose = looking_at_front(14.0)
    scene = house_scene(built)
    surfaces = scene.render(CAMERA, pose).surfaces
    scene.close()
    front = rows_of(surfaces) == np.flatnonzero(surfaces.material == WallMaterial.SHOP_FRONT)[0]
    row, columns = 150, np.flatnonzero(front[150])
    u, v = surfaces.uv[row, columns].T
    assert u[0] < 0.1
    assert u[-1] > WIDTH_M - 0.1
    assert (np.diff(u) > 0).all()
    column = columns[len(columns) // 2]
    rows = np.flatnonzero(front[:, column])
    assert (np.diff(surfaces.uv[rows, column, 1]) < 0).all()
    assert surfaces.uv[rows[-1], column, 1] < 0.1
    assert v.max() < EAVES_M
    # Up the roof, v grows from the eaves on.
    slope = np.flatnonzero(surfaces.kind[rows_of(surfaces)[: rows[0], column]] == SurfaceKind.ROOF)
    assert (np.diff(surfaces.uv[slope, column, 1]) < 0).all()


def test_walls_of_one_house_share_their_key_and_other_houses_differ(built):
    keys = []
    for number, seed in ((100_007, 5), (100_007, 5), (100_008, 5), (100_007, 6)):
        fine, coarse = building_meshes(*built, number, seed)
        upper = np.unique(fine.surfaces.rows["key"] >> 8)
        assert len(upper) == 1
        assert (fine.surfaces.row[: len(coarse)] == coarse.surfaces.row).all()
        assert (coarse.surfaces.row < len(coarse.surfaces.rows)).all()
        walls = fine.surfaces.rows[fine.surfaces.rows["kind"] == SurfaceKind.WALL]
        assert len(np.unique(walls["key"])) == len(walls)
        keys.append(int(upper[0]))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_parts_of_houses_have_their_kind():
    rng = np.random.default_rng(1)
    seen = set()
    for roof in ("along", "across", "hip", "flat", "mansard"):
        style = Style(6.0, 9.0, roof, 0.7, 1.0, 1.0, 1.0, 2, WallMaterial.PLASTER)
        fine, _ = building_meshes(house(rng, (0.0, 8.0, 0.0, 9.0), style), style, 1, 2)
        rows, row = fine.surfaces.rows, fine.surfaces.row
        assert (row >= 0).all()
        normal = np.cross(*(fine.triangles[:, k] - fine.triangles[:, 0] for k in (1, 2)))
        level = np.abs(normal[:, 2]) <= 0.05 * np.linalg.norm(normal, axis=1)
        assert ((rows["kind"][row] == SurfaceKind.WALL) == level).all()
        corners = fine.triangles.astype(float)
        for k in range(len(rows)):
            mine = row == k
            uv, xyz = fine.surfaces.uv[mine].reshape(-1, 2), corners[mine].reshape(-1, 3)
            # Distances in (u, v) are distances in space: the faces are plane.
            np.testing.assert_allclose(
                np.linalg.norm(uv - uv[0], axis=1), np.linalg.norm(xyz - xyz[0], axis=1), atol=0.02
            )
            assert uv.min() > -1e-4
            seen.add(int(rows["material"][k]))
    assert {WallMaterial.PLASTER, WallMaterial.GABLE, WallMaterial.BLIND} <= seen


@pytest.mark.parametrize(
    ("yaw_rad", "side"),
    [(0.0, VehicleSide.BACK), (np.pi, VehicleSide.FRONT),
     (np.pi / 2, VehicleSide.LEFT), (-np.pi / 2, VehicleSide.RIGHT)],
)  # fmt: skip
def test_a_vehicle_shows_the_side_that_faces_the_camera(yaw_rad, side):
    number = 3
    model = VEHICLE_MODELS[number]
    scene = Scene(make_layout(3), [], surfaces=True)
    actor = Actor(7, model.tag, body_pose(9.0, 0.0, yaw_rad), model.extent_m)
    surfaces = scene.render(CAMERA, camera_pose(0.0, 0.0, 0.0), [actor]).surfaces
    scene.close()
    assert (surfaces.kind == SurfaceKind.VEHICLE).all()
    assert len(np.unique(surfaces.key)) == 1
    assert {vehicle_model_and_side(int(m))[0] for m in surfaces.material} == {number}
    facing = np.flatnonzero(surfaces.material == vehicle_material(number, side))
    here = rows_of(surfaces) == facing[0]
    assert here.sum() > 0.6 * (surfaces.index > 0).sum()
    y, x = np.nonzero(here)
    u, v = surfaces.uv[here].T
    assert np.corrcoef(x, u)[0, 1] > 0.98  # from left to right
    assert np.corrcoef(-y, v)[0, 1] > 0.9  # upwards
    assert u.min() < 0.1
    assert u.max() > 0.9
    assert 0.0 <= surfaces.uv.min() <= surfaces.uv.max() <= 1.0


def test_signs_have_faces_in_fractions():
    shapes = set()
    for seed in range(40):
        sign = with_sign_faces(post_sign(np.random.default_rng(seed)), 77)
        rows, row = sign.surfaces.rows, sign.surfaces.row
        shown = np.unique(row[row >= 0])
        assert 1 <= len(shown) <= 2
        assert (sign.tags[row >= 0] == Tag.TRAFFIC_SIGN).all()
        shapes |= set(rows["material"][shown].tolist())
        for k in shown:
            uv = sign.surfaces.uv[row == k].reshape(-1, 2)
            np.testing.assert_allclose(uv.min(axis=0), 0.0, atol=1e-5)
            np.testing.assert_allclose(uv.max(axis=0), 1.0, atol=1e-5)
            assert (rows["size_m"][k] > 0.2).all()
    assert shapes == {SignShape.DISC, SignShape.TRIANGLE, SignShape.DIAMOND, SignShape.BOARD}
    shop = with_sign_faces(fascia_sign(np.random.default_rng(1), 3.0), 77, SignShape.SHOP)
    front = np.unique(shop.surfaces.row[shop.surfaces.row >= 0])
    widths = shop.surfaces.rows["size_m"][front, 0]
    assert widths.max() == pytest.approx(3.0)


@pytest.fixture(scope="module")
def town_frames():
    """Labels without surfaces, and frames with them, of the same few ticks; two resets."""
    plain, frames = [], []
    with TownWorld(TownConfig()) as world:
        frame = world.reset(seed=4, options={"town": 41})
        pilot = Autopilot(world)
        for _ in range(6):
            plain.append(frame)
            frame = world.step(pilot.control())
    with TownWorld(TownConfig(surfaces=True)) as world:
        for seed in (4, 9, 4):
            frame = world.reset(seed=seed, options={"town": 41})
            pilot = Autopilot(world)
            drive = []
            for _ in range(6):
                drive.append(frame)
                frame = world.step(pilot.control())
            frames.append(drive)
    return plain, frames


def test_labels_depth_and_instances_stay_the_same(town_frames):
    plain, (drive, _, _) = town_frames
    for off, on in zip(plain, drive, strict=True):
        assert off.view.surfaces is None
        for name in ("labels", "depth_m", "instances"):
            assert np.array_equal(getattr(off.view, name), getattr(on.view, name))


def test_the_same_seed_gives_the_same_bits_again(town_frames):
    _, (drive, other, again) = town_frames
    for a, b in zip(drive, again, strict=True):
        a.validate()
        for name in SURFACE_FIELDS:
            assert np.array_equal(getattr(a.view.surfaces, name), getattr(b.view.surfaces, name))
    assert not np.array_equal(drive[0].view.surfaces.uv, other[0].view.surfaces.uv)


def test_keys_of_buildings_and_vehicles_are_constant(town_frames):
    _, drives = town_frames
    key_of: dict[int, int] = {}
    for frame in (frame for drive in (drives[0], drives[2]) for frame in drive):
        view = frame.view
        row = rows_of(view.surfaces)
        kind = np.where(row >= 0, view.surfaces.kind[row], 0)
        for tag, wanted in ((Tag.BUILDING, SurfaceKind.WALL), (Tag.CAR, SurfaceKind.VEHICLE)):
            here = (view.labels == tag) & (kind == wanted) & (view.instances > 0)
            pairs = np.stack([view.instances[here], view.surfaces.key[row[here]] >> 8], axis=1)
            for instance, key in np.unique(pairs, axis=0).tolist():
                assert key_of.setdefault(instance, key) == key
    assert len(key_of) > 10


def test_only_visible_surfaces_have_rows_and_they_cover_what_they_should(town_frames):
    _, drives = town_frames
    for frame in drives[0]:
        view = frame.view
        index = view.surfaces.index
        assert set(np.unique(index[index > 0])) == set(range(1, len(view.surfaces.kind) + 1))
        assert (view.surfaces.uv[index == 0] == 0).all()
        # Shelters of bus stops are labelled as buildings too, but have no instance id.
        houses = (view.labels == Tag.BUILDING) & (view.instances > 0)
        assert (index[houses] > 0).all()
        assert (index[view.labels == Tag.CAR] > 0).mean() > 0.95
        assert not index[view.labels == Tag.ROAD].any()


def test_what_was_drawn_before_does_not_matter():
    layout = make_layout(41)
    rng = np.random.default_rng(2)
    x, y, yaw = next(lane_spots(layout, rng, 1))
    cars = crowd(layout, rng, x, y, 12, 4)
    pose = camera_pose(x, y, yaw)
    first, second = Scene(layout, surfaces=True), Scene(layout, surfaces=True)
    fresh = first.render(CAMERA, pose, cars).surfaces
    renumbered = [dataclasses.replace(car, actor_id=car.actor_id + 50) for car in cars[::-1]]
    second.render(CAMERA, camera_pose(x, y, yaw + 2.0), renumbered)
    later = second.render(CAMERA, pose, cars).surfaces
    first.close()
    second.close()
    for name in SURFACE_FIELDS:
        assert np.array_equal(getattr(fresh, name), getattr(later, name)), name


def test_surfaces_survive_the_wire_a_recording_and_a_restored_state(tmp_path):
    config = TownConfig(surfaces=True, vehicles=8, pedestrians=4)
    with Recorder(TownWorld(config), tmp_path / "drive.mcap") as world:
        frame = world.reset(seed=3, options={"town": 41})
        state = world.world.get_state()
        world.step(Autopilot(world.world).control())
        restored = world.world.set_state(state)
        assert "surfaces" in world.spec.fields
    message = Message("frame", 0, "me", 0, *frame_parts(frame))
    read = read_frame(decode([bytes(part) for part in encode(message)], Limits()))
    with ReplayWorld(tmp_path / "drive.mcap") as replay:
        replayed = replay.reset()
    for other in (read, replayed, restored):
        other.validate()
        for name in SURFACE_FIELDS:
            mine, theirs = (getattr(f.view.surfaces, name) for f in (frame, other))
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)


def test_buffers_of_surfaces_are_checked(town_frames):
    frame = town_frames[1][0][0]
    body, arrays = frame_parts(frame)
    some = {k: v for k, v in arrays.items() if not k.endswith("surfaces.key")}
    with pytest.raises(ProtocolError, match=r"surfaces\.key.*all buffers"):
        read_frame(Message("frame", 0, "me", 0, body, some))
    wrong = arrays | {"views.front.surfaces.index": np.zeros((4, 4), np.uint16)}
    with pytest.raises(ProtocolError, match=r"surfaces\.index: expected uint16"):
        read_frame(Message("frame", 0, "me", 0, body, wrong))
    many = arrays | {"views.front.surfaces.kind": np.ones(70_000, np.uint8)}
    with pytest.raises(ProtocolError, match="at most 65535"):
        read_frame(Message("frame", 0, "me", 0, body, many))


def test_surfaces_are_validated(town_frames):
    view = town_frames[1][0][0].view
    good = view.surfaces
    for changes, expected in (
        ({"kind": good.kind * 0}, "kind: must be in 1..6"),
        ({"index": np.full_like(good.index, 60_000)}, r"index: must be in 0\.\."),
        ({"uv": np.full_like(good.uv, np.nan)}, "finite"),
        ({"size_m": good.size_m - 1e6}, "negative"),
        ({"material": good.material.astype(np.int32)}, "material: expected uint8"),
    ):
        bad = dataclasses.replace(view, surfaces=dataclasses.replace(good, **changes))
        with pytest.raises(FrameError, match=expected):
            bad.validate()


def test_what_is_remapped_has_no_surface():
    world = RemappedWorld(TownWorld(TownConfig(surfaces=True)), {"building": "vegetation"})
    with world:
        view = world.reset(seed=4, options={"town": 41}).view
        view.validate()
        kind = view.surfaces.kind[view.surfaces.index[view.surfaces.index > 0] - 1]
        assert SurfaceKind.ROOF not in kind
        assert SurfaceKind.VEHICLE in kind
        world.remap({})
        view = world.reset(seed=4, options={"town": 41}).view
        assert SurfaceKind.ROOF in view.surfaces.kind


def test_a_town_with_surfaces_passes_the_checks():
    with TownWorld(TownConfig(surfaces=True)) as world:
        assert not check_world(world, ticks=20)
