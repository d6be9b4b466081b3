"""Sets the street furniture and the street trees out along the sidewalks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sim2street.bridge.town.plan.layout import Junction, Layout, Light, Points, Road
from sim2street.bridge.town.plan.polyline import arc_lengths, at_lengths, headings, unit
from sim2street.bridge.town.scenery.blocks import tree_items
from sim2street.bridge.town.scenery.furniture import (
    bin_or_cabinet,
    board_sign,
    bollard,
    bus_stop,
    lamp,
    lantern,
    mast,
    post_sign,
    totem,
    traffic_light,
)
from sim2street.bridge.town.scenery.ground import KERB_M, sidewalk_lines
from sim2street.bridge.town.scenery.meshes import Item, Layer, Mesh, placed
from sim2street.bridge.town.scenery.person_meshes import parked_bicycles

_POLE_SEEN_M = 170.0
_SMALL_SEEN_M = 110.0
_FINE_BICYCLE_M = 18.0
_KERB_GAP_M = 0.45


def roadside_items(layout: Layout, rng: np.random.Generator) -> Iterator[Item]:
    """Lamps, signs, bollards, bins, bus stops, trees and traffic lights of the whole town."""
    for road in layout.roads:
        style = int(rng.integers(3))
        leafy = bool(rng.random() < 0.3)
        for side in (0, 1):
            yield from _side(road, side, rng, style, leafy)
    for junction in layout.junctions:
        yield from _corner_posts(junction, rng)
    for light in layout.lights:
        yield from _lights(layout, light, rng)


class _Kerb:
    """One kerb walked in the direction of its traffic; x along it, y towards the road."""

    def __init__(self, road: Road, side: int) -> None:
        kerb, outer = sidewalk_lines(road, side)
        self.line: Points = kerb[::-1] if side == 0 else kerb
        self.wide_m = float(np.hypot(*(kerb[0] - outer[0])))
        self.marks = arc_lengths(self.line)
        self.turns = headings(self.line)
        self.length_m = float(self.marks[-1])

    def put(
        self, shape: Mesh, s_m: float, back_m: float, seen_m: float, turn_rad: float = 0.0
    ) -> Item:
        """`shape` on the sidewalk, `back_m` behind the kerb (its +x along the traffic)."""
        x, y, heading = self.spot(s_m, back_m)
        body = placed(shape, x, y, KERB_M, heading + turn_rad)
        return Item(body, Layer.SOLID, (x, y), 0.0, seen_m)

    def spot(self, s_m: float, back_m: float) -> tuple[float, float, float]:
        """World place (x, y) of a spot on the sidewalk, and the kerb's heading there."""
        heading = float(np.interp(s_m, self.marks, self.turns))
        at = at_lengths(self.line, np.array([s_m]), self.marks)[0]
        at += unit(heading - math.pi / 2) * back_m
        return float(at[0]), float(at[1]), heading


def _side(
    road: Road, side: int, rng: np.random.Generator, style: int, leafy: bool
) -> Iterator[Item]:
    kerb = _Kerb(road, side)
    yield from _lamps(kerb, rng, style, side)
    yield from _posts(kerb, rng)
    if leafy and kerb.wide_m > 2.6:
        yield from _trees(kerb, rng)
    if rng.random() < 0.25 and kerb.length_m > 50.0:
        s = float(rng.uniform(20.0, kerb.length_m - 20.0))
        yield kerb.put(bus_stop(), s, kerb.wide_m - 1.0, _POLE_SEEN_M, math.pi)


def _lamps(kerb: _Kerb, rng: np.random.Generator, style: int, side: int) -> Iterator[Item]:
    step = float(rng.uniform(29.0, 46.0))
    for s in np.arange(step * (0.25 + 0.5 * side), kerb.length_m, step):
        shape = (lamp, lantern, lamp)[style](rng)
        yield kerb.put(shape, float(s), _KERB_GAP_M, _POLE_SEEN_M)
    if style == 2:
        for s in np.arange(step * 0.6, kerb.length_m, step * 1.6):
            yield kerb.put(mast(rng), float(s), kerb.wide_m - 0.3, _POLE_SEEN_M)


def _posts(kerb: _Kerb, rng: np.random.Generator) -> Iterator[Item]:
    """Signs, boards, bollards and bins at irregular distances."""
    s = float(rng.uniform(2.0, 10.0))
    while s < kerb.length_m - 1.0:
        pick = rng.random()
        if pick < 0.60:
            yield kerb.put(post_sign(rng), s, float(rng.uniform(0.35, 0.7)), _POLE_SEEN_M)
        elif pick < 0.64:
            yield kerb.put(board_sign(rng), s, kerb.wide_m - 0.5, _POLE_SEEN_M)
        elif pick < 0.67:
            yield kerb.put(totem(rng), s, kerb.wide_m - 0.5, _POLE_SEEN_M)
        elif pick < 0.76:
            for k in range(int(rng.integers(2, 6))):
                if s + 1.5 * k < kerb.length_m:
                    yield kerb.put(bollard(rng), s + 1.5 * k, 0.4, _SMALL_SEEN_M)
        elif pick < 0.89:
            for k in range(int(rng.integers(2, 6))):
                lean = float(rng.normal(math.pi / 2, 0.3))
                if s + 0.7 * k < kerb.length_m:
                    yield from _bicycle(kerb, s + 0.7 * k, lean)
        else:
            turn = float(rng.choice([0.0, math.pi / 2]))
            yield kerb.put(bin_or_cabinet(rng), s, kerb.wide_m - 0.5, _SMALL_SEEN_M, turn)
        s += float(rng.uniform(6.0, 21.0))


def _bicycle(kerb: _Kerb, s_m: float, turn_rad: float) -> Iterator[Item]:
    fine, coarse = parked_bicycles()
    back = kerb.wide_m - 1.0
    yield kerb.put(fine, s_m, back, _FINE_BICYCLE_M, turn_rad)
    far = kerb.put(coarse, s_m, back, _SMALL_SEEN_M, turn_rad)
    yield replace(far, near_m=_FINE_BICYCLE_M)


def _trees(kerb: _Kerb, rng: np.random.Generator) -> Iterator[Item]:
    kind = str(rng.choice(["broad", "sparse", "young", "bare", "tall"]))
    step = float(rng.uniform(10.0, 19.0))
    for s in np.arange(step * 0.5, kerb.length_m, step):
        if rng.random() < 0.75:
            x, y, _ = kerb.spot(float(s), 0.8)
            yield from tree_items(kind, rng, x, y, near=True)


def _corner_posts(junction: Junction, rng: np.random.Generator) -> Iterator[Item]:
    for corner in junction.corners:
        count = len(corner.kerb_m)
        for _ in range(int(rng.integers(0, 3))):
            k = int(rng.integers(1, count - 1))
            inner, outer = corner.kerb_m[k], corner.outer_m[k]
            away = (outer - inner) / max(float(np.hypot(*(outer - inner))), 1e-9)
            at = inner + away * 0.5
            along = corner.kerb_m[k + 1] - corner.kerb_m[k]
            heading = math.atan2(*along[::-1]) + float(rng.choice([0.0, math.pi]))
            shape = (post_sign, bollard, board_sign, post_sign)[int(rng.integers(4))](rng)
            here = (float(at[0]), float(at[1]))
            yield Item(placed(shape, *here, KERB_M, heading), Layer.SOLID, here, 0.0, _POLE_SEEN_M)


def _lights(layout: Layout, light: Light, rng: np.random.Generator) -> Iterator[Item]:
    """The light of an arm: at the stop line, and again on the other side of the road."""
    road = layout.roads[light.road_id]
    left = unit(light.heading_rad + math.pi / 2)
    across = sum(road.kerb_m) + 1.2
    for at in (light.position_m, light.position_m + left * across):
        here = (float(at[0]), float(at[1]))
        body = placed(traffic_light(rng), *here, KERB_M, light.heading_rad)
        yield Item(body, Layer.SOLID, here, 0.0, _POLE_SEEN_M)
