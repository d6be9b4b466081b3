"""Builds vectors of envs from YAML: worlds in processes of their own, one renderer."""

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
    from gymnasium.vector import AutoresetMode

    from sim2street.envs.driving import DrivingEnv
    from sim2street.envs.vector.env import DrivingVectorEnv


def make_vector_env(
    config: str = "town_follow",
    num_envs: int = 1,
    render_mode: str | None = None,
    autoreset_mode: AutoresetMode | str = "NextStep",
    worlds: Sequence[str | Mapping[str, Any]] | None = None,
    deadlines: dict[str, float] | None = None,
    at_once: int | None = None,
    **settings: Any,
) -> DrivingVectorEnv:
    """N envs of one config; `settings` replace keys of `EnvConfig`.

    `gymnasium.make_vec("sim2street/TownFollow-v0", num_envs=4)` ends up here. `render_mode`
    and everything after it are keyword arguments of `make_vec` too.

    Args:
        autoreset_mode: "NextStep", "SameStep" or "Disabled".
        worlds: one for each env, since a server has one client at a time: a name or an
            endpoint, or keys of `EnvConfig` such as {"host": "sim", "port": 2002}.
        deadlines: replace those of `sim2street.envs.vector.worker.VectorDeadlines`, in seconds.
        at_once: how many worlds simulate at a time; as many as there are cores.
    """
    with needs_extra("env"):
        from sim2street.envs.vector.env import DrivingVectorEnv
        from sim2street.envs.vector.worker import VectorDeadlines
    limits_s = parse(VectorDeadlines, deadlines or {}, "deadlines")
    names = list(worlds) if worlds is not None else []
    if worlds is not None and len(names) != num_envs:
        raise ConfigError(f"worlds: expected one for each of {num_envs} envs, got {len(names)}")
    data = env_config(config, settings)
    renderer: Renderer = PaletteRenderer()
    if data.renderer is not None:
        renderer = build_renderer(data.renderer, data.renderer_settings)
    # Painting gains nothing from batches: each process paints its own, all at a time.
    shared = not isinstance(renderer, PaletteRenderer)
    make_env = partial(make_vectored_env, data, config, render_mode, names, shared)
    return DrivingVectorEnv(make_env, num_envs, renderer, autoreset_mode, limits_s, at_once)


def make_vectored_env(
    data: EnvConfig,
    source: str,
    render_mode: str | None,
    worlds: Sequence[str | Mapping[str, Any]],
    shared: bool,
    index: int,
    renderer: Renderer,
) -> DrivingEnv:
    """The env at `index` of a vector, in its own process.

    Args:
        worlds: for each index, see `make_vector_env`; the config's where there are none.
        shared: whether the env uses the vector's renderer, or builds one of its own.
    """
    if worlds:
        own = worlds[index]
        changes = {"world": own} if isinstance(own, str) else own
        data = parse(EnvConfig, {**data.model_dump(), **changes}, f"worlds[{index}]")
    return assemble_env(data, source, render_mode, renderer if shared else None)
