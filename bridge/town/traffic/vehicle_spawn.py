"""Where the traffic of an episode begins."""

from __future__ import annotations

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.town.models import VEHICLE_MODELS
from sim2street.bridge.town.plan.lane_map import SIZE_CLASSES_M, LaneMap
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.plan.paths import Ints
from sim2street.bridge.town.traffic.vehicles import PLAN, TrafficState, choose_way

_SLOT_M = 16.0
_CLEAR_M = 9.0
_SHARE = {Tag.CAR: 1.0, Tag.TRUCK: 0.25, Tag.BUS: 0.5, Tag.MOTORCYCLE: 0.3, Tag.BICYCLE: 1.3}
_BICYCLE_KEENNESS = 0.6

CAR_MODELS = np.arange(8)
"""int64, the cars of the catalogue: they fit every lane."""

MODEL_SIZE = np.array([int(np.searchsorted(SIZE_CLASSES_M, m.extent_m[0])) for m in VEHICLE_MODELS])
"""int64, size class of every vehicle model."""


def spawn_traffic(
    rng: np.random.Generator,
    layout: Layout,
    lanes: LaneMap,
    count: int,
    keep_clear_m: tuple[float, float, float],
) -> TrafficState:
    """Up to `count` standing vehicles on free slots of the roads.

    Args:
        keep_clear_m: x, y and radius of a circle without vehicles (the ego starts there).
    """
    lane, s = _slots(layout, lanes)
    x, y, _ = lanes.paths.poses(lane, s)
    free = np.hypot(x - keep_clear_m[0], y - keep_clear_m[1]) > keep_clear_m[2]
    taken = rng.permutation(np.nonzero(free)[0])[:count]
    lane, s = lane[taken], s[taken]
    model = _models(rng, len(taken))
    too_long = lanes.way_count[MODEL_SIZE[model], lane] == 0
    model[too_long] = rng.integers(0, len(CAR_MODELS), int(too_long.sum()))
    tag = np.array([VEHICLE_MODELS[m].tag for m in model], np.int64)
    bicycle = tag == Tag.BICYCLE
    keenness = rng.uniform(0.85, 1.1, len(model))
    left = rng.uniform(-0.15, 0.15, len(model))
    state = TrafficState(
        model=model,
        size=MODEL_SIZE[model],
        plan=np.zeros((len(model), PLAN), np.int64),
        s_m=s,
        speed_mps=np.zeros(len(model)),
        left_m=np.where(bicycle, -0.8, np.where(MODEL_SIZE[model] > 0, 0.0, left)),
        keenness=np.where(bicycle, _BICYCLE_KEENNESS * keenness, keenness),
        grant=np.full(len(model), -1, np.int64),
        asked=np.full(len(model), -1, np.int64),
        granted=np.full(len(model), -1, np.int64),
        rng=rng,
    )
    for i in range(len(model)):
        state.plan[i, 0] = lane[i]
        for k in range(1, PLAN):
            size, before = int(state.size[i]), int(state.plan[i, k - 1])
            state.plan[i, k] = choose_way(lanes, rng, size, before)
    return state


def _slots(layout: Layout, lanes: LaneMap) -> tuple[Ints, np.ndarray]:
    """Lane and distance along it of every place a vehicle can start."""
    lane_ids, places = [], []
    for lane in layout.lanes:
        length = float(lanes.paths.length_m[lane.lane_id])
        if lane.road_id is not None:
            here = np.arange(_CLEAR_M, length - _CLEAR_M, _SLOT_M)
            places.append(here)
            lane_ids.append(np.full(len(here), lane.lane_id, np.int64))
    return np.concatenate(lane_ids), np.concatenate(places)


def _models(rng: np.random.Generator, count: int) -> Ints:
    weights = np.array([_SHARE[Tag(model.tag)] for model in VEHICLE_MODELS])
    return rng.choice(len(VEHICLE_MODELS), count, p=weights / weights.sum()).astype(np.int64)
