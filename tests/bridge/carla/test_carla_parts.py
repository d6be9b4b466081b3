"""The parts of CarlaWorld: axes, images, routes, tags, the pipe to the child."""

from __future__ import annotations

import ast
import io
import math
from pathlib import Path

import numpy as np
import pytest

from sim2street.bridge.carla.axes import camera_pose_of, pose_of, poses_of, unreal_matrix, unreal_of
from sim2street.bridge.carla.child import images
from sim2street.bridge.carla.child.images import FIRST_OTHER_ID
from sim2street.bridge.carla.child.pipe import read_message, write_message
from sim2street.bridge.carla.client import CHILD
from sim2street.bridge.carla.config import CarlaCameraConfig
from sim2street.bridge.carla.decode import ImageCopier, converted_tags
from sim2street.bridge.carla.frames import actor_tag, label_map_name, weather_from_carla
from sim2street.bridge.carla.instance_actors import with_actor_ids
from sim2street.bridge.carla.route import lead_vehicle, make_route, next_light
from sim2street.bridge.frame import Actor, Camera, LightState, View, Weather
from sim2street.bridge.label_maps import label_map
from sim2street.bridge.labels import Tag

TURNED = (1.0, -2.0, 3.0, 10.0, 130.0, -20.0)


def test_axes_are_carlas_own() -> None:
    carla = pytest.importorskip("carla")
    x, y, z, *turn = TURNED
    theirs = carla.Transform(carla.Location(x, y, z), carla.Rotation(*turn)).get_matrix()
    assert np.allclose(unreal_matrix(TURNED), theirs, atol=1e-5)


def test_axes_convert_there_and_back() -> None:
    assert np.allclose(unreal_of(pose_of(TURNED)), TURNED, atol=1e-9)
    pose = pose_of(TURNED)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)


def test_a_camera_looks_along_its_vehicle() -> None:
    """Yaw 90 (+y, south) in CARLA is -y here; down in the image is down in the world."""
    pose = camera_pose_of((0.0, 0.0, 1.5, 0.0, 90.0, 0.0))
    assert np.allclose(pose[:3, 2], [0, -1, 0], atol=1e-6)
    assert np.allclose(pose[:3, 1], [0, 0, -1], atol=1e-6)
    assert np.allclose(pose[:3, 0], [-1, 0, 0], atol=1e-6)


def test_a_mount_keeps_its_side() -> None:
    camera = CarlaCameraConfig(position_m=(2.0, 0.5, 1.5), yaw_deg=30.0, pitch_deg=-5.0)
    x, y, z, pitch, yaw, roll = camera.mount(rear_axle_m=-1.4)
    assert (x, y, z) == pytest.approx((0.6, -0.5, 1.5))
    assert (pitch, yaw, roll) == pytest.approx((-5.0, -30.0, 0.0))


def test_poses_of_agrees_with_pose_of() -> None:
    several = np.array([TURNED, (0.0,) * 6, (5.0, 6.0, 7.0, -30.0, 200.0, 45.0)])
    assert np.allclose(poses_of(several), [pose_of(tuple(row)) for row in several], atol=1e-12)
    assert poses_of(np.empty((0, 6))).shape == (0, 4, 4)


def test_depth_is_exact_over_all_24_bits() -> None:
    steps = np.array([0, 1, 255, 256, 65536, 2**23 + 7, 2**24 - 2, 2**24 - 1], np.int64)
    bgra = np.stack([steps >> 16, steps >> 8 & 255, steps & 255, 0 * steps + 9], -1)
    depth = np.empty((1, len(steps)), np.float32)
    images.decode("depth_m", bgra.astype(np.uint8).tobytes(), depth, images.ActorNumbers())
    assert (depth[0] == (1000.0 * steps / (2**24 - 1)).astype(np.float32)).all()
    assert depth[0, -1] == 1000.0


def test_instances_are_actors_only_where_the_tag_can_be_one() -> None:
    numbers = images.ActorNumbers()
    assert [numbers.assign(carla_id, True) for carla_id in (70_000, 300, 70_000)] == [1, 2, 1]
    ids = np.array([70_000 & 0xFFFF, 300, 300, 999, 0, 4000])
    tags = np.array([Tag.CAR, Tag.PEDESTRIAN, Tag.BUILDING, Tag.BICYCLE, Tag.SKY, Tag.CAR])
    bgra = np.stack([ids >> 8, ids & 255, tags, 0 * tags], -1).astype(np.uint8).tobytes()
    found = np.empty((1, 6), np.uint32)
    others = FIRST_OTHER_ID
    images.decode("instances", bgra, found, numbers)
    assert found[0].tolist() == [1, 2, others + 300, others + 999, 0, others + 4000]
    assert numbers.assign(4000, True) == 3
    assert numbers.assign(999, False) == 4, "known, but its pixels carry something else"
    images.decode("instances", bgra, found, numbers)
    assert found[0].tolist() == [1, 2, others + 300, others + 999, 0, 3]
    numbers.clear()
    images.decode("instances", bgra, found, numbers)
    assert (found[0, [0, 1, 2, 3, 5]] >= others).all(), "no actor has a number"
    assert numbers.assign(300, True) == 1
    images.decode("instances", bgra, found, numbers)
    assert found[0, :2].tolist() == [others + 70_000 % others, 1], (
        "70 000 had its number in the last episode"
    )


def test_images_are_aligned_and_do_not_overlap() -> None:
    """In the shared memory, also with odd sizes."""
    memory, start = bytearray(4000), 0
    made = []
    for kind, shape in (("labels", ()), ("depth_m", ()), ("instances", ()), ("rgb", (3,))):
        made.append(images.image_at(memory, start, kind, 7, 5))
        assert made[-1].shape == (5, 7, *shape)
        assert made[-1].flags.aligned
        start += images.image_bytes(kind, 7, 5)
    for number, image in enumerate(made):
        image[...] = number + 1
    assert [set(image.ravel().tolist()) for image in made] == [{1}, {2}, {3}, {4}]
    assert images.camera_bytes("rgb", 7, 5) == images.BUFFERS_PER_CAMERA * 128


def test_copies_reuse_memory_that_nobody_refers_to() -> None:
    """A slice or memoryview of a copy refers to its memory too."""
    copies = ImageCopier(max_spare=1)
    source = np.arange(12, dtype=np.float32).reshape(3, 4)
    first = copies.copy(source)
    address = first.ctypes.data
    part, seen = first[1:, ::2].T, memoryview(first[2])
    del first
    others = [copies.copy(source + 100.0 * n) for n in range(1, 4)]
    assert part.tolist() == [[4.0, 8.0], [6.0, 10.0]]
    assert seen.tolist() == [8.0, 9.0, 10.0, 11.0]
    assert [other[0, 0] for other in others] == [100.0, 200.0, 300.0]
    del part
    others.append(copies.copy(source))
    assert others[-1].ctypes.data != address
    del seen
    again = copies.copy(source + 7.0)
    assert again.ctypes.data == address
    assert (again == source + 7.0).all()


def test_actor_tags_agree_with_the_label_tags() -> None:
    assert images.ACTOR_TAGS == (Tag.PEDESTRIAN, Tag.BICYCLE)


def test_colours_are_decoded_to_rgb() -> None:
    rgb = np.empty((1, 2, 3), np.uint8)
    images.decode("rgb", bytes([3, 2, 1, 255, 6, 5, 4, 255]), rgb, images.ActorNumbers())
    assert rgb[0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("version", "name", "pedestrian", "vehicle"),
    [("0.9.16", "carla", 12, 14), ("0.9.15-dirty", "carla", 12, 14), ("0.9.13", None, 4, 10)],
)
def test_tags_by_version(version: str, name: str | None, pedestrian: int, vehicle: int) -> None:
    assert label_map_name(version) == (name or "carla-0.9.13")
    primary = label_map(label_map_name(version)).primary
    assert primary[pedestrian] == Tag.PEDESTRIAN
    assert primary[vehicle] == Tag.CAR
    tags = np.empty((1, 2), np.uint8)
    images.decode(
        "labels", bytes([0, 0, pedestrian, 255, 9, 9, vehicle, 255]), tags, images.ActorNumbers()
    )
    assert converted_tags(tags, primary).tolist() == [[int(Tag.PEDESTRIAN), int(Tag.CAR)]]


def test_actors_without_a_vehicle_tag_are_told_by_base_type_or_wheels() -> None:
    description = {"type": "vehicle.x.y", "tags": [10], "base_type": "", "wheels": "2"}
    assert actor_tag(description) == Tag.MOTORCYCLE
    assert actor_tag({**description, "base_type": "Bicycle"}) == Tag.BICYCLE
    assert actor_tag({**description, "tags": [15]}) == Tag.TRUCK
    assert actor_tag({**description, "type": "walker.pedestrian.0001"}) == Tag.PEDESTRIAN


def arc_table(radius_m: float = 50.0, count: int = 60) -> np.ndarray:
    """Waypoints of a circle to the right from the origin, in CARLA's axes, 2 m apart."""
    angle = 2.0 * np.arange(count) / radius_m
    x, y = radius_m * np.sin(angle), radius_m * (1.0 - np.cos(angle))
    rest = np.zeros_like(x)
    return np.stack([x, y, rest, np.degrees(angle), rest + 3.5, rest], axis=1)


def test_a_route_measures_offset_heading_curvature_and_lights() -> None:
    table = arc_table()
    end = np.array([[table[20, 0], table[20, 1], table[20, 3]]])
    wrong_way = end + np.array([0.0, 0.0, 180.0])
    aside = end + np.array([0.0, 6.0, 0.0])
    route = make_route(table, 80.0, [(7, end), (8, wrong_way), (9, aside)])
    assert route.goal_m == 80.0
    point = route.locate(0.0, 1.0)
    assert (point.along_m, point.offset_m) == pytest.approx((0.0, 1.0), abs=0.05)
    middle = route.locate(50.0 * math.sin(0.5), -50.0 * (1.0 - math.cos(0.5)))
    assert middle.along_m == pytest.approx(25.0, abs=0.1)
    assert middle.heading_rad == pytest.approx(-0.5, abs=0.02)
    assert route.curvature_at(10.0) == pytest.approx(-1.0 / 50.0, rel=0.05)
    assert [stop.light_id for stop in route.stops] == [7]
    light = next_light(route, 10.0, {7: LightState.RED})
    assert light is not None
    assert light.distance_m == pytest.approx(30.0, abs=0.2)
    assert next_light(route, 41.0, {7: LightState.RED}) is None


def test_the_lead_vehicle_is_in_our_lane_and_direction() -> None:
    straight = np.stack([2.0 * np.arange(80), *([np.zeros(80)] * 3), np.full(80, 3.5)], 1)
    route = make_route(np.c_[straight, np.zeros(80)], 150.0, [])

    def car(number: int, x: float, y: float, turned: bool = False) -> Actor:
        pose = np.diag([-1.0, -1.0, 1.0, 1.0] if turned else [1.0] * 4).astype(np.float32)
        pose[:2, 3] = x, y
        return Actor(number, int(Tag.CAR), pose, (2.0, 0.9, 0.7), (3.0, 0.0, 0.0))

    others = [car(1, 20.0, 3.5), car(2, 25.0, 0.3, turned=True), car(3, -9.0, 0.0)]
    assert lead_vehicle(route, 5.0, 8.8, others) is None
    lead = lead_vehicle(route, 5.0, 8.8, [*others, car(4, 60.0, 0.0), car(5, 40.0, 0.5)])
    assert lead is not None
    assert lead.distance_m == pytest.approx(40.0 - 2.0 - 8.8, abs=0.01)
    assert lead.speed_mps == pytest.approx(3.0)


def test_instances_are_matched_to_actors_by_place() -> None:
    """Three cars seen from 20 m above. The one in no actor's box keeps its instance id."""
    camera = Camera.from_fov(40, 20, 90.0)
    looking_down = np.array(
        [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 20.0], [0, 0, 0, 1]], np.float32
    )
    labels = np.full((20, 40), Tag.ROAD, np.uint8)
    instances = np.full((20, 40), FIRST_OTHER_ID + 5, np.uint32)
    depth = np.full((20, 40), 20.0, np.float32)
    poses = []
    for left, number in ((2, 300), (20, 301), (33, 302)):
        part = np.s_[8:12, left : left + 4]
        labels[part], instances[part], depth[part] = Tag.CAR, FIRST_OTHER_ID + number, 18.6
        pose = np.eye(4, dtype=np.float32)
        pose[0, 3] = (left + 1.5 - camera.cx_px) * 18.6 / camera.fx_px
        poses.append(pose)
    size = (2.5, 2.5, 0.7)
    actors = [Actor(8, 14, poses[0], size), Actor(300, 14, poses[1], size)]
    view = View(camera, looking_down, labels, depth, instances)
    known: dict[int, int] = {}
    found = with_actor_ids(view, actors, known)
    assert known == {FIRST_OTHER_ID + 300: 8, FIRST_OTHER_ID + 301: 300}
    assert set(np.unique(found).tolist()) == {8, 300, FIRST_OTHER_ID + 5, FIRST_OTHER_ID + 302}
    assert (found[8:12, 2:6] == 8).all()
    assert (with_actor_ids(view, [], known) == found).all(), "matches last for the whole episode"


def test_messages_pass_the_pipe_and_a_truncated_one_ends_it() -> None:
    stream = io.BytesIO()
    write_message(stream, {"call": "x"}, [b"", np.arange(3.0), bytes(5)])
    stream.seek(0)
    header, buffers = read_message(stream) or ({}, [])
    assert header == {"call": "x"}
    assert [len(buffer) for buffer in buffers] == [0, 24, 5]
    assert np.frombuffer(buffers[1]).tolist() == [0.0, 1.0, 2.0]
    assert read_message(stream) is None
    assert read_message(io.BytesIO(stream.getvalue()[:-1])) is None


def test_carlas_weather_is_limited_and_a_maps_own_is_unknown() -> None:
    names = ("cloudiness", "precipitation", "fog_density", "wetness", "sun_altitude_angle")
    strong = weather_from_carla(dict(zip(names, (150.0, 30.0, 101.0, -2.0, 95.0), strict=True)))
    assert strong == Weather(90.0, cloudiness=1.0, rain=0.3, fog=1.0, wetness=0.0)
    assert weather_from_carla(dict.fromkeys(names, -1.0)) == Weather()


@pytest.mark.parametrize("file", sorted(CHILD.glob("*.py")), ids=lambda file: file.name)
def test_the_child_is_valid_python_3_7(file: Path) -> None:
    """Wheels of CARLA 0.9.13 and 0.9.14 exist for Python 3.8 at most."""
    tree = ast.parse(file.read_text(), feature_version=(3, 7))
    own = {path.stem for path in CHILD.glob("*.py")}
    known = {"__future__", "carla", "numpy", "collections", "json", "math", "mmap", "os", "signal"}
    known |= {"queue", "socket", "struct", "sys", "tempfile", "threading", "time", "typing"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        assert {name.split(".")[0] for name in names} <= own | known
