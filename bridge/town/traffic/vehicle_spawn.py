"""Which vehicles the traffic of an episode starts with, and where."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.actor_models import VEHICLE_MODELS
from sim2street.bridge.town.plan.lane_map import SIZE_CLASSES_M, LaneMap
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.plan.polyline import Floats
from sim2street.bridge.town.traffic.vehicles import (
    PLANNED_LANES,
    TrafficState,
    choose_next_lane,
)

_SLOT_SPACING_M = 16.0
_MIN_TO_LANE_END_M = 9.0
_MODEL_WEIGHTS = {
    Tag.CAR: 1.0,
    Tag.TRUCK: 0.25,
    Tag.BUS: 0.5,
    Tag.MOTORCYCLE: 0.3,
    Tag.BICYCLE: 1.3,
}
"""Relative frequency of each model of a kind."""

_SPEED_FACTORS = (0.85, 1.1)
_BICYCLE_SPEED_FACTOR = 0.6
_BICYCLE_LANE_OFFSET_M = -0.8
_MAX_CAR_LANE_OFFSET_M = 0.15

CAR_MODELS = np.arange(8)
"""int64, the cars in VEHICLE_MODELS that fit every lane."""

MODEL_SIZE_CLASS = np.array(
    [int(np.searchsorted(SIZE_CLASSES_M, model.extent_m[0])) for model in VEHICLE_MODELS]
)
"""int64, size class of each of VEHICLE_MODELS."""


def spawn_traffic(
    rng: np.random.Generator,
    layout: Layout,
    lanes: LaneMap,
    count: int,
    keep_clear_m: tuple[float, float, float],
) -> TrafficState:
    """Up to `count` standing vehicles on free slots of the roads.

    Args:
        keep_clear_m: x, y and radius of a circle without vehicles, around the ego.
    """
    lane, s = _slots(layout, lanes)
    x, y, _ = lanes.paths.poses(lane, s)
    free = np.hypot(x - keep_clear_m[0], y - keep_clear_m[1]) > keep_clear_m[2]
    taken = rng.permutation(np.nonzero(free)[0])[:count]
    lane, s = lane[taken], s[taken]
    model = _draw_models(rng, len(taken))
    too_long = lanes.next_lane_count[MODEL_SIZE_CLASS[model], lane] == 0
    model[too_long] = rng.integers(0, len(CAR_MODELS), int(too_long.sum()))
    tag = np.array([VEHICLE_MODELS[m].tag for m in model], np.int64)
    bicycle = tag == Tag.BICYCLE
    size_class = MODEL_SIZE_CLASS[model]
    factor = rng.uniform(*_SPEED_FACTORS, len(model))
    offset = rng.uniform(-_MAX_CAR_LANE_OFFSET_M, _MAX_CAR_LANE_OFFSET_M, len(model))
    offset = np.where(size_class > 0, 0.0, offset)
    state = TrafficState(
        model=model,
        size_class=size_class,
        lane_plan=np.zeros((len(model), PLANNED_LANES), np.int64),
        s_m=s,
        speed_mps=np.zeros(len(model)),
        lane_offset_m=np.where(bicycle, _BICYCLE_LANE_OFFSET_M, offset),
        speed_factor=np.where(bicycle, _BICYCLE_SPEED_FACTOR * factor, factor),
        granted_lane=np.full(len(model), -1, np.int64),
        asked_tick=np.full(len(model), -1, np.int64),
        granted_tick=np.full(len(model), -1, np.int64),
        rng=rng,
    )
    for i in range(len(model)):
        plan = state.lane_plan[i]
        plan[0] = lane[i]
        for k in range(1, PLANNED_LANES):
            plan[k] = choose_next_lane(lanes, rng, int(size_class[i]), int(plan[k - 1]))
    return state


def _slots(layout: Layout, lanes: LaneMap) -> tuple[Ints, Floats]:
    """Lane and distance along it of every place where a vehicle can start."""
    lane_ids, places = [], []
    for lane in layout.lanes:
        length = float(lanes.paths.length_m[lane.lane_id])
        if lane.road_id is not None:
            here = np.arange(_MIN_TO_LANE_END_M, length - _MIN_TO_LANE_END_M, _SLOT_SPACING_M)
            places.append(here)
            lane_ids.append(np.full(len(here), lane.lane_id, np.int64))
    return np.concatenate(lane_ids), np.concatenate(places)


def _draw_models(rng: np.random.Generator, count: int) -> Ints:
    weights = np.array([_MODEL_WEIGHTS[Tag(model.tag)] for model in VEHICLE_MODELS])
    return rng.choice(len(VEHICLE_MODELS), count, p=weights / weights.sum()).astype(np.int64)
