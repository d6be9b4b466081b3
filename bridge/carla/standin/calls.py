"""The calls that the stand-in answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sim2street.bridge.carla.standin.actor_commands import CALLS, COMMANDS
from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.faults import FAULT_CALL
from sim2street.bridge.carla.standin.maps import available_maps
from sim2street.bridge.carla.standin.rays import cast_ray
from sim2street.bridge.carla.standin.rpc import Handler, NotInStandIn
from sim2street.bridge.carla.standin.simulation import SPECTATOR_ID
from sim2street.bridge.carla.standin.vehicle_physics import physics_control
from sim2street.bridge.errors import WorldError

if TYPE_CHECKING:
    from sim2street.bridge.carla.standin.server import StandIn

_WORLD_STREAM = 1
_SPAWN_COMMAND, _DESTROY_COMMAND, _LIGHT_COMMAND = 0, 1, 21


def make_handlers(server: StandIn) -> dict[str, Handler]:
    """What answers each call, by name."""
    calls = _Calls(server)
    handlers = {name: Handler(function) for name, function in _values(server, calls).items()}
    handlers |= {name: Handler(f, "void") for name, f in _voids(server, calls).items()}
    for name, command in CALLS:
        handlers[name] = Handler(_by_actor_id(server, command), "void")
    handlers["apply_batch"] = Handler(calls.batch, "bare")
    return handlers


def _values(server: StandIn, calls: _Calls) -> dict[str, Callable[..., Any]]:
    """Calls that return a value."""
    return {
        "version": lambda: server.faults.version or server.config.version,
        "get_episode_info": lambda: [server.episode, [server.token(_WORLD_STREAM)]],
        "get_sensor_token": calls.sensor_token,
        "get_episode_settings": lambda: server.settings,
        "set_episode_settings": calls.set_settings,
        "tick_cue": server.tick,
        "get_available_maps": available_maps,
        "get_map_info": calls.map_info,
        "get_map_data": lambda: server.simulation.xml(),
        "get_required_files": lambda folder, *_: calls.required_files(folder),
        "request_file": calls.request_file,
        "get_actor_definitions": lambda: [b.definition for b in server.blueprints.values()],
        "get_spectator": lambda: server.description(server.actor(SPECTATOR_ID)),
        "get_actors_by_id": calls.actors_by_id,
        "spawn_actor": server.spawn_and_show,
        "spawn_actor_with_parent": server.spawn_and_show,
        "destroy_actor": server.destroy,
        "get_actor_bounding_box": server.bounding_box,
        "get_physics_control": lambda actor: physics_control(server.actor(actor)),
        "get_weather_parameters": lambda: server.weather,
        "get_vehicle_light_state": lambda actor: [server.actor(actor).light_state],
        "get_vehicle_light_states": calls.light_states,
        "query_lights_state": lambda *_: [],
        "get_environment_objects": lambda *_: [],
        "get_light_boxes": lambda *_: [],
        "cast_ray": calls.cast_ray,
        "project_point": calls.project_point,
        "is_traffic_manager_running": lambda port: port in server.managers,
        "get_traffic_manager_running": lambda port: list(server.managers.get(port, ("", 0))),
        "add_traffic_manager_running": calls.add_manager,
        "destroy_traffic_manager": lambda port: server.managers.pop(port, None) is not None,
        "get_group_traffic_lights": lambda actor: [actor],
    }


def _voids(server: StandIn, calls: _Calls) -> dict[str, Callable[..., Any]]:
    """Calls that return nothing."""
    return {
        "load_new_episode": lambda name, reset, *_: server.load_map(name, reset),
        "set_weather_parameters": calls.set_weather,
        "reset_all_traffic_lights": lambda: server.simulation.reset_lights(),
        "freeze_all_traffic_lights": lambda on: server.simulation.freeze_lights(on),
        "freeze_traffic_light": lambda _, on: server.simulation.freeze_lights(on),
        "set_traffic_light_state": calls.set_light,
        "draw_debug_shape": lambda *_: None,
        "set_actor_dead": lambda *_: None,
        "enable_sensor_for_ros": lambda *_: None,
        "disable_sensor_for_ros": lambda *_: None,
        FAULT_CALL: server.set_fault,
    }


def _by_actor_id(server: StandIn, command: Callable[..., None]) -> Callable[..., None]:
    return lambda actor_id, *values: command(server.actor(actor_id), *values)


class _Calls:
    """The calls that need more than a line."""

    def __init__(self, server: StandIn) -> None:
        self._server = server

    def sensor_token(self, stream: int) -> list[bytes]:
        """A client asks for it just before it connects to the stream."""
        self._server.streams.expect(stream)
        return [self._server.token(stream)]

    def set_settings(self, settings: list[Any]) -> int:
        self._server.settings = settings
        return self._server.frame

    def set_weather(self, weather: list[float]) -> None:
        self._server.weather = weather

    def set_light(self, actor_id: int, state: int) -> None:
        light = self._server.actor(actor_id)
        self._server.simulation.lights.overrides[light.actor_id] = state

    def map_info(self) -> list[Any]:
        simulation = self._server.simulation
        points = [[list(p[:3]), list(p[3:])] for p in simulation.spawn_points()]
        return [simulation.map_name, points]

    def actors_by_id(self, ids: list[int]) -> list[Any]:
        actors = self._server.simulation.actors
        return [self._server.description(actors[number]) for number in ids if number in actors]

    def required_files(self, folder: str) -> list[str]:
        """Clients ask for the folder "Nav", and for all with an empty name."""
        name, _ = self._server.simulation.navigation
        return [name] if folder == "Nav" else []

    def request_file(self, name: str) -> bytes:
        known, data = self._server.simulation.navigation
        if name != known:
            raise WorldError(f"no file '{name}'")
        return data

    def light_states(self) -> list[list[int]]:
        return [[a.actor_id, a.light_state] for a in self._actors() if a.is_vehicle]

    def cast_ray(self, start: list[float], end: list[float]) -> list[list[Any]]:
        tags = self._server.protocol.tags
        rows = cast_ray(self._server.feed.scene, self._actors(), start, end)
        return [[place, int(tags[tag])] for place, tag in rows]

    def project_point(
        self, start: list[float], direction: list[float], distance_m: float
    ) -> list[Any]:
        end = [p + distance_m * d for p, d in zip(start, direction, strict=True)]
        found = self.cast_ray(start, end)
        return [True, found[0]] if found else [False, [[0.0, 0.0, 0.0], 0]]

    def add_manager(self, info: list[Any]) -> bool:
        host, port = info
        self._server.managers[port] = (host, port)
        return True

    async def batch(self, commands: list[Any], do_tick: bool) -> list[Any]:
        """Results of the commands, in their order."""
        del do_tick  # the Python client asks for the tick in a call of its own
        command_index = self._server.protocol.command_index
        pairs = (command[0] for command in commands)
        spawned = any(command_index(command[0][0]) == _SPAWN_COMMAND for command in commands)
        results = [self._command(command_index(index), fields) for index, fields in pairs]
        if spawned:
            await self._server.show_spawned()
        return results

    def _command(self, index: int, fields: list[Any]) -> list[Any]:
        try:
            if index == _SPAWN_COMMAND:
                return self._spawn_command(fields)
            if index == _DESTROY_COMMAND:
                self._server.destroy(fields[0])
            elif index == _LIGHT_COMMAND:
                self.set_light(*fields)
            else:
                apply = next((apply for _, number, apply in COMMANDS if number == index), None)
                if apply is None:
                    raise NotInStandIn(f"the stand-in has no batch command {index}")
                apply(self._server.actor(fields[0]), *fields[1:])
        except WorldError as error:
            return [[0, [str(error)]]]
        return [[1, fields[0]]]

    def _spawn_command(self, fields: list[Any]) -> list[Any]:
        """Spawn an actor and apply the commands that follow; the first failure is the result."""
        description, transform, parent, *_, after = fields
        parents = parent[1:] if parent and parent[0] else []
        spawned = self._server.spawn(description, transform, *parents)[0]
        command_index = self._server.protocol.command_index
        for index, (_, *rest) in (command[0] for command in after):
            result = self._command(command_index(index), [spawned, *rest])
            if result[0][0] == 0:
                return result
        return [[1, spawned]]

    def _actors(self) -> list[SimActor]:
        return list(self._server.simulation.actors.values())
