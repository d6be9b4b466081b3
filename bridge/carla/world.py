"""CarlaWorld: a CARLA server as a World.

CARLA's client runs in a child process (`bridge/carla/child`). After any error that process is
ended, and the next reset starts another one, which first cleans up what the last one left.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from sim2street.bridge.carla.child.images import camera_bytes
from sim2street.bridge.carla.client import CarlaClient
from sim2street.bridge.carla.config import CarlaConfig, CarlaOptions
from sim2street.bridge.carla.decode import ImageCopier
from sim2street.bridge.carla.frames import (
    Episode,
    carla_weather,
    tag_table_for,
    version_numbers,
    weather_from_carla,
)
from sim2street.bridge.carla.probe import wait_for_server
from sim2street.bridge.carla.shared_memory import SharedMemory
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import ByteArray, Control, SensorFrame, Weather, WorldSpec
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.town.weather import PRESETS, draw_weather
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, Sim2StreetError, did_you_mean, parse

logger = logging.getLogger(__name__)

LANE_INVASION = "lane_invasion"
"""Flag of a frame in which the ego crossed a lane marking."""

_RANDOM = "random"
_ACTOR_IDS_SINCE = (0, 9, 16)
_UNREAL_5 = (0, 10)
_SEED_LIMIT = 2**31
_WEATHER_STREAM = 4
_CLOSE_AFTER_ERROR_S = 3.0


class CarlaWorld(World):
    """A running CARLA server, which this world ticks or observes (`CarlaConfig.attach`).

    Besides the World contract it has `carla_ids` (the actors' ids in CARLA), `server_version`,
    `map_name`, and `route_ahead`, which drivers use.
    """

    def __init__(self, config: CarlaConfig | None = None) -> None:
        self.config = config or CarlaConfig()
        _check_weather(self.config.weather)
        self._cameras = {name: c.camera() for name, c in self.config.cameras.items()}
        self._client: CarlaClient | None = None
        self._shared: SharedMemory | None = None
        self._copier = ImageCopier(2 * len(self._cameras) * len(self.config.pictures))
        self._sensors: bool | None = None
        self._owner = f"sim2street-{secrets.token_hex(4)}"
        self._leftovers: dict[str, Any] = {}
        self._tag_table: ByteArray | None = None
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
            raise WorldError("CARLA's version is not known before open(): call open() first")
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
        """Process id of the client process, for monitoring.

        Raises:
            WorldError: the process does not run.
        """
        if self._client is None:
            raise WorldError("CARLA's client is not running: call reset() first")
        return self._client.pid

    @property
    def carla_ids(self) -> dict[int, int]:
        """`Actor.actor_id` in this episode to the actor's id in CARLA."""
        return {actor: carla_id for carla_id, actor in self._running().actor_ids.items()}

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
        episode_seed = self._episode_seed(seed)
        self._episode = None
        if self._client is None:
            self._connect()
        with self._end_client_on_error():
            return self._begin(chosen, episode_seed)

    def step(self, control: Control) -> SensorFrame:
        episode = self._running()
        control.validate()
        values = [control.steer, control.throttle, control.brake, control.reverse]
        started_s, deadline_s = time.perf_counter(), self.config.step_deadline_s
        with self._end_client_on_error():
            header, (table,) = self._ask(
                "step", deadline_s, control=values, lights=episode.light_ids()
            )
            self._tick += 1
            return self._frame(episode, header, table, started_s, deadline_s)

    def close(self) -> None:
        self._end_client()
        if self._leftovers:  # the client died without cleaning up: start one to do that
            self._sensors = False
            try:
                self._connect()
                self._end_client()
            except Sim2StreetError as error:
                self._warn_of_leftovers(error)
        self._sensors = None
        self._leftovers = {}

    def route_ahead(self, count: int, spacing_m: float) -> np.ndarray:
        """Points (count, 2) of the route ahead in the ego's body frame, `spacing_m` apart.

        Raises:
            WorldError: no episode runs, or it has no route.
        """
        episode = self._running()
        if episode.route is None or episode.along_m is None or episode.ego_pose is None:
            raise WorldError(
                "this episode has no route, because CARLA's map has no lane at the ego; reset() "
                "with another spawn point"
            )
        points = episode.route.ahead(episode.along_m, count, spacing_m)
        pose = episode.ego_pose.astype(np.float64)
        return np.asarray((points - pose[:2, 3]) @ pose[:2, :2])

    def _begin(self, chosen: CarlaOptions, seed: int) -> SensorFrame:
        assert self._tag_table is not None
        config, deadline_s = self.config, self.config.reset_deadline_s
        length_m = chosen.route_length_m or config.route_length_m
        self._ask_twice(
            "prepare",
            deadline_s,
            seed=seed,
            spawn=chosen.spawn,
            vehicles=config.vehicles if chosen.vehicles is None else chosen.vehicles,
            autopilot=config.autopilot if chosen.autopilot is None else chosen.autopilot,
        )
        started_s = time.perf_counter()
        match_by_place = self._match_by_place()
        header, (route, table) = self._ask(
            "reset",
            deadline_s,
            weather=self._wanted_weather(chosen.weather or config.weather, seed),
            route_length_m=length_m,
            ids_in_images=not match_by_place,
        )
        self._weather = weather_from_carla(header["weather"])
        episode = Episode(config, self._cameras, self._tag_table, self._copier, match_by_place)
        episode.set_route(route, length_m, header["stops"])
        self._episode_count += 1
        self._tick, self._start_s = 0, float(header["time_s"])
        return self._frame(episode, header, table, started_s, deadline_s)

    def _running(self) -> Episode:
        if self._episode is None:
            raise WorldError("CARLA has no episode running: call open() and reset() first")
        return self._episode

    def _match_by_place(self) -> bool:
        if self.config.actors_by == "auto":
            return version_numbers(self.server_version) < _ACTOR_IDS_SINCE
        return self.config.actors_by == "place"

    def _connect(self) -> None:
        with self._end_client_on_error():
            self._open_client()

    def _open_client(self) -> None:
        config = self.config
        address, patience_s = (config.host, config.port), config.server_patience_s
        _check_supported(wait_for_server(*address, config.timeout_s, patience_s))
        self._client = CarlaClient(config.client_python)
        if self._sensors and self._cameras:
            self._shared = SharedMemory(
                sum(
                    camera_bytes(kind, camera.width_px, camera.height_px)
                    for camera in self._cameras.values()
                    for kind in config.pictures
                )
            )
        header = self._ask_twice(
            "open",
            config.open_deadline_s,
            host=config.host,
            port=config.port,
            observe=config.attach == "observe",
            tick_s=config.tick_s,
            timeout_s=config.timeout_s,
            sensor_deadline_s=config.sensor_deadline_s,
            cameras=self._camera_requests() if self._sensors else {},
            kinds=list(config.pictures),
            role_name=config.role_name,
            ego=config.ego,
            traffic_manager_port=config.traffic_manager_port,
            owner=self._owner,
            warm_up_ticks=config.warm_up_ticks,
            actor_range_m=config.actor_range_m,
            leftovers=self._leftovers,
            memory_path=self._shared.path if self._shared else "",
        )
        if self._shared:
            self._shared.unlink()
        self.server_version, self.map_name = header["server"], header["map"]
        self._tag_table = tag_table_for(self.server_version)

    def _camera_requests(self) -> dict[str, dict[str, Any]]:
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

    def _ask_twice(self, name: str, deadline_s: float, **request: Any) -> dict[str, Any]:
        """The second of two answers. Both tell what would be left over from then on."""
        assert self._client is not None
        started_s = time.monotonic()
        first, _ = self._client.call(name, deadline_s, **request)
        self._leftovers = first["leftovers"]
        left_s = started_s + deadline_s - time.monotonic()
        second, _ = self._client.second_answer(name, left_s)
        self._leftovers = second["leftovers"]
        return second

    def _warn_of_leftovers(self, error: Sim2StreetError) -> None:
        actors = len(self._leftovers.get("actors", ()))
        mode = "" if self._leftovers.get("synchronous", True) else " and synchronous mode"
        logger.warning(
            "CARLA at %s:%d could not be cleaned up, so up to %d actors%s stay there: %s",
            *(self.config.host, self.config.port, actors, mode, error),
        )

    @contextmanager
    def _end_client_on_error(self) -> Iterator[None]:
        """End the client and the episode if anything is raised, KeyboardInterrupt included."""
        try:
            yield
        except BaseException as error:  # also on Ctrl-C: the child must not stay behind
            self._end_client(_CLOSE_AFTER_ERROR_S if isinstance(error, Sim2StreetError) else None)
            raise

    def _end_client(self, deadline_s: float | None = None) -> None:
        """End the client. If it has cleaned up, nothing is left over for the next one."""
        client, self._client, self._episode = self._client, None, None
        if self._shared:
            self._shared.close()
            self._shared = None
        if client is None:
            return
        cleaned_up = client.close() if deadline_s is None else client.close(deadline_s)
        if cleaned_up:
            self._leftovers = {}

    def _episode_seed(self, seed: int | None) -> int:
        if seed is not None:
            if not 0 <= seed < _SEED_LIMIT:
                raise ConfigError(f"seed must be in 0..2^31-1, got {seed}")
            self._rng = np.random.default_rng(seed)
            return int(seed)
        self._rng = self._rng or np.random.default_rng()
        return int(self._rng.integers(_SEED_LIMIT))

    def _wanted_weather(self, preset: str | None, seed: int) -> dict[str, float] | None:
        if preset is None:
            return None
        rng = np.random.default_rng([seed, _WEATHER_STREAM])
        return carla_weather(draw_weather(rng, None if preset == _RANDOM else preset))

    def _frame(
        self,
        episode: Episode,
        header: dict[str, Any],
        table: bytearray,
        started_s: float,
        deadline_s: float,
    ) -> SensorFrame:
        """The frame of a first answer (`header`, `table`) and of the second, with the images."""
        assert self._client is not None
        answered_s = time.perf_counter()
        ego, actors = episode.ego_and_actors(header, table)
        state_done_s = time.perf_counter()
        left_s = started_s + deadline_s - state_done_s
        second, _ = self._client.second_answer("images", left_s)
        images_came_s = time.perf_counter()
        memory = self._shared.memory if self._shared else None
        views = episode.views(second["images"], memory, actors)
        self._episode = episode
        done_s = time.perf_counter()
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
                "sensors": images_came_s - state_done_s,
                "handover": answered_s - started_s - header["world_s"],
                "decode": state_done_s - answered_s + done_s - images_came_s,
            },
            flags=(LANE_INVASION,) if header["crossed_markings"] else (),
        )


def _check_supported(version: str) -> None:
    """Raise ConfigError for CARLA 0.10 and later, which have no client on PyPI."""
    if version_numbers(version) >= _UNREAL_5:
        raise ConfigError(
            f"the server is CARLA {version}, on Unreal Engine 5, which is not supported; use "
            "CARLA 0.9.13 to 0.9.16"
        )


def _check_weather(preset: str | None) -> None:
    known = [*PRESETS, _RANDOM]
    if preset is not None and preset not in known:
        raise ConfigError(f"unknown weather '{preset}'{did_you_mean(preset, known)}")
