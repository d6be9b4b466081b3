"""Gymnasium environments: a World, a Task, and the spaces of observations and actions.

`import sim2street` imports this package, which registers the env ids.

- `rewards.py`: reward terms and endings; `tasks.py`: how a task combines them
- `pace.py`: whether the ego is too slow or too fast
- `observations.py`, with `images.py`, `state.py` and `hazards.py`: what the agent sees
- `actions.py`: what the agent does
- `episodes.py`: what differs from episode to episode
- `driving.py`: `DrivingEnv`, one env; `episode_state.py`: its `info` and snapshots
- `vector/`: `DrivingVectorEnv`, many envs that share one renderer
"""

from gymnasium.envs.registration import register, registry

from sim2street.envs.actions import ActionConfig
from sim2street.envs.driving import DrivingEnv
from sim2street.envs.observations import ObservationConfig
from sim2street.envs.tasks import Task, TaskConfig

__all__ = ["ActionConfig", "DrivingEnv", "ObservationConfig", "Task", "TaskConfig"]

TOWN_TASKS = {
    "LaneKeep": "lane_keep",
    "Route": "route",
    "CarFollow": "car_follow",
    "JunctionTurn": "junction_turn",
}
"""Tasks in the embedded town: part of the env id -> part of the config's name."""

VARIANTS = {"": "", "State": "_state", "Neural": "_neural"}
"""What the agent sees: label colours, no camera, or photographs. Ends of id -> of config."""

ENV_CONFIGS = {
    "sim2street/TownFollow-v0": "town_follow",
    "sim2street/TownFollowNeural-v0": "town_follow_neural",
    "sim2street/TownFollowState-v0": "town_follow_state",
    **{
        f"sim2street/Town{task}{variant}-v0": f"town_{name}{suffix}"
        for task, name in TOWN_TASKS.items()
        for variant, suffix in VARIANTS.items()
    },
    **{
        f"sim2street/CarlaRoute{variant}-v0": f"carla_route{suffix}"
        for variant, suffix in VARIANTS.items()
    },
    "sim2street/Replay-v0": "replay",
}
"""Env id -> its config, the file configs/env/<name>.yaml."""


def _register_all() -> None:
    # Entry points are strings, so that an env can have a neural renderer although this
    # package never imports one.
    for env_id, config in ENV_CONFIGS.items():
        if env_id not in registry:
            register(
                env_id,
                entry_point="sim2street.apps.env_entry:make_env",
                vector_entry_point="sim2street.apps.compose_vector:make_vector_env",
                nondeterministic=env_id.startswith("sim2street/Carla"),
                kwargs={"config": config},
            )


_register_all()
