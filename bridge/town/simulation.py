"""One episode of the town: its state, how it starts and how it advances by a tick."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.frame import Control, Weather
from sim2street.bridge.town.actor_models import PEDESTRIAN_MODELS
from sim2street.bridge.town.plan.lane_map import Bools
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import TownMap
from sim2street.bridge.town.plan.traffic_lights import light_states
from sim2street.bridge.town.traffic import pedestrian_spawn, pedestrians, right_of_way, vehicles
from sim2street.bridge.town.traffic.collisions import Box, Boxes, corners, touching
from sim2street.bridge.town.traffic.ego import EgoConfig, EgoMotion, advance
from sim2street.bridge.town.traffic.ego_lanes import ego_at_junction, ego_box, occupied_lanes
from sim2street.bridge.town.traffic.episode_start import (
    EpisodeStart,
    StartTurn,
    add_lead_vehicle,
    clear_radius_m,
    keep_lead_on_route,
    start_anywhere,
    start_before_turn,
    start_behind_lead,
)
from sim2street.bridge.town.traffic.junction_reservations import (
    EgoAtJunction,
    EgoGrant,
    JunctionConditions,
    crossings_in_use,
    yield_distances_m,
)
from sim2street.bridge.town.traffic.pedestrians import PedestrianState
from sim2street.bridge.town.traffic.route import Route, RoutePoint, RouteState
from sim2street.bridge.town.traffic.vehicle_spawn import spawn_traffic
from sim2street.bridge.town.traffic.vehicles import HALF_LENGTH_M, HALF_WIDTH_M, TrafficState
from sim2street.bridge.town.weather import draw_weather

_RIGHT_OF_WAY_INTERVAL_S = 0.2
"""Time between two updates of who may enter junctions and crosswalks."""

_RESPAWN_INTERVAL_S = 1.0
"""Time between two checks for pedestrians far from the ego, which are moved close to it."""

_EGO_CLEAR_M = 22.0
"""No other vehicle starts closer to the ego than this."""

_PEDESTRIAN_EXTENT_M = np.array([model.extent_m for model in PEDESTRIAN_MODELS])


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """What determines an episode: the config and the reset options combined.

    Attributes:
        town: town id.
        seed: everything random in the episode follows from it.
        weather: a preset's name, or None for a random one.
        spawn: id of the road lane that the ego starts on, or None for any.
        route_length_m: from the start to the goal.
        vehicles, pedestrians: their numbers.
        turn: the ego starts shortly before a junction where it turns this way; None: anywhere.
        lead_m: gap to a vehicle that drives ahead along the ego's route; None: no such vehicle.
        speed_mps: speed of the ego, and of that vehicle, at the start.
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


@dataclass(frozen=True, slots=True)
class TownIdentity:
    """What a town is like. A saved episode goes on exactly only in an equal one.

    Attributes:
        version: of the town's rules; see `world.TOWN_VERSION`.
        layout, ego: see `world.TownConfig`.
    """

    version: str
    tick_s: float
    layout: LayoutConfig
    ego: EgoConfig

    def differences(self, other: TownIdentity) -> list[str]:
        """Names of the attributes that differ."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def __deepcopy__(self, memo: dict[int, object]) -> TownIdentity:
        """Itself: it never changes."""
        return self


@dataclass(slots=True)
class TownState:
    """Everything that changes from tick to tick, and the episode's plan.

    Attributes:
        tick: 0 at the start.
        clock_s: time of the traffic lights' clock at tick 0.
        ego: position and motion.
        route: the lanes the ego follows and its progress along them.
        ego_grant: the ego's right of way at the next junction.
        traffic: the other vehicles.
        walkers: the pedestrians.
        may_cross: bool (crossings + 1,), whether pedestrians may step onto each crosswalk; the
            last element stands for "no crosswalk" and is always True after the first update.
        collision: the ego touched something in the last tick.
        route_rng: draws where the route continues at junctions.
        episode: number of the episode in its world.
        saved_from: the town that it was saved from; None while the episode is running.
    """

    plan: EpisodePlan
    tick: int
    clock_s: float
    ego: EgoMotion
    route: RouteState
    ego_grant: EgoGrant
    traffic: TrafficState
    walkers: PedestrianState
    may_cross: Bools
    weather: Weather
    collision: bool
    route_rng: np.random.Generator
    episode: int = 0
    saved_from: TownIdentity | None = None

    def copy(self) -> TownState:
        """An independent copy, including the random generators."""
        return copy.deepcopy(self)


class Simulation:
    """An episode that is running in a town.

    Attributes:
        town: the map, which never changes.
        state: what changes; `step` updates it in place.
        route: the ego's route.
        route_point: the ego's place on it.
        ego_at_junction: the ego relative to the junction it is in or comes to next.
        boxes: bounding boxes of all vehicles, pedestrians and fixed obstacles, in this order.
    """

    def __init__(
        self, town: TownMap, state: TownState, ego_config: EgoConfig, tick_s: float
    ) -> None:
        self.town = town
        self.state = state
        self.ego_config = ego_config
        self.tick_s = tick_s
        self.route = Route(town.layout, state.route, _lane_picker(state.route_rng))
        self.route_point: RoutePoint
        self.ego_at_junction: EgoAtJunction
        self._right_of_way_ticks = max(1, round(_RIGHT_OF_WAY_INTERVAL_S / tick_s))
        self._respawn_ticks = max(1, round(_RESPAWN_INTERVAL_S / tick_s))
        self.boxes = self._all_boxes()
        self._locate_ego()

    @property
    def time_s(self) -> float:
        """Time on the traffic lights' clock."""
        return self.state.clock_s + self.state.tick * self.tick_s

    def step(self, control: Control) -> None:
        """Advance by one tick.

        Right of way is decided first. Then the others move, then the ego, whose collisions are
        checked against the others' new positions.
        """
        state, town = self.state, self.town
        box = ego_box(state.ego, self.ego_config)
        ego_lanes = occupied_lanes(box, town)
        if state.tick % self._right_of_way_ticks == 0:
            self._update_right_of_way(ego_lanes)
        if state.tick % self._respawn_ticks == 0:
            here = np.array([state.ego.x_m, state.ego.y_m])
            ahead = self.route.points_m[state.route.segment :]
            pedestrian_spawn.follow_ego(state.walkers, town.walks, here, ahead)
        yield_m = yield_distances_m(
            state.traffic, state.ego_grant, self.ego_at_junction, town.lanes
        )
        vehicles.move(state.traffic, town.lanes, ego_lanes, yield_m, self.tick_s)
        if state.plan.lead_m is not None:
            keep_lead_on_route(
                state.traffic, self.route.state.lane_ids[self.route_point.lane_index :]
            )
        pedestrians.move(state.walkers, town.walks, state.may_cross, box, state.tick, self.tick_s)
        self.boxes = self._all_boxes()
        moved = advance(state.ego, control, self.tick_s, self.ego_config)
        self._move_ego(moved, box)
        state.tick += 1
        self._locate_ego()

    def _update_right_of_way(self, ego_lanes: tuple[vehicles.LaneObstacle, ...]) -> None:
        """Decide who may enter junctions and which crosswalks pedestrians may step onto."""
        state, town, count = self.state, self.town, self.town.crossing_count
        walk = pedestrians.walk_signals(town.walks, town.lights, self.time_s)
        conditions = JunctionConditions(
            light_states=light_states(town.lights, self.time_s),
            occupied=pedestrians.occupied_crossings(state.walkers, town.walks, count),
            requested=pedestrians.requested_crossings(
                state.walkers, town.walks, walk, count, state.tick
            ),
            ego_lanes=ego_lanes,
        )
        right_of_way.update_grants(
            state.traffic, state.ego_grant, self.ego_at_junction, town.lanes, conditions, state.tick
        )
        used = crossings_in_use(state.traffic, state.ego_grant, town.lanes, ego_lanes, count)
        may_cross = np.zeros(count + 1, bool)
        may_cross[town.walks.crossing_id[walk]] = True
        may_cross[:-1] &= ~used
        may_cross[-1] = True
        state.may_cross = may_cross

    def _move_ego(self, moved: EgoMotion, before: Box) -> None:
        """Move the ego; if it would newly hit something, it stops where it is instead.

        An ego that is already in contact may move on, so that it can get free.
        """
        state, after = self.state, ego_box(moved, self.ego_config)
        hit = self._hits(after)
        if hit and not self._hits(before):
            moved = dataclasses.replace(
                state.ego, speed_mps=0.0, yaw_rate_rps=0.0, wheel_rad=moved.wheel_rad
            )
        state.ego = moved
        state.collision = hit

    def _hits(self, box: Box) -> bool:
        """Whether a box touches another one or leaves the street."""
        if len(touching(box, self.boxes)):
            return True
        if abs(self.route_point.offset_m) < 1.0:  # in its lane, so inside the street
            return False
        return not all(self.town.space.contains(x, y) for x, y in corners(box))

    def _all_boxes(self) -> Boxes:
        """Boxes of all vehicles, pedestrians and fixed obstacles (not of the ego)."""
        cars, people, still = self.state.traffic, self.state.walkers, self.town.static_boxes
        car_poses = vehicles.poses(cars, self.town.lanes)
        people_poses = pedestrians.poses(people, self.town.walks)
        size = _PEDESTRIAN_EXTENT_M[people.model]
        x, y, heading = (
            np.concatenate(parts)
            for parts in zip(
                car_poses, people_poses, (still.x_m, still.y_m, still.heading_rad), strict=True
            )
        )
        length = (HALF_LENGTH_M[cars.model], size[:, 0], still.half_length_m)
        width = (HALF_WIDTH_M[cars.model], size[:, 1], still.half_width_m)
        return Boxes(x, y, heading, np.concatenate(length), np.concatenate(width))

    def _locate_ego(self) -> None:
        """Update the ego's place on its route and at the next junction."""
        ego = self.state.ego
        self.route_point = self.route.follow(ego.x_m, ego.y_m)
        self.state.route = self.route.state
        self.ego_at_junction = ego_at_junction(
            ego, self.route, self.route_point.at_m, self.ego_config
        )


def start_episode(
    plan: EpisodePlan, town: TownMap, ego_config: EgoConfig, tick_s: float
) -> Simulation:
    """An episode at tick 0. Everything random is drawn from `plan.seed`."""
    start_rng, route_rng, traffic_rng, pedestrian_rng, weather_rng = (
        np.random.default_rng([plan.seed, stream]) for stream in range(5)
    )
    start = _start(plan, town, ego_config, start_rng)
    lanes, s = start.lane_ids, start.s_m
    x, y, heading = (
        float(v[0]) for v in town.lanes.paths.poses(np.array(lanes[:1]), np.array([s]))
    )
    clear = (x, y, clear_radius_m(start, _EGO_CLEAR_M))
    clock_s = float(start_rng.uniform(0.0, 120.0))
    vehicles = spawn_traffic(traffic_rng, town.layout, town.lanes, plan.vehicles, clear)
    if start.lead_s_m is not None:
        vehicles = add_lead_vehicle(vehicles, start, plan.speed_mps, start_rng)
    first = RouteState(lanes, 0.0, s, s + plan.route_length_m, int(s))
    route = Route(town.layout, first, _lane_picker(route_rng))
    route.grow()
    walkers = pedestrian_spawn.spawn_pedestrians(
        pedestrian_rng, town.walks, plan.pedestrians, route.points_m
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
        weather=draw_weather(weather_rng, plan.weather),
        collision=False,
        route_rng=route_rng,
    )
    return Simulation(town, state, ego_config, tick_s)


def _start(
    plan: EpisodePlan, town: TownMap, ego_config: EgoConfig, rng: np.random.Generator
) -> EpisodeStart:
    if plan.turn is not None:
        return start_before_turn(rng, town, plan.spawn, plan.turn, ego_config.front_m)
    if plan.lead_m is not None:
        return start_behind_lead(rng, town, plan.spawn, plan.lead_m, ego_config.front_m)
    return start_anywhere(rng, town, plan.spawn)


def _lane_picker(rng: np.random.Generator) -> Callable[[tuple[int, ...]], int]:
    """Picks one of the lanes that continue a route, at random."""
    return lambda ways: int(ways[rng.integers(len(ways))])
