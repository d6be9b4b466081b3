"""Meshes of road markings: lane lines, turn arrows, give-way lines and zebra crossings."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.plan.layout import Crossing, Junction, Lane, Layout, Points, Road, Turn
from sim2street.bridge.town.plan.polyline import arc_lengths, at_lengths, cut, offset, resample
from sim2street.bridge.town.scenery.ground import simplified
from sim2street.bridge.town.scenery.meshes import Floats, Layer, SceneryItem, mesh
from sim2street.bridge.town.scenery.primitives import fan, ribbon

_LINE_WIDTH_M = 0.13
_FAR_M = 140.0
"""Markings are not drawn beyond this distance."""

_EDGE_GAP_M = 0.28
"""Between an edge line and the kerb."""

_ARROW_DISTANCES_M = (12.0, 30.0)
"""Turn arrows are painted at these distances before the end of a lane."""

# Parts of the turn arrows: corners (x to the right, y forward) in metres.
_SHAFT = ((-0.09, 0.0), (0.09, 0.0), (0.09, 2.2), (-0.09, 2.2))
_HEAD = ((-0.38, 2.2), (0.38, 2.2), (0.0, 3.9))
_SIDE_SHAFT = ((-0.09, 1.0), (-0.09, 1.5), (0.55, 2.5), (0.55, 2.1))
_SIDE_HEAD = ((0.45, 1.75), (1.15, 2.75), (0.45, 2.95))


def marking_items(layout: Layout, rng: np.random.Generator) -> Iterator[SceneryItem]:
    """All road markings of a town."""
    for road in layout.roads:
        yield from _road_lines(road, rng)
    for junction in layout.junctions:
        zebra = not junction.has_lights and rng.random() < 0.5
        for crossing in junction.crossings:
            yield from _crossing(junction, crossing, zebra)
    for light in layout.lights:
        yield _item(_stroke(light.stop_line_m, 0.32))  # stop line
    for lane in layout.lanes:
        if lane.road_id is None:
            continue
        if lane.light_id is None:
            yield _item(_give_way(lane))
        elif lane.index > 0 or layout.roads[lane.road_id].lanes_each_way == 1:
            yield from _arrows(layout, lane)


def _item(triangles: Floats) -> SceneryItem:
    middle = triangles.reshape(-1, 3).mean(axis=0)
    anchor = (float(middle[0]), float(middle[1]))
    return SceneryItem(mesh(triangles, Tag.ROAD_LINES), Layer.MARKING, anchor, 0.0, _FAR_M)


def _stroke(line: Points, width_m: float = _LINE_WIDTH_M) -> Floats:
    """A continuous stripe along `line` (N, 2)."""
    kept = line[simplified(line)] if len(line) > 2 else line
    return ribbon(offset(kept, width_m / 2), offset(kept, -width_m / 2), 0.0)


def _solid(line: Points, width_m: float = _LINE_WIDTH_M) -> Iterator[SceneryItem]:
    """A continuous stripe in items of 24 m, which are culled one by one."""
    length = float(arc_lengths(line)[-1])
    for start in np.arange(0.0, length - 1.0, 24.0):
        yield _item(_stroke(cut(line, start, min(start + 24.0, length)), width_m))


def _dashes(
    line: Points, dash_m: float, gap_m: float, width_m: float = _LINE_WIDTH_M
) -> Iterator[SceneryItem]:
    length = float(arc_lengths(line)[-1])
    starts = np.arange(gap_m / 2, length - dash_m, dash_m + gap_m)
    for group in np.array_split(starts, max(1, round(len(starts) / 4))):
        if len(group):
            ends = at_lengths(line, np.stack([group, group + dash_m], 1).ravel()).reshape(-1, 2, 2)
            yield _item(_bars(ends, width_m))


def _bars(ends: npt.NDArray[np.float64], width_m: float) -> Floats:
    """Straight stripes between pairs of end points (K, 2, 2), as triangles (2 K, 3, 3)."""
    along = ends[:, 1] - ends[:, 0]
    along *= (width_m / 2 / np.hypot(*along.T))[:, None]
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)[:, None]
    corners = np.zeros((len(ends), 4, 3))
    corners[:, :2, :2], corners[:, 2:, :2] = ends - side, (ends + side)[:, ::-1]
    return corners[:, [(0, 1, 2), (0, 2, 3)]].reshape(-1, 3, 3)


def _road_lines(road: Road, rng: np.random.Generator) -> Iterator[SceneryItem]:
    line = road.centre_m
    length = float(arc_lengths(line)[-1])
    if length < 8.0:
        return
    if road.lanes_each_way > 1:
        for side in (-0.12, 0.12):
            yield from _solid(offset(line, side))
        for lane in range(1, road.lanes_each_way):
            middle = road.half_width_m * lane / road.lanes_each_way
            for sign in (-1.0, 1.0):
                yield from _dashes(offset(line, sign * middle), 2.5, 4.5)
    else:
        dash = float(rng.choice([2.0, 3.0, 4.0]))
        warning = min(16.0, length / 3)  # long dashes warn of the junction at either end
        between = cut(line, warning, length - warning)
        yield from _dashes(cut(line, 0.0, warning), 4.0, 1.5)
        yield from _dashes(between, dash, dash * float(rng.uniform(1, 2)))
        yield from _dashes(cut(line, length - warning, length), 4.0, 1.5)
    for side in (0, 1):
        yield from _edge_lines(road, side, rng)


def _edge_lines(road: Road, side: int, rng: np.random.Generator) -> Iterator[SceneryItem]:
    sign = 1.0 if side == 0 else -1.0
    kerb, parking = road.kerb_m[side], road.parking_width_m[side]
    if parking > 0.0:
        if rng.random() < 0.6:
            yield from _dashes(offset(road.centre_m, sign * (kerb - parking)), 1.0, 1.0, 0.1)
        return
    for count in range(int(rng.choice([0, 1, 2, 2]))):
        yield from _solid(offset(road.centre_m, sign * (kerb - _EDGE_GAP_M - 0.2 * count)), 0.1)


def _crossing(junction: Junction, crossing: Crossing, zebra: bool) -> Iterator[SceneryItem]:
    near_right, far_right, far_left, near_left = crossing.polygon_m
    if not zebra:
        if junction.has_lights:  # a row of short dashes along either side
            for a, b in ((near_right, near_left), (far_right, far_left)):
                yield from _dashes(resample(np.stack([a, b])), 0.4, 0.5, 0.18)
        return
    width = float(np.hypot(*(near_left - near_right)))
    count = max(2, int(width / 1.2))
    stripes = []
    for k in range(count):
        low, high = (k + 0.25) / count, (k + 0.75) / count
        near = [near_right + (near_left - near_right) * t for t in (low, high)]
        far = [far_right + (far_left - far_right) * t for t in (low, high)]
        stripes.append(ribbon(np.stack([near[1], far[1]]), np.stack([near[0], far[0]]), 0.0))
    yield _item(np.concatenate(stripes))


def _give_way(lane: Lane) -> Floats:
    """The broken line across the end of a lane without a traffic light."""
    end, before = lane.points_m[-1], lane.points_m[-2]
    along = (end - before) / np.hypot(*(end - before))
    across = np.array([-along[1], along[0]])
    half = lane.width_m / 2
    parts = []
    for low in np.arange(-half + 0.15, half - 0.5, 0.95):
        pair = np.stack([end + across * low, end + across * (low + 0.6)])
        parts.append(_stroke(pair, 0.25))
    return np.concatenate(parts)


def _arrows(layout: Layout, lane: Lane) -> Iterator[SceneryItem]:
    """Arrows that show where a lane leads at the next junction."""
    turns = {layout.lanes[after].turn for after in lane.next_ids}
    length = float(arc_lengths(lane.points_m)[-1])
    for distance in _ARROW_DISTANCES_M:
        if length > distance + 12.0:
            line = at_lengths(lane.points_m, np.array([length - distance, length - distance + 1]))
            yield _item(_arrow(line, turns))


def _arrow(line: Points, turns: set[Turn]) -> Floats:
    """A turn arrow at the first point of `line` (2, 2), pointing to the second."""
    shapes: list[tuple[tuple[float, float], ...]] = [_SHAFT]
    if "straight" in turns:
        shapes.append(_HEAD)
    if "right" in turns:
        shapes += [_SIDE_SHAFT, _SIDE_HEAD]
    if "left" in turns:
        shapes += [tuple((-x, y) for x, y in shape[::-1]) for shape in (_SIDE_SHAFT, _SIDE_HEAD)]
    heading = math.atan2(*(line[1] - line[0])[::-1])
    forward = np.array([math.cos(heading), math.sin(heading)])
    right = np.array([forward[1], -forward[0]])
    parts = []
    for shape in shapes:
        corners = np.array([line[0] + right * x + forward * y for x, y in shape])
        parts.append(fan(np.concatenate([corners, np.zeros((len(corners), 1))], axis=1)))
    return np.concatenate(parts)
