"""The entry point of the registered env ids: what `gymnasium.make` calls."""

from __future__ import annotations

from typing import Any, ClassVar

from sim2street.apps import compose
from sim2street.envs.driving import DrivingEnv


class EnvMaker:
    """Makes an env by the name of its config; see `compose.make_env`.

    `gymnasium.make` reads the render modes off its entry point before it makes an env. Without
    them, it would not collect frames for "rgb_array_list".
    """

    metadata: ClassVar[dict[str, Any]] = DrivingEnv.metadata

    def __call__(
        self, config: str = "town_follow", render_mode: str | None = None, **settings: Any
    ) -> DrivingEnv:
        """The env of a config; `settings` are keys of `EnvConfig`."""
        return compose.make_env(config, render_mode, **settings)


make_env = EnvMaker()
