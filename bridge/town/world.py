"""`TownWorld`: the embedded town as a `World`, and its configuration and reset options."""

from __future__ import annotations

import copy
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
from sim2street.bridge.rendered_world import RenderedState
from sim2street.bridge.town.plan.layout import TRAIN_TOWNS, Points
from sim2street.bridge.town.plan.layout_generator import LayoutConfig
from sim2street.bridge.town.plan.town_map import town_map
from sim2street.bridge.town.simulation import (
    EpisodePlan,
    Simulation,
    TownIdentity,
    TownState,
    start_episode,
)
from sim2street.bridge.town.traffic.ego import EgoConfig
from sim2street.bridge.town.traffic.episode_start import StartTurn
from sim2street.bridge.town.traffic.perception import actors_near, ego_state, route_ahead
from sim2street.bridge.town.weather import PRESETS
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, StrictModel, did_you_mean, parse

if TYPE_CHECKING:  # imported when it is needed: worlds without cameras work without panda3d
    from sim2street.bridge.town.camera.scene import Scene

TOWN_VERSION = "2"
"""Changes whenever the same seed gives another episode than before."""

_KEPT_SCENES = 2
"""Number of towns whose meshes are kept in memory."""

_DRAWN_SEED_LIMIT = 2**31


class CameraConfig(StrictModel):
    """One camera that is mounted on the ego.

    Attributes:
        width_px, height_px: image size.
        fov_deg: horizontal field of view.
        position_m: in the ego's body frame (x forward from the rear axle, y left, z up).
        pitch_deg: > 0 looks up.
        yaw_deg: > 0 looks to the left.
    """

    width_px: int = Field(512, ge=16, le=4096)
    height_px: int = Field(256, ge=16, le=4096)
    fov_deg: float = Field(62.0, ge=20.0, le=120.0)
    position_m: tuple[float, float, float] = (3.3, 0.0, 1.5)
    pitch_deg: float = -2.6
    yaw_deg: float = 0.0

    def camera(self) -> Camera:
        """The camera's intrinsics."""
        return Camera.from_fov(self.width_px, self.height_px, self.fov_deg)

    def mount_pose(self) -> FloatArray:
        """Pose of the camera (OpenCV axes) in the ego's body frame, float32 (4, 4)."""
        pitch, yaw = math.radians(self.pitch_deg), math.radians(self.yaw_deg)
        forward = np.array(
            [math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)]
        )
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
        pose[:3, 3] = self.position_m
        return pose.astype(np.float32)


class TownConfig(StrictModel):
    """Configuration of a `TownWorld` (`kind: town` in YAML).

    Attributes:
        tick_s: simulated time per tick.
        town: town id; None draws one of `towns` from the episode's seed.
        towns: half-open range (first, end) of town ids to draw from.
        cameras: by name.
        vehicles, pedestrians: their numbers at `traffic` 1 (a reset option).
        actor_range_m: actors farther from the ego are not in the frames.
        route_length_m: length of the ego's route, from the start to the goal.
        weather: one of `weather.PRESETS`; None draws one from the episode's seed.
        see_every: cameras render every n-th tick only; frames in between have no views.
        surfaces: views have exact texture coordinates (`View.surfaces`), which cost a few
            milliseconds each.
        layout: how towns are laid out.
        ego: the ego's size and driving dynamics.
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
    surfaces: bool = False
    layout: LayoutConfig = LayoutConfig()
    ego: EgoConfig = EgoConfig()

    @model_validator(mode="after")
    def _check_towns(self) -> TownConfig:
        _check_range(self.towns)
        return self


class TownOptions(StrictModel):
    """Options of `TownWorld.reset(options=...)`. `TownConfig` holds the defaults.

    Attributes:
        town: town id.
        towns: half-open range (first, end) of town ids to draw from; ignored where an id is
            given here or in the config.
        weather: one of `weather.PRESETS`.
        spawn: id of the road lane to start on.
        route_length_m: length of the ego's route, from the start to the goal.
        traffic: factor on the numbers of vehicles and pedestrians.
        reuse: stay in the current town instead of drawing another one, which is faster.
        turn: start shortly before a junction where the route turns "left", "right" or either
            way ("any"). Excludes `lead_m`.
        lead_m: start behind a vehicle that drives along the ego's route, with this gap from
            bumper to bumper. Excludes `turn`.
        speed_mps: speed of the ego, and of that vehicle, at the start.
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
    def _check_combination(self) -> TownOptions:
        if self.towns is not None:
            _check_range(self.towns)
        if self.turn is not None and self.lead_m is not None:
            raise ValueError("turn and lead_m exclude each other: give only one of them")
        return self


def _check_range(towns: tuple[int, int]) -> None:
    if towns[0] >= towns[1]:
        raise ValueError(f"towns: the first must be below the second, got {list(towns)}")


class TownWorld(World):
    """A procedural town with traffic, with or without software-rendered cameras.

    Beyond the `World` contract, `route_ahead` and `right_of_way` give a driver what `EgoState`
    lacks. The same seed and controls give bit-identical frames, also after `set_state`.
    """

    def __init__(self, config: TownConfig | None = None) -> None:
        self.config = config or TownConfig()
        _check_weather(self.config.weather)
        self._cameras = {name: c.camera() for name, c in self.config.cameras.items()}
        self._mounts = {name: c.mount_pose() for name, c in self.config.cameras.items()}
        self._sensors: bool | None = None  # None: not open
        self._scenes: OrderedDict[int, Scene] = OrderedDict()
        self._rng: np.random.Generator | None = None
        self._episode = -1
        self._simulation: Simulation | None = None

    @property
    def spec(self) -> WorldSpec:
        surfaces = {"surfaces"} if self.config.surfaces else set()
        return WorldSpec(
            name="town",
            version=TOWN_VERSION,
            tick_s=self.config.tick_s,
            cameras=self._cameras,
            fields=frozenset({"labels", "depth_m", "instances"}) | surfaces,
            taxonomy=taxonomy_fingerprint(),
        )

    @property
    def simulation(self) -> Simulation:
        """The current episode. Raises `WorldError` before the first reset."""
        if self._simulation is None:
            raise WorldError("the town has no episode yet: call open() and reset() first")
        return self._simulation

    @property
    def right_of_way(self) -> bool:
        """Whether the ego may enter the junction that it is in or comes to next."""
        return self.simulation.state.ego_grant.granted_lane >= 0

    @property
    def option_names(self) -> frozenset[str]:
        """Without `towns` where the config fixes the town, because it would have no effect."""
        names = frozenset(TownOptions.model_fields)
        return names if self.config.town is None else names - {"towns"}

    def open(self, sensors: bool = True) -> None:
        if sensors:
            _import_scene()  # fail now rather than at the first reset if panda3d is missing
        self._sensors = sensors

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        self._check_open()
        parsed = parse(TownOptions, options or {}, source="reset options")
        _check_weather(parsed.weather)
        start_s = time.perf_counter()
        plan = self._plan(self._episode_seed(seed), parsed)
        self._simulation = start_episode(
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
        """Points (count, 2) of the route ahead, `spacing_m` apart, in the ego's body frame."""
        return route_ahead(self.simulation, count, spacing_m)

    def get_state(self) -> TownState:
        """A copy of the episode's whole state, including its random generators."""
        state = self.simulation.state.copy()
        state.saved_from = self._identity
        return state

    def set_state(self, state: TownState | RenderedState) -> SensorFrame:
        """Continue from a state that a town with equal settings returned.

        Cameras and numbers of actors may differ. Of a state that was saved together with images,
        the images are dropped.

        Raises:
            ConfigError: it is no state of a town, or the settings of its town differ.
        """
        self._check_open()
        start_s = time.perf_counter()
        saved: TownState = state.world if isinstance(state, RenderedState) else state
        self._check_saved(saved)
        town = town_map(saved.plan.town, self.config.layout)
        self._simulation = Simulation(town, saved.copy(), self.config.ego, self.config.tick_s)
        return self._frame(start_s)

    def __deepcopy__(self, memo: dict[int, Any]) -> TownWorld:
        """A world of its own in the same state; it builds its meshes anew when it renders."""
        copied = TownWorld(self.config)
        memo[id(self)] = copied
        copied._sensors, copied._episode = self._sensors, self._episode
        copied._rng = copy.deepcopy(self._rng, memo)
        if self._simulation is not None:
            running = self._simulation
            copied._simulation = Simulation(
                running.town, running.state.copy(), self.config.ego, self.config.tick_s
            )
        return copied

    @property
    def _identity(self) -> TownIdentity:
        config = self.config
        return TownIdentity(TOWN_VERSION, config.tick_s, config.layout, config.ego)

    def _check_saved(self, state: TownState) -> None:
        if not isinstance(state, TownState):
            raise ConfigError(
                "set_state: expected a state that get_state of an embedded town returned, "
                f"got {type(state).__name__}"
            )
        if state.saved_from is None:
            return
        differing = self._identity.differences(state.saved_from)
        if differing:
            raise ConfigError(
                "set_state: the state was saved in a town with other settings; these differ: "
                f"{', '.join(differing)}. Restore it in a world with the same settings"
            )

    def _check_open(self) -> None:
        if self._sensors is None:
            raise WorldError("the town is not open: call open() first")

    def _episode_seed(self, seed: int | None) -> int:
        """The given seed, which also restarts the sequence of drawn ones, or a drawn seed."""
        if seed is not None:
            if seed < 0:
                raise ConfigError(f"seed must be at least 0, got {seed}")
            self._rng = np.random.default_rng(seed)
            return int(seed)
        self._rng = self._rng or np.random.default_rng()
        return int(self._rng.integers(_DRAWN_SEED_LIMIT))

    def _plan(self, seed: int, options: TownOptions) -> EpisodePlan:
        """Combine the options with the config, and draw the town if neither gives one."""
        config = self.config
        town = options.town if options.town is not None else config.town
        if options.reuse and options.town is None and self._simulation is not None:
            town = self._simulation.state.plan.town
        if town is None:
            town = int(
                np.random.default_rng([seed, 0x74]).integers(*(options.towns or config.towns))
            )
        return EpisodePlan(
            town=town,
            seed=seed,
            weather=options.weather or config.weather,
            spawn=options.spawn,
            route_length_m=options.route_length_m or config.route_length_m,
            vehicles=round(config.vehicles * options.traffic),
            pedestrians=round(config.pedestrians * options.traffic),
            turn=options.turn,
            lead_m=options.lead_m,
            speed_mps=options.speed_mps,
        )

    def _frame(self, start_s: float) -> SensorFrame:
        """The frame of the current tick; the call that made it began at `start_s`."""
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
                images = scene.render(camera, pose, actors)
                views[name] = View(
                    camera,
                    pose,
                    images.labels,
                    images.depth_m,
                    images.instances,
                    surfaces=images.surfaces,
                )
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
        """The meshes of the current town, made when they are first needed."""
        town = self.simulation.state.plan.town
        if town not in self._scenes:
            if len(self._scenes) >= _KEPT_SCENES:
                self._scenes.popitem(last=False)[1].close()
            self._scenes[town] = _import_scene()(
                self.simulation.town.layout, surfaces=self.config.surfaces
            )
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
