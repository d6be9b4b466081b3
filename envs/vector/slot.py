"""One env of a vector: its last observation, its seed, and whether its world is lost."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import numpy.typing as npt

from sim2street.configs import ConfigError
from sim2street.envs.driving import LOST
from sim2street.envs.vector.messages import Done, Failed, Reset
from sim2street.envs.vector.shared_memory import Array, ArrayLocation
from sim2street.envs.vector.worker import Phase, Worker


class SlotState(enum.Enum):
    """What has become of the env's episode."""

    NO_EPISODE = "no episode yet: needs a reset"
    RUNNING = "an episode is running"
    EPISODE_OVER = "the episode is over: needs a reset"
    WORLD_LOST = "the world is lost: to be reset or replaced in the background"


class EnvSlot:
    """Follows one env from episode to episode, across restarts of its process.

    Attributes:
        state: what has become of its episode.
        lost_reason: why its world was lost, while it is.
        wait_for_recovery: whether the next step should wait a moment for the reset of a lost
            world: it is the first since the loss, and the process is still running.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.state = SlotState.NO_EPISODE
        self.lost_reason = ""
        self.wait_for_recovery = False
        self._info: dict[str, Any] = {}
        self._locations: dict[str, ArrayLocation] = {}
        self._kept_observation: dict[str, Array] | None = None
        self._seed: int | None = None
        self._seeded_start = 0

    def reset_command(self, seed: int | None, options: dict[str, Any] | None = None) -> Reset:
        """The command for a reset; starts the process if it is not running.

        A new process does not know the seed of its predecessor. So its first reset without a
        seed gets one derived from that seed and the number of starts.
        """
        worker = self.worker
        if worker.phase is Phase.NOT_RUNNING:
            worker.start()
        if seed is not None:
            self._seed, self._seeded_start = seed, worker.starts
        elif self._seed is not None and self._seeded_start != worker.starts:
            words = np.random.SeedSequence([self._seed, worker.starts]).generate_state(1)
            seed, self._seeded_start = int(words[0]) % 2**31, worker.starts
        return Reset(seed, options)

    @property
    def awaits_result(self) -> bool:
        """Whether the worker is still executing a command."""
        return self.worker.result is None and self.worker.phase is not Phase.NOT_RUNNING

    def take_result(self) -> Done | None:
        """The result of the worker's command, or None if the world is lost.

        Raises:
            Exception: the error that the command raised, unless it means a lost world.
        """
        worker, result = self.worker, self.worker.result
        worker.result = None
        if isinstance(result, Done):
            self._locations, self._kept_observation = result.observation, None
            return result
        if isinstance(result, Failed) and not result.world_lost:
            worker.result = result
            worker.require_done()  # raises the error
        self.lose_world(str(result.error) if isinstance(result, Failed) else worker.exit_reason)
        return None

    def begin_episode(self, info: dict[str, Any]) -> None:
        """An episode has begun, or continues from a snapshot."""
        self.state, self.lost_reason = SlotState.RUNNING, ""
        self.wait_for_recovery = False
        self._info = info

    def after_step(self, episode_over: bool, info: dict[str, Any]) -> None:
        """The env has made a step."""
        self._info = info
        self.state = SlotState.EPISODE_OVER if episode_over else SlotState.RUNNING
        if episode_over and info.get("error"):
            self.lose_world(str(info["error"]))

    def lose_world(self, reason: str) -> None:
        """The world is lost. The last observation is kept for the steps until it is back."""
        if self._kept_observation is None and self._locations:
            self._kept_observation = self.observation()
        process_runs = self.worker.phase is not Phase.NOT_RUNNING
        self.wait_for_recovery = process_runs and self.state is not SlotState.WORLD_LOST
        self.state, self.lost_reason = SlotState.WORLD_LOST, reason

    def recover(self, with_reset: bool) -> None:
        """Start a lost world's process if needed, and submit its reset; does not wait."""
        worker = self.worker
        if worker.phase is Phase.NOT_RUNNING:
            if not worker.may_start:
                return
            worker.start()
            if with_reset:
                worker.submit(self.reset_command(None))
        elif with_reset and worker.phase is Phase.IDLE and worker.result is None:
            worker.submit(self.reset_command(None))

    def observation(self) -> dict[str, Array]:
        """A copy of the last observation; its key is "" if the space is not a Dict."""
        return {key: array.copy() for key, array in self._last_observation().items()}

    def write_to(self, batch: Any, index: int) -> None:
        """Copy the last observation into row `index` of a batch of observations."""
        for key, array in self._last_observation().items():
            (batch[key] if key else batch)[index] = array

    def lost_info(self) -> dict[str, Any]:
        """The info of a step while the world is lost, as a single env would give it."""
        nothing = {
            "rewards": dict.fromkeys(self._info.get("rewards", {}), 0.0),
            "endings": dict.fromkeys(self._info.get("endings", {}), False),
        }
        lost = {"ending": LOST, "is_success": False, "error": self.lost_reason}
        return {**self._info, **nothing, **lost}

    def _last_observation(self) -> dict[str, Array]:
        if self._kept_observation is not None:
            return self._kept_observation
        return self.worker.observation(self._locations)


def parse_reset_arguments(
    num_envs: int, seed: Any, options: dict[str, Any] | None
) -> tuple[list[int | None], npt.NDArray[np.bool_], dict[str, Any] | None]:
    """The arguments of a vector's `reset`, per env.

    Returns:
        A seed for each env, which envs to reset (bool (num_envs,)), and the other options.

    Raises:
        ConfigError: the seeds or the mask do not fit the number of envs.
    """
    if seed is None or isinstance(seed, int | np.integer):
        seeds = [None if seed is None else int(seed) + i for i in range(num_envs)]
    else:
        seeds = [None if s is None else int(s) for s in seed]
    if len(seeds) != num_envs:
        raise ConfigError(f"expected one seed or {num_envs}, got {len(seeds)}")
    env_options = dict(options) if options is not None else None
    mask = np.ones(num_envs, np.bool_)
    if env_options is not None and "reset_mask" in env_options:
        mask = env_options.pop("reset_mask")
        shape, dtype = getattr(mask, "shape", None), getattr(mask, "dtype", type(mask))
        if shape != (num_envs,) or dtype != np.bool_:
            raise ConfigError(
                f"reset_mask: expected a bool array of shape ({num_envs},), got {dtype} {shape}"
            )
        if not mask.any():
            raise ConfigError("reset_mask: selects no env; leave it out to reset all")
    return seeds, mask, env_options or None
