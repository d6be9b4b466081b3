"""Checks a connection to CARLA step by step, without changing anything on the server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sim2street.bridge.carla.client import CarlaClient
from sim2street.bridge.carla.config import CarlaConfig
from sim2street.bridge.carla.probe import PROBE_S, server_version
from sim2street.configs import ConfigError, Sim2StreetError

_TICK_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: what was checked. ok: whether nothing is wrong there.
        detail: what was found; if something is wrong, also what to do about it.
    """

    name: str
    ok: bool
    detail: str


def parse_host(text: str) -> tuple[str, int]:
    """Host and port of `host` or `host:port`; the default port is CARLA's 2000.

    Raises:
        ConfigError: the text is neither.
    """
    host, _, port = text.partition(":")
    if not host or (port and not port.isdigit()):
        raise ConfigError(f"--carla: expected HOST or HOST:PORT, got '{text}'")
    return host, int(port or 2000)


def diagnose(config: CarlaConfig) -> Iterator[CheckResult]:
    """Check the ports, the versions, the ticks, the rendering and the ego, in this order.

    Ends after the first check that finds something wrong.
    """
    found: dict[str, Any] = {}
    client: CarlaClient | None = None
    try:
        for name, check_port in (
            ("port of the calls", partial(_check_calls, config)),
            ("port of the data streams", partial(_check_streams, config)),
        ):
            result = _run(name, check_port)
            yield result
            if not result.ok:
                return
        client = CarlaClient(config.client_python)
        for name, check in _CHECKS:
            result = _run(name, partial(check, client, config, found))
            yield result
            if not result.ok:
                return
    finally:
        if client is not None:
            client.close()


def _run(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, True, check())
    except (Sim2StreetError, OSError) as error:
        return CheckResult(name, False, " ".join(str(error).split()))


def _check_calls(config: CarlaConfig) -> str:
    version = server_version(config.host, config.port, min(config.timeout_s, PROBE_S))
    return f"{config.host}:{config.port} answers, as CARLA {version}"


def _check_streams(config: CarlaConfig) -> str:
    port = config.port + 1
    try:
        with socket.create_connection((config.host, port), PROBE_S):
            return f"{config.host}:{port} accepts connections"
    except OSError as error:
        raise ConfigError(
            f"{config.host}:{port}: {error.strerror or error}; open this port as well, or if the "
            "server was started with another -carla-streaming-port, start it with this one"
        ) from error


def _check_versions(client: CarlaClient, config: CarlaConfig, found: dict[str, Any]) -> str:
    client.call(
        "open",
        config.open_deadline_s,
        host=config.host,
        port=config.port,
        observe=True,
        timeout_s=config.timeout_s,
        traffic_manager_port=config.traffic_manager_port,
        owner="",
        cameras={},
        leftovers={},
        memory_path="",
    )
    header, _ = client.second_answer("open", config.open_deadline_s)
    found.update(header)
    return f"client and server are CARLA {header['server']}, map {header['map']}"


def _check_ticks(client: CarlaClient, config: CarlaConfig, found: dict[str, Any]) -> str:
    deadline_s = config.timeout_s + _TICK_PATIENCE_S
    header, _ = client.call("inspect", deadline_s, patience_s=_TICK_PATIENCE_S)
    found.update(header)
    if header["synchronous"]:
        if header["ticks"]:
            return "another client ticks it in synchronous mode: use 'attach: observe'"
        return (
            "it is in synchronous mode and nobody ticks it, probably since a client that has "
            "ended: 'attach: tick' works"
        )
    if not header["ticks"]:
        raise ConfigError(
            "the server runs by its own clock, but no tick came: wait if it is still loading a map"
        )
    return "it runs by its own clock: 'attach: tick' takes over its ticks"


def _check_rendering(client: CarlaClient, config: CarlaConfig, found: dict[str, Any]) -> str:
    del client, config
    if not found["renders"]:
        raise ConfigError(
            "no_rendering_mode is on, so cameras send nothing; switch it off in the world's "
            "settings"
        )
    return "cameras send images"


def _check_ego(client: CarlaClient, config: CarlaConfig, found: dict[str, Any]) -> str:
    del client
    roles = found["roles"]
    if config.role_name in roles:
        return f"there is a vehicle with the role name '{config.role_name}': it will be used"
    return (
        f"none of {len(roles)} vehicles has the role name '{config.role_name}': one will be spawned"
    )


_CHECKS: tuple[tuple[str, Callable[[CarlaClient, CarlaConfig, dict[str, Any]], str]], ...] = (
    ("versions", _check_versions),
    ("who ticks", _check_ticks),
    ("rendering", _check_rendering),
    ("ego vehicle", _check_ego),
)
