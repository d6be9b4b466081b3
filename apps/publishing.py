"""Publishing the frames of a world, so that `sim2street watch` can show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sim2street.apps.console import say
from sim2street.bridge.transport import (
    FramePublisher,
    PublishedWorld,
    ServerConfig,
    check_endpoint,
)
from sim2street.bridge.world import World
from sim2street.configs import parse


def server_config(
    endpoint: str,
    secret_key: Path | None,
    allowed_clients: Path | None,
    max_pixels: int | None = None,
) -> ServerConfig:
    """Settings of a server from command line options; `max_pixels`: the default if None.

    Raises:
        ConfigError: the endpoint is malformed, or only one of the two key options is given.
    """
    check_endpoint(endpoint)
    data: dict[str, Any] = {
        "endpoint": endpoint,
        "secret_key": secret_key,
        "allowed_clients": allowed_clients,
    }
    if max_pixels is not None:
        data["max_pixels"] = max_pixels
    return parse(ServerConfig, data, "serve")


@contextmanager
def published(world: World, config: ServerConfig | None) -> Iterator[World]:
    """`world` with every frame published at `config.endpoint`; without `config`, as it is.

    Raises:
        ConfigError: the endpoint cannot be bound, or is public without keys.
    """
    if config is None:
        yield world
        return
    with FramePublisher(config) as publisher:
        say(f"publishing frames on {publisher.endpoint}")
        yield PublishedWorld(world, publisher)
