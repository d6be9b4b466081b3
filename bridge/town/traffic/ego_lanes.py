"""The ego as others meet it: which lanes it blocks, and its claim on the next junction."""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion
from sim2street.bridge.town.traffic.junction_reservations import Claim
from sim2street.bridge.town.traffic.pedestrians import Box
from sim2street.bridge.town.traffic.route import Route
from sim2street.bridge.town.traffic.vehicles import Obstacle

_PASSING_M = 1.1
"""A lane is blocked if its middle is nearer than this to the ego's side."""

_ALONG = 0.3


def ego_box(ego: EgoMotion, config: EgoConfig) -> Box:
    """The ego's bounding box; its middle lies ahead of the rear axle."""
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    return Box(
        ego.x_m + config.middle_m * cos,
        ego.y_m + config.middle_m * sin,
        ego.heading_rad,
        config.half_length_m,
        config.half_width_m,
        ego.speed_mps,
    )


def blocked_lanes(box: Box, town: TownMap) -> tuple[Obstacle, ...]:
    """The stretch of every lane that the ego stands on."""
    paths = town.lanes.paths
    reach = box.half_length_m + _PASSING_M
    near = np.nonzero(np.abs(paths.x_m - box.x_m) < reach)[0]
    near = near[np.abs(paths.y_m[near] - box.y_m) < reach]
    cos, sin = math.cos(box.heading_rad), math.sin(box.heading_rad)
    dx, dy = paths.x_m[near] - box.x_m, paths.y_m[near] - box.y_m
    along, left = dx * cos + dy * sin, dy * cos - dx * sin
    under = np.abs(left) < box.half_width_m + _PASSING_M
    under &= np.abs(along) < box.half_length_m + 0.5
    points, along = near[under], along[under]
    if not len(points):
        return ()
    lane = town.lane_of_point[points]
    starts = np.nonzero(np.append(True, lane[1:] != lane[:-1]))[0].tolist()
    ends = [*starts[1:], len(points)]
    return tuple(
        _stretch(box, town, int(lane[i]), points[i], points[j - 1], along[i], along[j - 1])
        for i, j in zip(starts, ends, strict=True)
    )


def _stretch(
    box: Box, town: TownMap, lane: int, first: int, last: int, along_first: float, along_last: float
) -> Obstacle:
    """From the lane's points under the ego to where its bumpers are, without steps."""
    paths = town.lanes.paths
    spacing, begin = float(paths.spacing_m[lane]), int(paths.first[lane])
    tail, head = (first - begin) * spacing, (last - begin) * spacing
    facing = math.cos(float(paths.heading_rad[first]) - box.heading_rad)
    half = box.half_length_m
    if facing > _ALONG:
        tail, head = tail - (along_first + half), head + (half - along_last)
    elif facing < -_ALONG:
        tail, head = tail - (half - along_first), head + (along_last + half)
    return Obstacle(lane, float(tail), float(head), box.speed_mps * facing)


def ego_claim(ego: EgoMotion, route: Route, at_m: float, config: EgoConfig) -> Claim:
    """Which junction the ego is in (until its tail is out) or comes to next."""
    lanes, ids = route.layout.lanes, route.state.lane_ids
    tail = at_m - config.rear_m
    index = route.lane_index(max(tail - 0.5, route.lane_start_m[0]))
    if lanes[ids[index]].junction_id is None:
        index += 1
    line = route.lane_start_m[index]
    to_line = line - (at_m + config.front_m)
    before = ids[index - 1] if index else ids[0]
    length = config.rear_m + config.front_m
    return Claim(before, ids[index], to_line, abs(ego.speed_mps), length, to_line < -1.0)
