"""CarlaWorld: a CARLA server behind the World contract.

The real client lives in a child process (`bridge/carla/child`); this side holds no part of it.
 After any error the child is ended, and the next reset starts a fresh one, which first
clears away what its predecessor could not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from sim2street.bridge.carla.child.images import camera_bytes
from sim2street.bridge.carla.client import CarlaClient
from sim2street.bridge.carla.config import CarlaConfig, CarlaOptions
from sim2street.bridge.carla.decode import Copies
from sim2street.bridge.carla.frames import Episode, carla_weather, primary_tags, release, weather_of
from sim2street.bridge.carla.shared_memory import Scratch
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import ByteArray, Control, SensorFrame, Weather, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.town.weather import PRESETS, draw_weather
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, Sim2StreetError, did_you_mean, parse

LANE_INVASION = "lane_invasion"
"""Flag of a frame in which the ego crossed a lane marking."""

_RANDOM = "random"
_IDS_SINCE = (0, 9, 16)
_MOST_SEED = 2**31
_HURRIED_CLOSE_S = 3.0


class CarlaWorld(World):
    """A running CARLA server, ticked or watched.

    Besides the contract: `carla_ids` (the actors' ids in CARLA), `server_version`,
    `map_name`, and `route_ahead` (what a driver looks at).
    """

    def __init__(self, config: CarlaConfig | None = None) -> None:
        self.config = config or CarlaConfig()
        _check_weather(self.config.weather)
        self._cameras = {name: c.camera() for name, c in self.config.cameras.items()}
        self._client: CarlaClient | None = None
        self._scratch: Scratch | None = None
        self._copies = Copies(2 * len(self._cameras) * len(self.config.pictures))
        self._sensors: bool | None = None
        self._left_behind: dict[str, Any] = {}
        self._primary: ByteArray | None = None
        self._rng: np.random.Generator | None = None
        self._episode_count = -1
        self._episode: Episode | None = None
        self._tick = 0
        self._start_s = 0.0
        self._weather = Weather()
        self.server_version = ""
        self.map_name = ""

    @property
    def spec(self) -> WorldSpec:
        if not self.server_version:
            raise WorldError("CARLA's version is known once it is open: call open() first")
        return WorldSpec(
            name="carla",
            version=self.server_version,
            tick_s=self.config.tick_s,
            cameras=self._cameras,
            fields=frozenset(self.config.pictures),
            taxonomy=taxonomy_fingerprint(),
        )

    @property
    def client_pid(self) -> int:
        """Process id of the child that holds CARLA's client, for those who watch processes."""
        if self._client is None:
            raise WorldError("CARLA's client is not running: call reset() first")
        return self._client.pid

    @property
    def carla_ids(self) -> dict[int, int]:
        """`Actor.actor_id` of this episode to the id of the actor in CARLA."""
        numbers = self._running().numbers
        return {number: carla_id for carla_id, number in numbers.items()}

    @property
    def option_names(self) -> frozenset[str]:
        return frozenset(CarlaOptions.model_fields)

    def open(self, sensors: bool = True) -> None:
        self.close()
        self._sensors = sensors
        self._connect()

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        if self._sensors is None:
            raise WorldError("CARLA is not open: call open() first")
        chosen = parse(CarlaOptions, options or {}, source="reset options")
        _check_weather(chosen.weather)
        drawn = self._draw_seed(seed)
        self._episode = None
        if self._client is None:
            self._connect()
        with self._or_let_go():
            return self._begin(chosen, drawn)

    def step(self, control: Control) -> SensorFrame:
        episode = self._running()
        control.validate()
        given = [control.steer, control.throttle, control.brake, control.reverse]
        begun_s, deadline_s = time.perf_counter(), self.config.step_deadline_s
        with self._or_let_go():
            header, (table,) = self._ask("step", deadline_s, control=given, lights=episode.lights())
            self._tick += 1
            return self._frame(episode, header, table, begun_s, deadline_s)

    def close(self) -> None:
        self._let_go()
        if self._left_behind:  # the client died over it: one more try
            self._sensors = False
            with suppress(Sim2StreetError):
                self._connect()
                self._let_go()
        self._sensors = None
        self._left_behind = {}

    def route_ahead(self, count: int, spacing_m: float) -> np.ndarray:
        """Points (count, 2) of the route ahead in the body frame, `spacing_m` apart."""
        episode = self._running()
        if episode.route is None or episode.at_m is None or episode.ego_pose is None:
            raise WorldError("this episode has no route: there is no lane where the ego is")
        points = episode.route.ahead(episode.at_m, count, spacing_m)
        pose = episode.ego_pose.astype(np.float64)
        return np.asarray((points - pose[:2, 3]) @ pose[:2, :2])

    def _begin(self, chosen: CarlaOptions, drawn: int) -> SensorFrame:
        assert self._primary is not None
        config, deadline_s = self.config, self.config.reset_deadline_s
        length_m = chosen.route_length_m or config.route_length_m
        placed, _ = self._ask(
            "place",
            deadline_s,
            seed=drawn,
            spawn=chosen.spawn,
            vehicles=config.vehicles if chosen.vehicles is None else chosen.vehicles,
            autopilot=config.autopilot if chosen.autopilot is None else chosen.autopilot,
        )
        self._left_behind = placed["ours"]
        begun_s = time.perf_counter()
        header, (route, table) = self._ask(
            "reset",
            deadline_s,
            weather=self._wanted_weather(chosen.weather or config.weather, drawn),
            route_length_m=length_m,
            ids_in_pictures=not self._by_place(),
        )
        self._weather = weather_of(header["weather"])
        by_place = self._by_place()
        episode = Episode(config, self._cameras, self._primary, self._copies, by_place)
        episode.lay_route({**header, "route_length_m": length_m}, route)
        self._episode_count += 1
        self._tick, self._start_s = 0, float(header["time_s"])
        return self._frame(episode, header, table, begun_s, deadline_s)

    def _running(self) -> Episode:
        if self._episode is None:
            raise WorldError("CARLA has no episode running: call open() and reset() first")
        return self._episode

    def _by_place(self) -> bool:
        if self.config.actors_by == "auto":
            return release(self.server_version) < _IDS_SINCE
        return self.config.actors_by == "place"

    def _connect(self) -> None:
        with self._or_let_go():
            self._open_client()

    def _open_client(self) -> None:
        config = self.config
        self._client = CarlaClient(config.client_python)
        if self._sensors and self._cameras:
            self._scratch = Scratch(
                sum(
                    camera_bytes(kind, camera.width_px, camera.height_px)
                    for camera in self._cameras.values()
                    for kind in config.pictures
                )
            )
        header, _ = self._ask(
            "open",
            config.open_deadline_s,
            host=config.host,
            port=config.port,
            observe=config.attach == "observe",
            tick_s=config.tick_s,
            timeout_s=config.timeout_s,
            sensor_deadline_s=config.sensor_deadline_s,
            cameras=self._mounted() if self._sensors else {},
            kinds=list(config.pictures),
            role_name=config.role_name,
            ego=config.ego,
            traffic_manager_port=config.traffic_manager_port,
            warm_up_ticks=config.warm_up_ticks,
            settle_ticks=config.settle_ticks,
            actor_range_m=config.actor_range_m,
            left_behind=self._left_behind,
            scratch=self._scratch.path if self._scratch else "",
        )
        if self._scratch:
            self._scratch.hide()
        self.server_version, self.map_name = header["server"], header["map"]
        self._left_behind = header["left"]
        self._primary = primary_tags(self.server_version)

    def _mounted(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "width_px": camera.width_px,
                "height_px": camera.height_px,
                "fov_deg": camera.fov_deg,
                "mount": camera.mount(self.config.rear_axle_m),
            }
            for name, camera in self.config.cameras.items()
        }

    def _ask(
        self, name: str, deadline_s: float, **request: Any
    ) -> tuple[dict[str, Any], list[bytearray]]:
        assert self._client is not None
        return self._client.call(name, deadline_s, **request)

    @contextmanager
    def _or_let_go(self) -> Iterator[None]:
        """Whatever goes wrong meanwhile, Ctrl-C included, ends the client and the episode."""
        try:
            yield
        except BaseException as error:  # Ctrl-C too: the child is let go
            self._let_go(_HURRIED_CLOSE_S if isinstance(error, Sim2StreetError) else None)
            raise

    def _let_go(self, deadline_s: float | None = None) -> None:
        """End the client; what it says it has cleared away is no longer ours to clear."""
        client, self._client, self._episode = self._client, None, None
        if self._scratch:
            self._scratch.close()
            self._scratch = None
        if client is None:
            return
        cleared = client.close() if deadline_s is None else client.close(deadline_s)
        if cleared:
            self._left_behind = {}

    def _draw_seed(self, seed: int | None) -> int:
        if seed is not None:
            if not 0 <= seed < _MOST_SEED:
                raise ConfigError(f"seed must be in 0..2^31-1, got {seed}")
            self._rng = np.random.default_rng(seed)
            return int(seed)
        self._rng = self._rng or np.random.default_rng()
        return int(self._rng.integers(_MOST_SEED))

    def _wanted_weather(self, preset: str | None, seed: int) -> dict[str, float] | None:
        if preset is None:
            return None
        rng = np.random.default_rng([seed, 4])
        return carla_weather(draw_weather(rng, None if preset == _RANDOM else preset))

    def _frame(
        self,
        episode: Episode,
        header: dict[str, Any],
        table: bytearray,
        begun_s: float,
        deadline_s: float,
    ) -> SensorFrame:
        """The frame whose first half is `header` and `table`, and whose pictures follow."""
        assert self._client is not None
        heard_s = time.perf_counter()
        ego, actors = episode.meet(header, table)
        met_s = time.perf_counter()
        second, _ = self._client.second("pictures", begun_s + deadline_s - met_s)
        came_s = time.perf_counter()
        memory = self._scratch.memory if self._scratch else None
        views = episode.see(second["pictures"], memory, actors)
        self._episode = episode
        seen_s = time.perf_counter()
        observing = self.config.attach == "observe"
        simulated_s = float(header["time_s"]) - self._start_s
        return SensorFrame(
            tick=self._tick,
            episode=self._episode_count,
            time_s=simulated_s if observing else self._tick * self.config.tick_s,
            ego=ego,
            actors=actors,
            weather=self._weather,
            views=views,
            stamps={
                "world": header["world_s"],
                "sensors": came_s - met_s,
                "handover": heard_s - begun_s - header["world_s"],
                "decode": met_s - heard_s + seen_s - came_s,
            },
            flags=(LANE_INVASION,) if header["crossed"] else (),
        )


def _check_weather(preset: str | None) -> None:
    known = [*PRESETS, _RANDOM]
    if preset is not None and preset not in known:
        raise ConfigError(f"unknown weather '{preset}'{did_you_mean(preset, known)}")
