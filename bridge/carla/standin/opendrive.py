"""Writes the road network of a town as OpenDRIVE 1.4, from which CARLA's client makes waypoints.

OpenDRIVE is right-handed like our world, so coordinates are written unchanged; the client
mirrors them. A polyline becomes a chain of arcs through its points. A lane through a junction
becomes a connecting road of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

from sim2street.bridge.carla.standin.geolocation import ORIGIN_DEG
from sim2street.bridge.town.plan.layout import (
    Crossing,
    Junction,
    Lane,
    Layout,
    Light,
    Points,
    Road,
)
from sim2street.bridge.town.plan.polyline import headings, offset, resample

Arc = tuple[float, float, float, float, float]
"""Start x, y (m), heading (rad), length (m) and curvature (1/m) of an arc."""

_SPACING_M = 2.0
_LIGHT_TYPE = "1000001"
_KMH = 3.6
_MIN_CURVATURE_1PM = 1e-4
"""Smallest curvature of an arc.

CARLA's client computes a place on an arc from its centre, in float32. With a radius of 10 km
that is exact to 1 mm; with larger ones, waypoints jump sideways by metres. A line in place of
a 2 m arc of this radius is off by 0.05 mm.
"""


def sign_id(light: Light) -> str:
    """OpenDRIVE id of a traffic light's signal."""
    return str(1000 + light.light_id)


def opendrive(layout: Layout, name: str) -> str:
    """The whole map as XML."""
    incoming = {after: lane for lane in layout.lanes for after in lane.next_ids}
    parts = ['<?xml version="1.0" encoding="UTF-8"?>', "<OpenDRIVE>", _header(layout, name)]
    for road in layout.roads:
        parts.append(_road(road, layout))
    inside = [lane for lane in layout.lanes if lane.junction_id is not None]
    for lane in inside:
        parts.append(_connector(lane, incoming[lane.lane_id], layout))
    for junction in layout.junctions:
        parts.append(_junction(junction, inside, incoming, layout))
    return "\n".join([*parts, "</OpenDRIVE>"])


def connector_id(lane: Lane, layout: Layout) -> int:
    """OpenDRIVE road id of a lane through a junction."""
    return len(layout.roads) + lane.lane_id


def lane_number(lane: Lane) -> int:
    """OpenDRIVE lane id: negative to the right of the road's centre line."""
    return -(lane.index + 1) if lane.forward else lane.index + 1


def _header(layout: Layout, name: str) -> str:
    west, south, east, north = layout.bounds_m
    latitude, longitude = ORIGIN_DEG
    return (
        f'<header revMajor="1" revMinor="4" name={quoteattr(name)} version="1" '
        f'date="2024-01-01T00:00:00" north="{north:.3f}" south="{south:.3f}" east="{east:.3f}" '
        f'west="{west:.3f}" vendor="sim2street">'
        f"<geoReference><![CDATA[+proj=tmerc +lat_0={latitude:g} +lon_0={longitude:g}]]>"
        "</geoReference></header>"
    )


def _road(road: Road, layout: Layout) -> str:
    arcs = _arcs(resample(road.centre_m, _SPACING_M))
    plan, length = _plan_view(arcs)
    junctions = len(layout.roads) + len(layout.lanes)
    link = (
        f'<predecessor elementType="junction" elementId="{junctions + road.start_junction_id}"/>'
        f'<successor elementType="junction" elementId="{junctions + road.end_junction_id}"/>'
    )
    lanes = _cross_section(road)
    signals = "".join(_signal(light, road, layout, length) for light in _lights_of(road, layout))
    objects = "".join(_crosswalk(crossing, arcs) for crossing in _crossings_of(road, layout))
    ids = (road.road_id, -1, length)
    return _road_element(ids, link, road.speed_limit_mps, plan, lanes, objects, signals)


def _road_element(
    ids: tuple[int, int, float],
    link: str,
    limit_mps: float,
    plan: str,
    lanes: str,
    objects: str = "",
    signals: str = "",
) -> str:
    road_id, junction, length = ids
    return (
        f'<road name="Road {road_id}" length="{length:.9f}" id="{road_id}" junction="{junction}">'
        f'<link>{link}</link><type s="0" type="town">'
        f'<speed max="{limit_mps * _KMH:.3f}" unit="km/h"/></type>{plan}'
        '<elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile>'
        f'<lateralProfile/><lanes><laneOffset s="0" a="0" b="0" c="0" d="0"/>{lanes}</lanes>'
        f"<objects>{objects}</objects><signals>{signals}</signals></road>"
    )


def _cross_section(road: Road) -> str:
    """Driving lanes, parking lane and sidewalk on either side of the centre line."""
    driving = road.half_width_m / road.lanes_each_way
    sides = []
    for side, parking in ((1, road.parking_width_m[0]), (-1, road.parking_width_m[1])):
        kinds = [("driving", driving)] * road.lanes_each_way
        if parking > 0.0:
            kinds.append(("parking", parking))
        kinds.append(("sidewalk", road.sidewalk_width_m))
        lanes = []
        for index, (kind, width) in enumerate(kinds):
            inner = index < road.lanes_each_way - 1
            mark = ("broken", "both") if inner else ("solid", "none")
            lanes.append(
                _lane(side * (index + 1), kind, width, mark if kind == "driving" else None)
            )
        sides.append(lanes)
    left, right = "".join(reversed(sides[0])), "".join(sides[1])
    return _section(left, right, "broken")


def _section(left: str, right: str, middle_mark: str) -> str:
    left_part = f"<left>{left}</left>" if left else ""
    return (
        f'<laneSection s="0">{left_part}<center><lane id="0" type="none" level="false">'
        f'<roadMark sOffset="0" type="{middle_mark}" material="standard" color="white" '
        'width="0.15" laneChange="none"/></lane></center>'
        f"<right>{right}</right></laneSection>"
    )


def _lane(
    number: int, kind: str, width_m: float, mark: tuple[str, str] | None, link: str = ""
) -> str:
    shown, change = mark or ("none", "none")
    return (
        f'<lane id="{number}" type="{kind}" level="false"><link>{link}</link>'
        f'<width sOffset="0" a="{width_m:.4f}" b="0" c="0" d="0"/>'
        f'<roadMark sOffset="0" type="{shown}" material="standard" color="white" '
        f'width="0.15" laneChange="{change}"/></lane>'
    )


def _connector(lane: Lane, before: Lane, layout: Layout) -> str:
    after = layout.lanes[lane.next_ids[0]]
    line_m = offset(lane.points_m, lane.width_m / 2.0)
    plan, length = _plan_view(_arcs(resample(line_m, _SPACING_M)))
    link = (
        f'<predecessor elementType="road" elementId="{before.road_id}" '
        f'contactPoint="{"end" if before.forward else "start"}"/>'
        f'<successor elementType="road" elementId="{after.road_id}" '
        f'contactPoint="{"start" if after.forward else "end"}"/>'
    )
    lane_link = f'<predecessor id="{lane_number(before)}"/><successor id="{lane_number(after)}"/>'
    only = _lane(-1, "driving", lane.width_m, None, lane_link)
    assert lane.junction_id is not None
    junction = len(layout.roads) + len(layout.lanes) + lane.junction_id
    ids = (connector_id(lane, layout), junction, length)
    return _road_element(ids, link, lane.speed_limit_mps, plan, _section("", only, "none"))


def _junction(
    junction: Junction, inside: list[Lane], incoming: dict[int, Lane], layout: Layout
) -> str:
    number = len(layout.roads) + len(layout.lanes) + junction.junction_id
    rows = []
    own = [lane for lane in inside if lane.junction_id == junction.junction_id]
    for index, lane in enumerate(own):
        before = incoming[lane.lane_id]
        rows.append(
            f'<connection id="{index}" incomingRoad="{before.road_id}" '
            f'connectingRoad="{connector_id(lane, layout)}" contactPoint="start">'
            f'<laneLink from="{lane_number(before)}" to="-1"/></connection>'
        )
    return f'<junction id="{number}" name="junction{number}">{"".join(rows)}</junction>'


def _lights_of(road: Road, layout: Layout) -> list[Light]:
    return [light for light in layout.lights if light.road_id == road.road_id]


def _signal(light: Light, road: Road, layout: Layout, length: float) -> str:
    """The traffic light at one end of the road; it controls the lanes that end there."""
    controlled = [lane for lane in layout.lanes if lane.light_id == light.light_id]
    at_end = controlled[0].forward
    numbers = sorted(lane_number(lane) for lane in controlled)
    side = -1.0 if at_end else 1.0
    return (
        f'<signal name="Signal_3Light_{light.light_id}" id="{sign_id(light)}" '
        f's="{length if at_end else 0.0:.6f}" t="{side * (road.half_width_m + 1.0):.3f}" '
        'zOffset="0" hOffset="0" roll="0" pitch="0" '
        f'orientation="{"+" if at_end else "-"}" dynamic="yes" country="OpenDRIVE" '
        f'type="{_LIGHT_TYPE}" subtype="-1" value="-1" text="" height="0.9" width="0.35">'
        f'<validity fromLane="{numbers[0]}" toLane="{numbers[-1]}"/></signal>'
    )


def _crossings_of(road: Road, layout: Layout) -> list[Crossing]:
    return [
        crossing
        for junction in layout.junctions
        for crossing in junction.crossings
        if crossing.road_id == road.road_id
    ]


def _crosswalk(crossing: Crossing, arcs: Sequence[Arc]) -> str:
    """A crosswalk as an object of the road that it crosses, at the nearer end of it.

    Its corners are relative to the first or last arc; the first corner is repeated at the end.
    """
    middle = crossing.polygon_m.mean(axis=0)
    s, before_last_m = 0.0, sum(length for *_, length, _ in arcs[:-1])
    x, y, heading, *_ = arcs[0]
    if math.dist(arcs[-1][:2], middle) < math.dist((x, y), middle):
        s, (x, y, heading, *_) = before_last_m, arcs[-1]
    cos, sin = math.cos(heading), math.sin(heading)
    away = crossing.polygon_m[[*range(len(crossing.polygon_m)), 0]] - (x, y)
    corners = "".join(
        f'<cornerLocal u="{u:.4f}" v="{v:.4f}" z="0"/>'
        for u, v in (away @ np.array([[cos, -sin], [sin, cos]])).tolist()
    )
    return (
        f'<object id="{crossing.crossing_id}" name="Crosswalk_{crossing.crossing_id}" '
        f'type="crosswalk" s="{s:.6f}" t="0" zOffset="0" hdg="0" pitch="0" roll="0" '
        f'orientation="none" length="1" width="1"><outline>{corners}</outline></object>'
    )


def _plan_view(arcs: Sequence[Arc]) -> tuple[str, float]:
    """Arcs as a planView element, and their total length."""
    rows, s = [], 0.0
    for x, y, heading, length, curvature in arcs:
        shape = f'<arc curvature="{curvature:.12f}"/>' if curvature else "<line/>"
        rows.append(
            f'<geometry s="{s:.9f}" x="{x:.9f}" y="{y:.9f}" hdg="{heading:.12f}" '
            f'length="{length:.9f}">{shape}</geometry>'
        )
        s += length
    return f"<planView>{''.join(rows)}</planView>", s


def _arcs(points_m: Points) -> list[Arc]:
    """The arcs between each two neighbours.

    Curvature 0 stands for a straight line, which replaces arcs with a radius above 10 km.
    """
    arcs = []
    turns = np.diff(headings(points_m))
    steps = np.diff(points_m, axis=0)
    for (x, y), (dx, dy), turn in zip(points_m[:-1], steps, turns, strict=True):
        chord = math.hypot(dx, dy)
        half = float(turn) / 2.0
        if abs(2.0 * half) <= _MIN_CURVATURE_1PM * chord:
            half = 0.0
        length = chord * (half / math.sin(half) if half else 1.0)
        heading, curvature = math.atan2(dy, dx) - half, 2.0 * half / length
        arcs.append((float(x), float(y), heading, length, curvature))
    return arcs
