"""Gymnasium environments: a World with a Task. Importing this package registers them.

The entry point is a string into the composition root, so that an env may use a neural
renderer or a world on another machine although this package knows only the contracts.
"""

from gymnasium.envs.registration import register, registry

from sim2street.envs.actions import ActionConfig
from sim2street.envs.driving import DrivingEnv
from sim2street.envs.observations import ObservationConfig
from sim2street.envs.tasks import Task, TaskConfig

__all__ = ["ActionConfig", "DrivingEnv", "ObservationConfig", "Task", "TaskConfig"]

TASKS = {
    "LaneKeep": "lane_keep",
    "Route": "route",
    "CarFollow": "car_follow",
    "JunctionTurn": "junction_turn",
}
"""What there is to do in the town."""

VARIANTS = {"": "", "State": "_state", "Neural": "_neural"}
"""What the agent sees: palette colours, no camera at all, or photographs."""

ENV_CONFIGS = {
    "sim2street/TownFollow-v0": "town_follow",
    "sim2street/TownFollowNeural-v0": "town_follow_neural",
    "sim2street/TownFollowState-v0": "town_follow_state",
    **{
        f"sim2street/Town{task}{variant}-v0": f"town_{name}{suffix}"
        for task, name in TASKS.items()
        for variant, suffix in VARIANTS.items()
    },
    **{
        f"sim2street/CarlaRoute{variant}-v0": f"carla_route{suffix}"
        for variant, suffix in VARIANTS.items()
    },
    "sim2street/Replay-v0": "replay",
}
"""Registered id -> the shipped file configs/env/<name>.yaml behind it."""

for env_id, config in ENV_CONFIGS.items():
    if env_id not in registry:
        register(
            env_id,
            entry_point="sim2street.apps.compose:make_env",
            vector_entry_point="sim2street.apps.compose_vector:make_vector_env",
            nondeterministic=env_id.startswith("sim2street/Carla"),
            kwargs={"config": config},
        )
