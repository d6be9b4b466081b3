"""The ego as the traffic sees it: the lanes it occupies, and the junction it is at."""

from __future__ import annotations

import math

import numpy as np

from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.traffic.collisions import Box
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion
from sim2street.bridge.town.traffic.junction_reservations import EgoAtJunction
from sim2street.bridge.town.traffic.route import Route
from sim2street.bridge.town.traffic.vehicles import LaneObstacle

_PASSING_M = 1.1
"""The ego occupies a lane whose centre line is nearer than this to its side."""

_END_SLACK_M = 0.5
_ALONG_COS = 0.3
"""A lane counts as parallel to the ego above this cosine between their headings."""

_PAST_LINE_M = 1.0
"""The ego is inside a junction once its front is this far past the stop line."""


def ego_box(ego: EgoMotion, config: EgoConfig) -> Box:
    """The ego's bounding box. Its centre lies ahead of the rear axle."""
    cos, sin = math.cos(ego.heading_rad), math.sin(ego.heading_rad)
    return Box(
        ego.x_m + config.middle_m * cos,
        ego.y_m + config.middle_m * sin,
        ego.heading_rad,
        config.half_length_m,
        config.half_width_m,
        ego.speed_mps,
    )


def occupied_lanes(box: Box, town: TownMap) -> tuple[LaneObstacle, ...]:
    """The stretches of lanes that the ego occupies."""
    paths = town.lanes.paths
    reach = box.half_length_m + _PASSING_M
    near = np.nonzero(np.abs(paths.x_m - box.x_m) < reach)[0]
    near = near[np.abs(paths.y_m[near] - box.y_m) < reach]
    cos, sin = math.cos(box.heading_rad), math.sin(box.heading_rad)
    dx, dy = paths.x_m[near] - box.x_m, paths.y_m[near] - box.y_m
    along, left = dx * cos + dy * sin, dy * cos - dx * sin
    under = np.abs(left) < box.half_width_m + _PASSING_M
    under &= np.abs(along) < box.half_length_m + _END_SLACK_M
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
) -> LaneObstacle:
    """The part of a lane between the ego's bumpers.

    Args:
        first, last: the lane's points under the ego. along_first, along_last: ahead of the
            box's centre; they extend the stretch from those points to the bumpers.
    """
    paths = town.lanes.paths
    spacing, start = float(paths.spacing_m[lane]), int(paths.first[lane])
    tail, head = (first - start) * spacing, (last - start) * spacing
    facing = math.cos(float(paths.heading_rad[first]) - box.heading_rad)
    half = box.half_length_m
    if facing > _ALONG_COS:
        tail, head = tail - (along_first + half), head + (half - along_last)
    elif facing < -_ALONG_COS:
        tail, head = tail - (half - along_first), head + (along_last + half)
    return LaneObstacle(lane, float(tail), float(head), box.speed_mps * facing)


def ego_at_junction(
    ego: EgoMotion, route: Route, along_m: float, config: EgoConfig
) -> EgoAtJunction:
    """The junction that the ego is in (until its tail has left it) or comes to next.

    `along_m`: of the ego along its route.
    """
    lanes, ids = route.layout.lanes, route.state.lane_ids
    tail = along_m - config.rear_m
    index = route.lane_index(max(tail - 0.5, route.lane_start_m[0]))
    if lanes[ids[index]].junction_id is None:
        index += 1
    stop_line = route.lane_start_m[index]
    to_line = stop_line - (along_m + config.front_m)
    return EgoAtJunction(
        approach_lane=ids[index - 1] if index else ids[0],
        connector_lane=ids[index],
        to_stop_line_m=to_line,
        speed_mps=abs(ego.speed_mps),
        length_m=config.rear_m + config.front_m,
        inside=to_line < -_PAST_LINE_M,
    )
