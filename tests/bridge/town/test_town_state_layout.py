"""Layouts: streets that join, lanes that continue, nothing that overlaps."""

import numpy as np
import pytest

from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.layout import TEST_TOWNS, TRAIN_TOWNS, Layout
from sim2street.bridge.town.plan.layout_generator import LayoutConfig, make_layout
from sim2street.bridge.town.plan.polyline import arc_lengths, curvatures, headings, wrap_angle
from sim2street.bridge.town.plan.traffic_lights import (
    GREEN,
    LIGHT_STATES,
    RED,
    YELLOW,
    light_states,
    plan_lights,
)
from sim2street.bridge.town.plan.walk_map import walk_map
from sim2street.bridge.town.traffic.collisions import Box, Boxes, StreetSpace, inside, overlap

TOWNS = (0, 1, 2, 3, 905)


@pytest.fixture(scope="module", params=TOWNS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return make_layout(request.param)


def test_train_and_test_towns_share_no_id():
    assert not set(TRAIN_TOWNS) & set(TEST_TOWNS)
    assert len(TRAIN_TOWNS) == 900
    assert len(TEST_TOWNS) == 100


def test_ids_are_indices(layout: Layout):
    for things, name in (
        (layout.roads, "road_id"),
        (layout.junctions, "junction_id"),
        (layout.lanes, "lane_id"),
        (layout.lights, "light_id"),
    ):
        assert [getattr(thing, name) for thing in things] == list(range(len(things)))


def test_lanes_continue_without_a_jump_or_a_kink(layout: Layout):
    for lane in layout.lanes:
        assert lane.next_ids
        end, end_rad = lane.points_m[-1], headings(lane.points_m)[-1]
        for after in lane.next_ids:
            start = layout.lanes[after].points_m
            assert np.allclose(start[0], end, atol=1e-6)
            assert abs(wrap_angle(headings(start)[0] - end_rad)) < 0.06


def test_lane_points_are_evenly_spaced_and_drivable(layout: Layout):
    for lane in layout.lanes:
        steps = np.hypot(*np.diff(lane.points_m, axis=0).T)
        assert steps.min() > 0.7
        assert steps.max() < 1.3
        assert steps.max() - steps.min() < 0.05
        assert np.abs(curvatures(lane.points_m)).max() < 1 / 4.5  # the ego turns in 3.5 m


def test_traffic_keeps_right(layout: Layout):
    for lane in layout.lanes:
        if lane.road_id is None:
            continue
        road = layout.roads[lane.road_id]
        centre = road.centre_m if lane.forward else road.centre_m[::-1]
        middle = len(centre) // 2
        way = centre[middle + 1] - centre[middle]
        nearest = lane.points_m[np.hypot(*(lane.points_m - centre[middle]).T).argmin()]
        offset = nearest - centre[middle]
        assert way[0] * offset[1] - way[1] * offset[0] < 0.0  # right of the middle
        expected = (lane.index + 0.5) * lane.width_m
        assert np.hypot(*offset) == pytest.approx(expected, abs=0.1)


def test_every_lane_is_reached_again_from_every_other(layout: Layout):
    """From any lane one can drive to any road: nobody is ever trapped."""
    roads = {lane.road_id for lane in layout.lanes if lane.road_id is not None}
    for start in range(0, len(layout.lanes), 7):
        seen, todo = set(), [start]
        while todo:
            lane = todo.pop()
            if lane not in seen:
                seen.add(lane)
                todo.extend(layout.lanes[lane].next_ids)
        assert {layout.lanes[i].road_id for i in seen} - {None} == roads


def test_junctions_have_three_or_four_arms_with_a_crossing_and_a_corner_each(layout: Layout):
    for junction in layout.junctions:
        arms = len(junction.road_ids)
        assert arms in (3, 4)
        assert len(junction.corners) == len(junction.crossings) == arms
        assert inside(junction.outline_m, *junction.centre_m)
        for lane in layout.lanes:
            if lane.junction_id == junction.junction_id:
                middle = lane.points_m[len(lane.points_m) // 2]
                assert inside(junction.outline_m, *middle)


def test_sidewalks_meet_at_the_corners(layout: Layout):
    """Kerb and property line of a corner start and end where those of its roads do."""
    for junction in layout.junctions:
        for corner in junction.corners:
            for road_id, row in zip(corner.road_ids, (0, -1), strict=True):
                road = layout.roads[road_id]
                ends = road.centre_m[[0, -1]]
                to_kerb = np.hypot(*(ends - corner.kerb_m[row]).T).min()
                assert np.abs(np.array(road.kerb_m) - to_kerb).min() < 0.05
                width = np.hypot(*(corner.outer_m[row] - corner.kerb_m[row]))
                assert width == pytest.approx(road.sidewalk_width_m, abs=0.02)


def test_parked_cars_stand_in_their_strip_and_not_in_each_other(layout: Layout):
    sizes = {model.name: model.extent_m for model in VEHICLE_MODELS}
    rows = [(c.x_m, c.y_m, c.heading_rad, *sizes[c.model][:2]) for c in layout.parked]
    boxes = Boxes(*np.array(rows).T)
    lane_points = np.concatenate([lane.points_m for lane in layout.lanes])
    for i, row in enumerate(rows):
        others = np.delete(np.arange(len(rows)), i)
        assert not overlap(Box(*row, 0.0), boxes, others).any()
        assert np.hypot(*(lane_points - row[:2]).T).min() > row[4] + 1.2
    assert len({car.actor_id for car in layout.parked}) == len(rows) > 50


def test_streets_keep_apart(layout: Layout):
    """Between the property lines of two streets there is room for houses."""
    for a in layout.roads:
        for b in layout.roads[a.road_id + 1 :]:
            ends = {a.start_junction_id, a.end_junction_id}
            if ends & {b.start_junction_id, b.end_junction_id}:
                continue
            gaps = a.centre_m[::5, None] - b.centre_m[None, ::5]
            reach = sum(max(r.kerb_m) + r.sidewalk_width_m for r in (a, b))
            assert np.hypot(gaps[..., 0], gaps[..., 1]).min() > reach + 6.0


def test_lights_stand_on_the_sidewalk_at_their_stop_line(layout: Layout):
    space = StreetSpace.of(layout)
    for light in layout.lights:
        way = np.array([np.cos(light.heading_rad), np.sin(light.heading_rad)])
        across = light.stop_line_m[1] - light.stop_line_m[0]
        assert abs(way @ across) < 0.05 * np.hypot(*across)
        assert way[0] * across[1] - way[1] * across[0] < 0  # from the middle to the right
        junction = layout.junctions[light.junction_id]
        assert (junction.centre_m - light.stop_line_m[0]) @ way > 5.0
        assert space.contains(*light.position_m)
        lanes = [lane for lane in layout.lanes if lane.light_id == light.light_id]
        assert lanes
        for lane in lanes:
            assert np.hypot(*(lane.points_m[-1] - light.stop_line_m.mean(axis=0))) < 5.0


def test_never_two_crossing_greens(layout: Layout):
    plan = plan_lights(layout, np.random.default_rng(3))
    by_junction: dict[int, list[int]] = {}
    for light in layout.lights:
        by_junction.setdefault(light.junction_id, []).append(light.light_id)
    seen = set()
    for tick in range(4000):
        states = light_states(plan, tick * 0.05)
        seen |= set(states.tolist())
        for lights in by_junction.values():
            open_groups = {layout.lights[i].group for i in lights if states[i] != RED}
            assert len(open_groups) <= 1
    if layout.lights:
        assert seen == {GREEN, YELLOW, RED}
        assert [LIGHT_STATES[i].value for i in sorted(seen)] == ["green", "yellow", "red"]


def test_lights_follow_the_order_green_yellow_red(layout: Layout):
    plan = plan_lights(layout, np.random.default_rng(4))
    before = light_states(plan, 0.0)
    for tick in range(1, 3000):
        now = light_states(plan, tick * 0.05)
        changed = now != before
        assert (((now - before) % 3)[changed] == 1).all()
        before = now


def test_people_can_walk_from_every_way_to_another(layout: Layout):
    walks = walk_map(layout)
    for node, ways in enumerate(walks.walkways_at):
        assert len(ways) >= 3, f"node {node}: a sidewalk, a corner and a crossing"
        ends = []
        for way, starts in ways:
            at = 0.0 if starts else walks.paths.length_m[way]
            x, y, _ = walks.paths.poses(np.array([way]), np.array([at]))
            ends.append((x[0], y[0]))
        assert np.ptp(np.array(ends), axis=0).max() < 0.6


def test_the_same_id_gives_the_same_town_and_another_id_another():
    first, again, other = make_layout(7), make_layout(7), make_layout(8)
    assert len(first.lanes) == len(again.lanes)
    for a, b in zip(first.lanes, again.lanes, strict=True):
        assert a.points_m.tobytes() == b.points_m.tobytes()
    assert first.parked == again.parked
    assert other.bounds_m != first.bounds_m


def test_towns_differ_in_what_they_offer():
    layouts = [make_layout(i) for i in range(12)]
    lanes = {road.lanes_each_way for layout in layouts for road in layout.roads}
    arms = {len(j.road_ids) for layout in layouts for j in layout.junctions}
    turns = {lane.turn for layout in layouts for lane in layout.lanes}
    bends = [np.abs(curvatures(r.centre_m)).max() for lay in layouts for r in lay.roads]
    assert lanes == {1, 2}
    assert arms == {3, 4}
    assert turns == {"straight", "left", "right"}
    assert np.mean(np.array(bends) > 1 / 80) > 0.3  # clearly curved
    assert max(float(arc_lengths(r.centre_m)[-1]) for lay in layouts for r in lay.roads) > 200


def test_no_lights_and_no_parking_on_request():
    bare = make_layout(0, LayoutConfig(lights=0.0, parking=0.0))
    assert not bare.lights
    assert not bare.parked
    assert len(light_states(plan_lights(bare, np.random.default_rng(0)), 1.0)) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_town_id_makes_a_town():
    for town in (*TRAIN_TOWNS, *TEST_TOWNS):
        layout = make_layout(town)
        assert len(layout.junctions) >= 5, f"town {town}"
        assert all(lane.next_ids for lane in layout.lanes), f"town {town}"
