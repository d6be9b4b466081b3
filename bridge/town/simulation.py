"""One episode of the town: its whole changing state, how it begins and how it ticks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import Control, Weather
from sim2street.bridge.town.models import PEDESTRIAN_MODELS
from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.plan.traffic_lights import light_states
from sim2street.bridge.town.traffic import pedestrian_spawn, pedestrians, right_of_way, vehicles
from sim2street.bridge.town.traffic.collisions import Boxes, corners, touching
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion, advance
from sim2street.bridge.town.traffic.ego_lanes import blocked_lanes, ego_box, ego_claim
from sim2street.bridge.town.traffic.episode_start import (
    Start,
    StartTurn,
    before_turn,
    behind_lead,
    clear_radius_m,
    guide,
    somewhere,
    with_lead,
)
from sim2street.bridge.town.traffic.junction_reservations import (
    Claim,
    EgoGrant,
    Surroundings,
    crossings_in_use,
    yield_m,
)
from sim2street.bridge.town.traffic.pedestrians import Box, WalkState
from sim2street.bridge.town.traffic.route import Route, RoutePoint, RouteState
from sim2street.bridge.town.traffic.vehicle_spawn import spawn_traffic
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, HALF_WIDTH_M, TrafficState
from sim2street.bridge.town.weather import draw_weather

_DECIDE_S = 0.2
"""Lights, grants and crossings are looked at this often."""

_CROWD_S = 1.0
"""Those on foot far from the ego are looked at this often."""

_EGO_CLEAR_M = 22.0
PEDESTRIAN_EXTENT_M = np.array([model.extent_m for model in PEDESTRIAN_MODELS])


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """What an episode is made of, all options resolved.

    Attributes:
        spawn: road lane the ego starts on, or None for any.
        route_length_m: to the goal.
        turn: the ego starts shortly before a junction and turns there; None: anywhere.
        lead_m: gap to a car that drives ahead along the ego's route; None: no such car.
        speed_mps: of the ego, and of that car, at the start.
    """

    town: int
    seed: int
    weather: str | None
    spawn: int | None
    route_length_m: float
    vehicles: int
    pedestrians: int
    turn: StartTurn | None = None
    lead_m: float | None = None
    speed_mps: float = 0.0


@dataclass(slots=True)
class TownState:
    """Everything that changes from tick to tick (the town's map does not)."""

    plan: EpisodePlan
    tick: int
    clock_s: float
    ego: EgoMotion
    route: RouteState
    ego_grant: EgoGrant
    traffic: TrafficState
    walkers: WalkState
    may_cross: Bools
    weather: Weather
    collision: bool
    route_rng: np.random.Generator
    episode: int = 0

    def copy(self) -> TownState:
        """An independent copy: a snapshot."""
        return copy.deepcopy(self)


class Simulation:
    """The episode `state` on its town; ticks in place."""

    def __init__(
        self, town: TownMap, state: TownState, ego_config: EgoConfig, tick_s: float
    ) -> None:
        self.town = town
        self.state = state
        self.ego_config = ego_config
        self.tick_s = tick_s
        self.route = Route(town.layout, state.route, _picker(state.route_rng))
        self.point: RoutePoint
        self.claim: Claim
        self._decide_every = max(1, round(_DECIDE_S / tick_s))
        self._crowd_every = max(1, round(_CROWD_S / tick_s))
        self.boxes = self._all_boxes()
        self._look()

    @property
    def time_s(self) -> float:
        """Time of the lights' clock."""
        return self.state.clock_s + self.state.tick * self.tick_s

    def step(self, control: Control) -> None:
        """One tick: decisions on what is, then everybody moves, then the ego's contacts."""
        state, town = self.state, self.town
        box = ego_box(state.ego, self.ego_config)
        blocked = blocked_lanes(box, town)
        if state.tick % self._decide_every == 0:
            self._decide(blocked)
        if state.tick % self._crowd_every == 0:
            here = np.array([state.ego.x_m, state.ego.y_m])
            ahead = self.route.points_m[state.route.segment :]
            pedestrian_spawn.follow_ego(state.walkers, town.walks, here, ahead)
        yields = yield_m(state.traffic, state.ego_grant, self.claim, town.lanes)
        vehicles.move(state.traffic, town.lanes, blocked, yields, self.tick_s)
        if state.plan.lead_m is not None:
            guide(state.traffic, self.route.state.lane_ids[self.point.lane_index :])
        pedestrians.move(state.walkers, town.walks, state.may_cross, box, state.tick, self.tick_s)
        self.boxes = self._all_boxes()
        moved = advance(state.ego, control, self.tick_s, self.ego_config)
        self._place(moved, box)
        state.tick += 1
        self._look()

    def _decide(self, blocked: tuple[vehicles.Obstacle, ...]) -> None:
        state, town, count = self.state, self.town, self.town.crossing_count
        signs = pedestrians.walk_signs(town.walks, town.lights, self.time_s)
        around = Surroundings(
            light=light_states(town.lights, self.time_s),
            walked=pedestrians.walked(state.walkers, town.walks, count),
            wanted=pedestrians.wanted(state.walkers, town.walks, signs, count, state.tick),
            blocked=blocked,
        )
        right_of_way.decide(
            state.traffic, state.ego_grant, self.claim, town.lanes, around, state.tick
        )
        used = crossings_in_use(state.traffic, state.ego_grant, town.lanes, blocked, count)
        may_cross = np.zeros(count + 1, bool)
        may_cross[town.walks.crossing[signs]] = True
        may_cross[:-1] &= ~used
        may_cross[-1] = True
        state.may_cross = may_cross

    def _place(self, moved: EgoMotion, before: Box) -> None:
        """Move the ego unless it would hit something: then it stops where it is."""
        state, after = self.state, ego_box(moved, self.ego_config)
        hit = self._hits(after)
        if hit and not self._hits(before):
            moved = dataclasses.replace(
                state.ego, speed_mps=0.0, yaw_rate_rps=0.0, wheel_rad=moved.wheel_rad
            )
        state.ego = moved
        state.collision = hit

    def _hits(self, box: Box) -> bool:
        if len(touching(box, self.boxes)):
            return True
        if abs(self.point.offset_m) < 1.0:  # in its lane: walls are far
            return False
        return not all(self.town.space.contains(x, y) for x, y in corners(box))

    def _all_boxes(self) -> Boxes:
        cars, people, still = self.state.traffic, self.state.walkers, self.town.still
        car_poses = vehicles.poses(cars, self.town.lanes)
        people_poses = pedestrians.poses(people, self.town.walks)
        size = PEDESTRIAN_EXTENT_M[people.model]
        x, y, heading = (
            np.concatenate(parts)
            for parts in zip(
                car_poses, people_poses, (still.x_m, still.y_m, still.heading_rad), strict=True
            )
        )
        length = (HALF_LENGTH_M[cars.model], size[:, 0], still.half_length_m)
        width = (HALF_WIDTH_M[cars.model], size[:, 1], still.half_width_m)
        return Boxes(x, y, heading, np.concatenate(length), np.concatenate(width))

    def _look(self) -> None:
        """Where the ego is on its route now."""
        ego = self.state.ego
        self.point = self.route.follow(ego.x_m, ego.y_m)
        self.state.route = self.route.state
        self.claim = ego_claim(ego, self.route, self.point.at_m, self.ego_config)


def begin(plan: EpisodePlan, town: TownMap, ego_config: EgoConfig, tick_s: float) -> Simulation:
    """The first tick of an episode: everything drawn from `plan.seed`."""
    place, ahead, cars, people, sky = (
        np.random.default_rng([plan.seed, stream]) for stream in range(5)
    )
    start = _start(plan, town, ego_config, place)
    lanes, s = start.lane_ids, start.s_m
    x, y, heading = (
        float(v[0]) for v in town.lanes.paths.poses(np.array(lanes[:1]), np.array([s]))
    )
    clear = (x, y, clear_radius_m(start, _EGO_CLEAR_M))
    clock_s = float(place.uniform(0.0, 120.0))
    vehicles = spawn_traffic(cars, town.layout, town.lanes, plan.vehicles, clear)
    if start.lead_m is not None:
        vehicles = with_lead(vehicles, start, plan.speed_mps, place)
    first = RouteState(lanes, 0.0, s, s + plan.route_length_m, int(s))
    route = Route(town.layout, first, _picker(ahead))
    route.grow()
    walkers = pedestrian_spawn.spawn_pedestrians(
        people, town.walks, plan.pedestrians, route.points_m
    )
    state = TownState(
        plan=plan,
        tick=0,
        clock_s=clock_s,
        ego=EgoMotion(x, y, heading, plan.speed_mps),
        route=route.state,
        ego_grant=EgoGrant(),
        traffic=vehicles,
        walkers=walkers,
        may_cross=np.zeros(town.crossing_count + 1, bool),
        weather=draw_weather(sky, plan.weather),
        collision=False,
        route_rng=ahead,
    )
    return Simulation(town, state, ego_config, tick_s)


def _start(
    plan: EpisodePlan, town: TownMap, ego_config: EgoConfig, rng: np.random.Generator
) -> Start:
    if plan.turn is not None:
        return before_turn(rng, town, plan.spawn, plan.turn, ego_config.front_m)
    if plan.lead_m is not None:
        return behind_lead(rng, town, plan.spawn, plan.lead_m, ego_config.front_m)
    return somewhere(rng, town, plan.spawn)


def _picker(rng: np.random.Generator) -> Callable[[tuple[int, ...]], int]:
    """Chooses where a route goes on."""
    return lambda ways: int(ways[rng.integers(len(ways))])
