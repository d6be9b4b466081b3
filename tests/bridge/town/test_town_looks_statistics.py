"""Label maps of the town resemble those of photographs of streets.

Compared are class shares, shares by image row, the length of class borders, and the roughness of
the outlines of foliage. The reference numbers come from measure_street_statistics.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from street_statistics import (
    GROUPS,
    foliage_roughness,
    group_table,
    measure,
    row_distance,
)
from town_views import CAMERA

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import make_layout
from sim2street.bridge.town.traffic.autopilot import Autopilot
from sim2street.bridge.town.world import CameraConfig, TownConfig, TownWorld

REFERENCE = json.loads(
    Path(__file__).with_name("street_statistics.json").read_text(encoding="utf-8")
)
COMPARED_GROUPS = ("sky", "building", "road", "sidewalk", "vegetation", "car", "pole", "sign")
TICKS_BETWEEN = 40


def drive(towns, starts, frames):
    """Label maps, one every two seconds of driving, of several episodes in each town."""
    mount, maps = CameraConfig().mount_pose(), []
    with TownWorld(TownConfig()) as world:
        world.open(sensors=False)
        for town in towns:
            scene = Scene(make_layout(town))
            for start in range(starts):
                frame = world.reset(seed=100 * town + start, options={"town": town})
                pilot = Autopilot(world)
                for _ in range(frames):
                    for _ in range(TICKS_BETWEEN):
                        frame = world.step(pilot.control())
                    pose = frame.ego.pose @ mount
                    maps.append(scene.render(CAMERA, pose, frame.actors).labels)
            scene.close()
    return maps


def check(maps, factor):
    """Shares and border length are within `factor` of the reference, and row shares are close."""
    found, real = measure(maps), REFERENCE["full"]
    ratios = {name: found.shares[name] / real["shares"][name] for name in COMPARED_GROUPS}
    outside = {k: round(v, 2) for k, v in ratios.items() if not 1 / factor <= v <= factor}
    assert not outside, f"shares relative to the reference: {outside} of {ratios}"
    for name in ("full", "window"):
        assert row_distance(found.rows, np.array(REFERENCE[name]["rows"])) < 0.22, name
    edges = found.edges_per_pixel / REFERENCE["window"]["edges_per_pixel"]
    assert 1 / factor <= edges <= factor
    for k, roughness in foliage_roughness(maps).items():
        assert roughness == pytest.approx(REFERENCE["foliage_roughness"][str(k)], rel=0.15), k


def test_sixty_frames_of_four_towns_look_like_streets():
    """A small sample varies more, so the tolerance is larger than below."""
    check(drive(range(0, 80, 20), 5, 3), factor=1.75)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("first", [100, 900])
def test_two_hundred_frames_of_ten_towns_look_like_streets(first):
    check(drive(range(first, first + 10), 5, 4), factor=1.5)


def test_an_empty_town_does_not_look_like_streets():
    layout = make_layout(3)
    scene = Scene(layout, [])
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    bare = scene.render(CAMERA, pose).labels
    scene.close()
    with pytest.raises(AssertionError, match="sky"):
        check([bare], factor=1.75)


def test_every_tag_is_in_exactly_one_group():
    tags = [tag for group in GROUPS.values() for tag in group]
    assert sorted(tags) == sorted(Tag)
    assert group_table()[Tag.ROAD_LINES] == list(GROUPS).index("road")


def test_statistics_of_a_known_label_map():
    labels = np.full((64, 100), Tag.ROAD, np.uint8)
    labels[:32] = Tag.SKY
    labels[32:, :25] = Tag.CAR
    found = measure([labels, labels])
    assert found.frames == 2
    assert found.shares["sky"] == pytest.approx(0.5)
    assert found.shares["car"] == pytest.approx(0.125)
    np.testing.assert_allclose(found.rows.sum(axis=0), 1.0)
    assert found.rows[list(GROUPS).index("road"), 31] == pytest.approx(0.75)
    assert found.edges_per_pixel == pytest.approx((100 + 32) / 6400)
    assert row_distance(found.rows, found.rows) == 0.0
    assert row_distance(found.rows, found.rows[::-1]) > 0.5
