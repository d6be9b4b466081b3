"""What is wrong with a connection to CARLA: one question after the other, changing nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sim2street.bridge.carla.client import CarlaClient
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.configs import ConfigError, Sim2StreetError

_CONNECT_S = 5.0
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, whether all is well there, and what was seen or what to do."""

    question: str
    well: bool
    remark: str


def parse_host(text: str) -> tuple[str, int]:
    """`host` or `host:port`; CARLA's own port is 2000."""
    host, _, port = text.partition(":")
    if not host or (port and not port.isdigit()):
        raise ConfigError(f"--carla: expected HOST or HOST:PORT, got '{text}'")
    return host, int(port or 2000)


def diagnose(config: CarlaConfig) -> Iterator[Answer]:
    """Ask until something is wrong, or all is well."""
    seen: dict[str, Any] = {}
    client: CarlaClient | None = None
    try:
        for port, what in ((config.port, "calls"), (config.port + 1, "data streams")):
            answer = _asked(f"port of the {what}", partial(_reach, config.host, port))
            yield answer
            if not answer.well:
                return
        client = CarlaClient(config.client_python)
        for question, ask in _QUESTIONS:
            answer = _asked(question, partial(ask, client, config, seen))
            yield answer
            if not answer.well:
                return
    finally:
        if client is not None:
            client.close()


def _asked(question: str, ask: Callable[[], str]) -> Answer:
    try:
        return Answer(question, True, ask())
    except (Sim2StreetError, OSError) as error:
        return Answer(question, False, " ".join(str(error).split()))


def _reach(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), _CONNECT_S):
            return f"{host}:{port} answers"
    except OSError as error:
        raise ConfigError(
            f"{host}:{port}: {error.strerror or error}; is the server up, was it started with "
            "this -carla-rpc-port, and are this port and the two after it open (Docker: "
            "--net=host)?"
        ) from error


def _versions(client: CarlaClient, config: CarlaConfig, seen: dict[str, Any]) -> str:
    header, _ = client.call(
        "open",
        config.open_deadline_s,
        host=config.host,
        port=config.port,
        observe=True,
        timeout_s=config.timeout_s,
        traffic_manager_port=config.traffic_manager_port,
        left_behind={},
        scratch="",
    )
    seen.update(header)
    return f"client and server are CARLA {header['server']}, map {header['map']}"


def _ticks(client: CarlaClient, config: CarlaConfig, seen: dict[str, Any]) -> str:
    header, _ = client.call("look", config.timeout_s + _PATIENCE_S, patience_s=_PATIENCE_S)
    seen.update(header)
    if header["synchronous"]:
        if header["ticks"]:
            return "another client ticks it in synchronous mode: attach with 'observe'"
        return (
            "it is in synchronous mode and nobody ticks it: a client has left it so; attaching "
            "with 'tick' works"
        )
    if not header["ticks"]:
        raise ConfigError("it runs by its own clock, but no tick came: is it still loading a map?")
    return "it runs by its own clock; attaching with 'tick' takes it over"


def _rendering(client: CarlaClient, config: CarlaConfig, seen: dict[str, Any]) -> str:
    del client, config
    if not seen["renders"]:
        raise ConfigError(
            "no_rendering_mode is on: cameras send nothing; switch it off in the world's settings"
        )
    return "cameras get pictures"


def _ego(client: CarlaClient, config: CarlaConfig, seen: dict[str, Any]) -> str:
    del client
    roles = seen["roles"]
    if config.role_name in roles:
        return f"a vehicle with the role name '{config.role_name}' is there: it will be used"
    return f"{len(roles)} vehicles, none with the role name '{config.role_name}': one is spawned"


_QUESTIONS: tuple[tuple[str, Callable[[CarlaClient, CarlaConfig, dict[str, Any]], str]], ...] = (
    ("versions", _versions),
    ("who ticks", _ticks),
    ("rendering", _rendering),
    ("ego vehicle", _ego),
)
