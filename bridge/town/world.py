"""TownWorld: the embedded town behind the World contract."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Camera, Control, FloatArray, SensorFrame, View, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.town.plan.layout import TRAIN_TOWNS, Points
from sim2street.bridge.town.plan.layout_build import LayoutConfig
from sim2street.bridge.town.plan.town_map import town_map
from sim2street.bridge.town.simulation import EpisodePlan, Simulation, TownState, begin
from sim2street.bridge.town.traffic.ego import EgoConfig
from sim2street.bridge.town.traffic.episode_start import StartTurn
from sim2street.bridge.town.traffic.perception import actors_near, ego_state, route_ahead
from sim2street.bridge.town.weather import PRESETS
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, StrictModel, did_you_mean, parse

if TYPE_CHECKING:  # panda3d is needed only where something is seen
    from sim2street.bridge.town.camera.scene import Scene

TOWN_VERSION = "1"
_SCENES = 2
_MOST_SEED = 2**31


class CameraConfig(StrictModel):
    """One camera, mounted on the ego.

    Attributes:
        fov_deg: horizontal. position_m: in the body frame (x forward from the rear axle,
            y left, z up). pitch_deg: > 0 looks up. yaw_deg: > 0 looks to the left.
    """

    width_px: int = Field(512, ge=16, le=4096)
    height_px: int = Field(256, ge=16, le=4096)
    fov_deg: float = Field(62.0, ge=20.0, le=120.0)
    position_m: tuple[float, float, float] = (3.3, 0.0, 1.5)
    pitch_deg: float = -2.6
    yaw_deg: float = 0.0

    def camera(self) -> Camera:
        """Its intrinsics."""
        return Camera.from_fov(self.width_px, self.height_px, self.fov_deg)


class TownConfig(StrictModel):
    """The town's world: which towns, who is in them, what is seen.

    Attributes:
        town: town id; None draws one of `towns` from the seed.
        towns: first id and the one after the last to draw from.
        vehicles, pedestrians: how many at traffic 1.
        actor_range_m: actors farther from the ego are not in the frame.
        weather: a preset; None draws one from the seed.
        see_every: cameras see every n-th tick only; frames in between have no views.
    """

    tick_s: float = Field(0.05, gt=0.0, le=0.2)
    town: int | None = Field(None, ge=0)
    towns: tuple[NonNegativeInt, NonNegativeInt] = (TRAIN_TOWNS.start, TRAIN_TOWNS.stop)
    cameras: dict[str, CameraConfig] = Field(default_factory=lambda: {"front": CameraConfig()})
    vehicles: int = Field(52, ge=0, le=400)
    pedestrians: int = Field(120, ge=0, le=400)
    actor_range_m: float = Field(150.0, gt=0.0)
    route_length_m: float = Field(1000.0, gt=0.0)
    weather: str | None = None
    see_every: int = Field(1, ge=1, le=100)
    layout: LayoutConfig = LayoutConfig()
    ego: EgoConfig = EgoConfig()

    @model_validator(mode="after")
    def _some_towns(self) -> TownConfig:
        if self.towns[0] >= self.towns[1]:
            raise ValueError(f"towns: the first must be below the second, got {self.towns}")
        return self


class TownOptions(StrictModel):
    """What `TownWorld.reset(options=...)` takes; what is left out comes from the config.

    Attributes:
        town: town id. towns: draw it from these, where the config names none (first id
            and the one after the last). spawn: id of the road lane to start on.
        traffic: factor on the numbers of vehicles and pedestrians.
        reuse: stay in the present town instead of drawing another: quicker.
        turn: start shortly before a junction where the route turns "left", "right" or
            either way ("any"). lead_m: start behind a car that drives along the ego's
            route, this far from bumper to bumper. Only one of the two.
        speed_mps: of the ego (and of the car ahead) at the start.
    """

    town: int | None = Field(None, ge=0)
    towns: tuple[NonNegativeInt, NonNegativeInt] | None = None
    weather: str | None = None
    spawn: int | None = Field(None, ge=0)
    route_length_m: float | None = Field(None, gt=0.0)
    traffic: float = Field(1.0, ge=0.0, le=4.0)
    reuse: bool = False
    turn: StartTurn | None = None
    lead_m: float | None = Field(None, ge=2.0, le=30.0)
    speed_mps: float = Field(0.0, ge=0.0, le=8.0)

    @model_validator(mode="after")
    def _fit_together(self) -> TownOptions:
        if self.towns is not None and self.towns[0] >= self.towns[1]:
            raise ValueError(f"towns: the first must be below the second, got {self.towns}")
        if self.turn is not None and self.lead_m is not None:
            raise ValueError("turn and lead_m exclude each other: choose one")
        return self


class TownWorld(World):
    """A procedural town with traffic; state only, or seen through software cameras.

    Besides the contract: `route_ahead` and `right_of_way` (what a driver looks at), and
    `get_state` / `set_state` (snapshots that go on exactly as the original would).
    """

    def __init__(self, config: TownConfig | None = None) -> None:
        self.config = config or TownConfig()
        _check_weather(self.config.weather)
        self._cameras = {name: c.camera() for name, c in self.config.cameras.items()}
        self._mounts = {name: _mount(c) for name, c in self.config.cameras.items()}
        self._sensors: bool | None = None
        self._scenes: OrderedDict[int, Scene] = OrderedDict()
        self._rng: np.random.Generator | None = None
        self._episode = -1
        self._simulation: Simulation | None = None

    @property
    def spec(self) -> WorldSpec:
        return WorldSpec(
            name="town",
            version=TOWN_VERSION,
            tick_s=self.config.tick_s,
            cameras=self._cameras,
            fields=frozenset({"labels", "depth_m", "instances"}),
            taxonomy=taxonomy_fingerprint(),
        )

    @property
    def simulation(self) -> Simulation:
        """The running episode."""
        if self._simulation is None:
            raise WorldError("the town has no episode: call open() and reset() first")
        return self._simulation

    @property
    def right_of_way(self) -> bool:
        """Whether the ego may enter the junction it is in or comes to next."""
        return self.simulation.state.ego_grant.grant >= 0

    @property
    def option_names(self) -> frozenset[str]:
        return frozenset(TownOptions.model_fields)

    def open(self, sensors: bool = True) -> None:
        if sensors:
            _import_scene()  # a missing panda3d shows now, not at the first reset
        self._sensors = sensors

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        self._check_open()
        chosen = parse(TownOptions, options or {}, source="reset options")
        _check_weather(chosen.weather)
        start_s = time.perf_counter()
        plan = self._plan(self._draw_seed(seed), chosen)
        self._simulation = begin(
            plan, town_map(plan.town, self.config.layout), self.config.ego, self.config.tick_s
        )
        self._episode += 1
        self._simulation.state.episode = self._episode
        return self._frame(start_s)

    def step(self, control: Control) -> SensorFrame:
        simulation = self.simulation
        control.validate()
        start_s = time.perf_counter()
        simulation.step(control)
        return self._frame(start_s)

    def close(self) -> None:
        while self._scenes:
            self._scenes.popitem()[1].close()
        self._simulation = None
        self._sensors = None

    def route_ahead(self, count: int, spacing_m: float) -> Points:
        """Points (count, 2) of the route ahead in the body frame, `spacing_m` apart."""
        return route_ahead(self.simulation, count, spacing_m)

    def get_state(self) -> TownState:
        """A snapshot of the episode, random generators included."""
        return self.simulation.state.copy()

    def set_state(self, state: TownState) -> SensorFrame:
        """Go on from a snapshot (of this config) and return its frame."""
        self._check_open()
        start_s = time.perf_counter()
        town = town_map(state.plan.town, self.config.layout)
        self._simulation = Simulation(town, state.copy(), self.config.ego, self.config.tick_s)
        return self._frame(start_s)

    def _check_open(self) -> None:
        if self._sensors is None:
            raise WorldError("the town is not open: call open() first")

    def _draw_seed(self, seed: int | None) -> int:
        if seed is not None:
            if seed < 0:
                raise ConfigError(f"seed must be at least 0, got {seed}")
            self._rng = np.random.default_rng(seed)
            return int(seed)
        self._rng = self._rng or np.random.default_rng()
        return int(self._rng.integers(_MOST_SEED))

    def _plan(self, seed: int, chosen: TownOptions) -> EpisodePlan:
        config = self.config
        town = chosen.town if chosen.town is not None else config.town
        if chosen.reuse and chosen.town is None and self._simulation is not None:
            town = self._simulation.state.plan.town
        if town is None:
            town = int(
                np.random.default_rng([seed, 0x74]).integers(*(chosen.towns or config.towns))
            )
        return EpisodePlan(
            town=town,
            seed=seed,
            weather=chosen.weather or config.weather,
            spawn=chosen.spawn,
            route_length_m=chosen.route_length_m or config.route_length_m,
            vehicles=round(config.vehicles * chosen.traffic),
            pedestrians=round(config.pedestrians * chosen.traffic),
            turn=chosen.turn,
            lead_m=chosen.lead_m,
            speed_mps=chosen.speed_mps,
        )

    def _frame(self, start_s: float) -> SensorFrame:
        simulation = self.simulation
        state = simulation.state
        actors = actors_near(simulation, self.config.actor_range_m)
        ego = ego_state(simulation)
        simulated_s = time.perf_counter()
        stamps = {"world": simulated_s - start_s}
        views: dict[str, View] = {}
        if self._sensors and state.tick % self.config.see_every == 0:
            scene = self._scene()
            for name, camera in self._cameras.items():
                pose = ego.pose @ self._mounts[name]
                seen = scene.render(camera, pose, actors)
                views[name] = View(camera, pose, seen.labels, seen.depth_m, seen.instances)
            stamps["rasterise"] = time.perf_counter() - simulated_s
        return SensorFrame(
            tick=state.tick,
            episode=state.episode,
            time_s=state.tick * self.config.tick_s,
            ego=ego,
            actors=actors,
            weather=state.weather,
            views=views,
            stamps=stamps,
        )

    def _scene(self) -> Scene:
        """The scene of the present town; the last few are kept."""
        town = self.simulation.state.plan.town
        if town not in self._scenes:
            if len(self._scenes) >= _SCENES:
                self._scenes.popitem(last=False)[1].close()
            self._scenes[town] = _import_scene()(self.simulation.town.layout)
        self._scenes.move_to_end(town)
        return self._scenes[town]


def _import_scene() -> type[Scene]:
    try:
        from sim2street.bridge.town.camera.scene import Scene
    except ModuleNotFoundError as error:
        raise WorldError(
            f"the town's cameras need the package '{error.name}': pip install 'sim2street[town]'"
        ) from error
    return Scene


def _check_weather(preset: str | None) -> None:
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"unknown weather '{preset}'{did_you_mean(preset, list(PRESETS))}")


def _mount(config: CameraConfig) -> FloatArray:
    """float32 (4, 4), camera (OpenCV axes) to the ego's body."""
    pitch, yaw = math.radians(config.pitch_deg), math.radians(config.yaw_deg)
    forward = np.array(
        [math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)]
    )
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    mount = np.eye(4)
    mount[:3, 0], mount[:3, 1], mount[:3, 2] = right, np.cross(forward, right), forward
    mount[:3, 3] = config.position_m
    return mount.astype(np.float32)
