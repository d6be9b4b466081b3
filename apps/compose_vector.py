"""Builds vectors of envs from an env config; behind `gymnasium.make_vec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sim2street.apps.compose import (
    EnvConfig,
    assemble_env,
    build_renderer,
    env_config,
    needs_extra,
)
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.renderer import Renderer
from sim2street.configs import ConfigError, parse

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.vector import AutoresetMode

    from sim2street.envs.vector.env import DrivingVectorEnv


def make_vector_env(
    config: str = "town_follow",
    num_envs: int = 1,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = "NextStep",
    worlds: Sequence[str | Mapping[str, Any]] | None = None,
    ports: Sequence[int] | None = None,
    deadlines: dict[str, float] | None = None,
    at_once: int | None = None,
    **settings: Any,
) -> DrivingVectorEnv:
    """A vector of `num_envs` envs of one config, in processes of their own.

    `gymnasium.make_vec("sim2street/TownFollow-v0", num_envs=4)` calls this function, and
    passes its keyword arguments on.

    Args:
        config: name of a config in configs/env, or path of a YAML file.
        autoreset_mode: "NextStep", "SameStep" or "Disabled", as in Gymnasium.
        worlds: the world of each env: a name, an endpoint, or keys of `EnvConfig` such as
            {"host": "sim", "port": 2002}. Needed for servers, which have one client each.
        ports: the port of each env's server, such as a `CarlaFarm`'s; short for `worlds` with
            {"port": ...} for each env.
        deadlines: keys of `VectorDeadlines`, in seconds.
        at_once: how many envs simulate at a time; None for the number of CPU cores.
        settings: keys of `EnvConfig`, which replace those of the config.

    Raises:
        ConfigError: a key is unknown, `worlds` or `ports` does not have one entry per env, or
            both are given.
    """
    with needs_extra("env"):
        from sim2street.envs.vector.env import DrivingVectorEnv
        from sim2street.envs.vector.worker import VectorDeadlines
    limits_s = parse(VectorDeadlines, deadlines or {}, "deadlines")
    if ports is not None:
        if worlds is not None:
            raise ConfigError("give either worlds or ports, not both: {'port': ...} in worlds")
        if len(ports) != num_envs:
            raise ConfigError(f"ports: expected one for each of {num_envs} envs, got {len(ports)}")
        worlds = [{"port": int(port)} for port in ports]
    if worlds is not None and len(worlds) != num_envs:
        raise ConfigError(f"worlds: expected one for each of {num_envs} envs, got {len(worlds)}")
    data = env_config(config, settings)
    if data.record is not None and num_envs > 1:
        raise ConfigError(
            "record: the envs of a vector need a file each: give them as "
            "worlds=[{'record': '0.mcap'}, {'record': '1.mcap'}, ...]"
        )
    renderer: Renderer = PaletteRenderer()
    if data.renderer is not None:
        renderer = build_renderer(data.renderer, data.renderer_settings)
    # Palette images gain nothing from batches, so each process has a palette of its own.
    share_renderer = not isinstance(renderer, PaletteRenderer)
    surfaces = renderer.uses_surfaces
    make_env = partial(
        make_env_of_vector, data, config, render_mode, worlds, share_renderer, surfaces
    )
    return DrivingVectorEnv(make_env, num_envs, renderer, autoreset_mode, limits_s, at_once)


def make_env_of_vector(
    data: EnvConfig,
    source: str,
    render_mode: str | None,
    worlds: Sequence[str | Mapping[str, Any]] | None,
    share_renderer: bool,
    surfaces: bool,
    index: int,
    renderer: Renderer,
) -> gymnasium.Env[Any, Any]:
    """The env at `index` of a vector; runs in the env's own process.

    Args:
        source: name of the config, for error messages.
        worlds: see `make_vector_env`.
        share_renderer: whether to use `renderer` instead of building one from the config.
        surfaces: whether that renderer uses exact texture coordinates.
    """
    if worlds is not None:
        world = worlds[index]
        changes = {"world": world} if isinstance(world, str) else world
        data = parse(EnvConfig, {**data.model_dump(), **changes}, f"worlds[{index}]")
    from gymnasium.wrappers import RenderCollection

    shared = renderer if share_renderer else None
    if render_mode is not None and render_mode.endswith("_list"):
        return RenderCollection(
            assemble_env(data, source, render_mode.removesuffix("_list"), shared, surfaces)
        )
    return assemble_env(data, source, render_mode, shared, surfaces)
