"""Places street furniture and street trees along the sidewalks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sim2street.bridge.town.plan.layout import Junction, Layout, Light, Points, Road
from sim2street.bridge.town.plan.polyline import arc_lengths, at_lengths, headings, unit
from sim2street.bridge.town.plan.sidewalks import sidewalk_lines
from sim2street.bridge.town.scenery.furniture_meshes import (
    advertising_pillar,
    board_sign,
    bollard,
    bus_stop,
    lamp,
    lantern,
    post_sign,
    small_furniture,
    traffic_light,
    utility_pole,
)
from sim2street.bridge.town.scenery.ground import KERB_HEIGHT_M
from sim2street.bridge.town.scenery.meshes import Layer, Mesh, SceneryItem, placed
from sim2street.bridge.town.scenery.person_meshes import parked_bicycles
from sim2street.bridge.town.scenery.plane_faces import place_key
from sim2street.bridge.town.scenery.sign_surfaces import with_sign_faces
from sim2street.bridge.town.scenery.trees import tree_items

_POLE_FAR_M = 170.0
_SMALL_FAR_M = 110.0
"""Things are not drawn beyond these distances."""

_FINE_BICYCLE_M = 18.0
_LAMP_TO_KERB_M = 0.45


def street_furniture_items(
    layout: Layout, rng: np.random.Generator, surface_seed: int | None = None
) -> Iterator[SceneryItem]:
    """Lamps, signs, bollards, bins, bus stops, trees and traffic lights of the whole town.

    Signs have texture coordinates if `surface_seed`, the town's seed, is given.
    """
    for road in layout.roads:
        lamp_style = int(rng.integers(3))
        trees = bool(rng.random() < 0.3)
        for side in (0, 1):
            sidewalk = _Sidewalk(road, side, surface_seed)
            yield from _side(sidewalk, side, rng, lamp_style, trees)
    for junction in layout.junctions:
        yield from _corner_posts(junction, rng, surface_seed)
    for light in layout.lights:
        yield from _lights(layout, light, rng)


class _Sidewalk:
    """The sidewalk along one side of a road, followed in the direction of its traffic.

    Places on it are given by their distance along the kerb and their distance from it.
    """

    def __init__(self, road: Road, side: int, surface_seed: int | None) -> None:
        kerb, outer = sidewalk_lines(road, side)
        self.line: Points = kerb[::-1] if side == 0 else kerb
        self.width_m = float(np.hypot(*(kerb[0] - outer[0])))
        self.arc_m = arc_lengths(self.line)
        self.headings_rad = headings(self.line)
        self.length_m = float(self.arc_m[-1])
        self._surface_seed = surface_seed

    def put(
        self, shape: Mesh, s_m: float, back_m: float, far_m: float, turn_rad: float = 0.0
    ) -> SceneryItem:
        """A shape on the sidewalk, `back_m` behind the kerb, not drawn beyond `far_m`.

        Its +x axis points along the traffic, turned counter-clockwise by `turn_rad`.
        """
        x, y, heading = self.place(s_m, back_m)
        if self._surface_seed is not None:
            shape = with_sign_faces(shape, place_key(self._surface_seed, x, y))
        body = placed(shape, x, y, KERB_HEIGHT_M, heading + turn_rad)
        return SceneryItem(body, Layer.SOLID, (x, y), 0.0, far_m)

    def place(self, s_m: float, back_m: float) -> tuple[float, float, float]:
        """World x and y of a place on the sidewalk, and the heading of the traffic there."""
        heading = float(np.interp(s_m, self.arc_m, self.headings_rad))
        at = at_lengths(self.line, np.array([s_m]), self.arc_m)[0]
        at += unit(heading - math.pi / 2) * back_m
        return float(at[0]), float(at[1]), heading


def _side(
    sidewalk: _Sidewalk, side: int, rng: np.random.Generator, lamp_style: int, trees: bool
) -> Iterator[SceneryItem]:
    """Everything along one side of a road (0 left, 1 right)."""
    yield from _lamps(sidewalk, rng, lamp_style, side)
    yield from _posts(sidewalk, rng)
    if trees and sidewalk.width_m > 2.6:
        yield from _trees(sidewalk, rng)
    if rng.random() < 0.25 and sidewalk.length_m > 50.0:
        s = float(rng.uniform(20.0, sidewalk.length_m - 20.0))
        yield sidewalk.put(bus_stop(), s, sidewalk.width_m - 1.0, _POLE_FAR_M, math.pi)


def _lamps(
    sidewalk: _Sidewalk, rng: np.random.Generator, lamp_style: int, side: int
) -> Iterator[SceneryItem]:
    step = float(rng.uniform(29.0, 46.0))
    for s in np.arange(step * (0.25 + 0.5 * side), sidewalk.length_m, step):
        shape = (lamp, lantern, lamp)[lamp_style](rng)
        yield sidewalk.put(shape, float(s), _LAMP_TO_KERB_M, _POLE_FAR_M)
    if lamp_style == 2:  # utility poles besides the lamps
        for s in np.arange(step * 0.6, sidewalk.length_m, step * 1.6):
            yield sidewalk.put(utility_pole(rng), float(s), sidewalk.width_m - 0.3, _POLE_FAR_M)


def _posts(sidewalk: _Sidewalk, rng: np.random.Generator) -> Iterator[SceneryItem]:
    """Signs, bollards, parked bicycles and small furniture at random distances."""
    s = float(rng.uniform(2.0, 10.0))
    while s < sidewalk.length_m - 1.0:
        pick = rng.random()
        if pick < 0.60:
            yield sidewalk.put(post_sign(rng), s, float(rng.uniform(0.35, 0.7)), _POLE_FAR_M)
        elif pick < 0.64:
            yield sidewalk.put(board_sign(rng), s, sidewalk.width_m - 0.5, _POLE_FAR_M)
        elif pick < 0.67:
            yield sidewalk.put(advertising_pillar(rng), s, sidewalk.width_m - 0.5, _POLE_FAR_M)
        elif pick < 0.76:
            for k in range(int(rng.integers(2, 6))):
                if s + 1.5 * k < sidewalk.length_m:
                    yield sidewalk.put(bollard(rng), s + 1.5 * k, 0.4, _SMALL_FAR_M)
        elif pick < 0.89:
            for k in range(int(rng.integers(2, 6))):
                turn = float(rng.normal(math.pi / 2, 0.3))
                if s + 0.7 * k < sidewalk.length_m:
                    yield from _bicycle(sidewalk, s + 0.7 * k, turn)
        else:
            turn = float(rng.choice([0.0, math.pi / 2]))
            yield sidewalk.put(small_furniture(rng), s, sidewalk.width_m - 0.5, _SMALL_FAR_M, turn)
        s += float(rng.uniform(6.0, 21.0))


def _bicycle(sidewalk: _Sidewalk, s_m: float, turn_rad: float) -> Iterator[SceneryItem]:
    fine, coarse = parked_bicycles()
    back = sidewalk.width_m - 1.0
    yield sidewalk.put(fine, s_m, back, _FINE_BICYCLE_M, turn_rad)
    far = sidewalk.put(coarse, s_m, back, _SMALL_FAR_M, turn_rad)
    yield replace(far, near_m=_FINE_BICYCLE_M)


def _trees(sidewalk: _Sidewalk, rng: np.random.Generator) -> Iterator[SceneryItem]:
    kind = str(rng.choice(["broad", "sparse", "young", "bare", "tall"]))
    step = float(rng.uniform(10.0, 19.0))
    for s in np.arange(step * 0.5, sidewalk.length_m, step):
        if rng.random() < 0.75:
            x, y, _ = sidewalk.place(float(s), 0.8)
            yield from tree_items(kind, rng, x, y, near_street=True)


def _corner_posts(
    junction: Junction, rng: np.random.Generator, surface_seed: int | None
) -> Iterator[SceneryItem]:
    """Up to two signs or bollards on each corner of a junction."""
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
            if surface_seed is not None:
                shape = with_sign_faces(shape, place_key(surface_seed, *here))
            yield SceneryItem(
                placed(shape, *here, KERB_HEIGHT_M, heading), Layer.SOLID, here, 0.0, _POLE_FAR_M
            )


def _lights(layout: Layout, light: Light, rng: np.random.Generator) -> Iterator[SceneryItem]:
    """The traffic light of a junction's arm: one each on the right and the left of the road."""
    road = layout.roads[light.road_id]
    left = unit(light.heading_rad + math.pi / 2)
    across = sum(road.kerb_m) + 1.2
    for at in (light.position_m, light.position_m + left * across):
        here = (float(at[0]), float(at[1]))
        body = placed(traffic_light(rng), *here, KERB_HEIGHT_M, light.heading_rad)
        yield SceneryItem(body, Layer.SOLID, here, 0.0, _POLE_FAR_M)
