"""All of a town that never changes: layout, lanes, walkways, traffic lights, walls, parked cars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sim2street.bridge.frame import Actor
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.lane_map import LaneMap, lane_map
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.layout_generator import LayoutConfig, make_layout
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.traffic_lights import LightPlan, plan_lights
from sim2street.bridge.town.plan.walk_map import WalkMap, walk_map
from sim2street.bridge.town.traffic.collisions import Boxes, StreetSpace

_POST_RADIUS_M = 0.12


@dataclass(frozen=True, slots=True)
class TownMap:
    """The part of a town that never changes.

    Attributes:
        lights: cycles of the traffic lights. space: the ground between the walls.
        lane_of_point: int64 (P,), lane of each point of `lanes.paths`.
        static_boxes: of the parked cars and of the posts of the traffic lights.
        parked: an actor for each parked car.
        crossing_count: number of crosswalks.
    """

    layout: Layout
    lanes: LaneMap
    walks: WalkMap
    lights: LightPlan
    space: StreetSpace
    lane_of_point: Ints
    static_boxes: Boxes
    parked: tuple[Actor, ...]
    crossing_count: int


@lru_cache(maxsize=8)
def town_map(town: int, config: LayoutConfig) -> TownMap:
    """The town with this id; the last few are cached."""
    layout = make_layout(town, config)
    lanes = lane_map(layout)
    crossings = sum(len(junction.crossings) for junction in layout.junctions)
    return TownMap(
        layout=layout,
        lanes=lanes,
        walks=walk_map(layout),
        lights=plan_lights(layout, np.random.default_rng([town, 0x71])),
        space=StreetSpace.of(layout),
        lane_of_point=np.repeat(np.arange(len(layout.lanes)), lanes.paths.count),
        static_boxes=_static_boxes(layout),
        parked=_parked_actors(layout),
        crossing_count=crossings,
    )


def _static_boxes(layout: Layout) -> Boxes:
    extent = {model.name: model.extent_m for model in VEHICLE_MODELS}
    rows = [(p.x_m, p.y_m, p.heading_rad, *extent[p.model][:2]) for p in layout.parked]
    rows += [
        (*light.position_m, light.heading_rad, _POST_RADIUS_M, _POST_RADIUS_M)
        for light in layout.lights
    ]
    return Boxes(*np.array(rows, np.float64).reshape(-1, 5).T)


def _parked_actors(layout: Layout) -> tuple[Actor, ...]:
    models = {model.name: model for model in VEHICLE_MODELS}
    actors = []
    for car in layout.parked:
        pose = np.eye(4, dtype=np.float32)
        cos, sin = np.cos(car.heading_rad), np.sin(car.heading_rad)
        pose[:2, :2] = ((cos, -sin), (sin, cos))
        pose[:2, 3] = car.x_m, car.y_m
        pose.setflags(write=False)
        model = models[car.model]
        actors.append(Actor(car.actor_id, model.tag, pose, model.extent_m))
    return tuple(actors)
