"""One env's place in the batch: its last observation, its seed, and how it was lost."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from sim2street.configs import ConfigError
from sim2street.envs.driving import LOST_OUTCOME, outcome_info
from sim2street.envs.vector.messages import Done, Failed, Reset
from sim2street.envs.vector.shared_memory import Place
from sim2street.envs.vector.worker import Phase, Worker


class Standing(enum.Enum):
    """What an env's next step is."""

    UNBEGUN = "has no episode yet"
    RUNNING = "a step"
    OVER = "a reset"
    LOST = "to be reset or replaced in the background"


class Seat:
    """Follows one worker from episode to episode, over the deaths of its process.

    Attributes:
        standing: what comes next. reason: why its world was lost, while it is.
        patient: whether its first reset after a loss is worth a moment's wait.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.standing = Standing.UNBEGUN
        self.reason = ""
        self.patient = False
        self._info: dict[str, Any] = {}
        self._places: dict[str, Place] = {}
        self._held: dict[str, np.ndarray] | None = None
        self._seed: int | None = None
        self._seeded_start = 0

    def reset_command(self, seed: int | None, options: dict[str, Any] | None = None) -> Reset:
        """A reset; where a fresh process knows nothing of the seed, with the next one."""
        worker = self.worker
        if worker.phase is Phase.GONE:
            worker.start()
        if seed is not None:
            self._seed, self._seeded_start = seed, worker.starts
        elif self._seed is not None and self._seeded_start != worker.starts:
            words = np.random.SeedSequence([self._seed, worker.starts]).generate_state(1)
            seed, self._seeded_start = int(words[0]) % 2**31, worker.starts
        return Reset(seed, options)

    @property
    def under_way(self) -> bool:
        """Whether the worker has yet to answer."""
        return self.worker.result is None and self.worker.phase is not Phase.GONE

    def take(self) -> Done | None:
        """The answer of its worker, or None where the world is lost (see `reason`).

        Raises:
            The error of the env, where it is none of a lost world.
        """
        worker, result = self.worker, self.worker.result
        worker.result = None
        if isinstance(result, Done):
            self._places, self._held = result.places, None
            return result
        if isinstance(result, Failed) and not result.lost:
            worker.result = result  # to be raised
            worker.require_done()
        self.lose(str(result.error) if isinstance(result, Failed) else worker.why_gone)
        return None

    def begin(self, info: dict[str, Any]) -> None:
        """An episode has begun, or goes on from a snapshot."""
        self.standing, self.reason, self.patient = Standing.RUNNING, "", False
        self._info = info

    def go_on(self, over: bool, info: dict[str, Any]) -> None:
        """A step was made."""
        self._info = info
        self.standing = Standing.OVER if over else Standing.RUNNING
        if over and "error" in info:
            self.lose(str(info["error"]))

    def lose(self, reason: str) -> None:
        """The world is lost; its last observation is kept."""
        if self._held is None and self._places:
            self._held = self.observation()
        self.patient = self.standing is not Standing.LOST and self.worker.phase is not Phase.GONE
        self.standing, self.reason = Standing.LOST, reason

    def recover(self, with_reset: bool) -> None:
        """See to it that a lost world comes back: start its process, reset it; no wait."""
        worker = self.worker
        if worker.phase is Phase.GONE and not worker.may_start:
            return
        if worker.phase is Phase.GONE:
            worker.start()
            if with_reset:
                worker.submit(self.reset_command(None))
        elif with_reset and worker.phase is Phase.IDLE and worker.result is None:
            worker.submit(self.reset_command(None))

    def observation(self) -> dict[str, np.ndarray]:
        """A copy of the last observation, by key; "" where the space is no Dict."""
        windows = self._windows()
        return {key: array.copy() for key, array in windows.items()}

    def write_to(self, batch: Any, index: int) -> None:
        """Copy the last observation into a batch."""
        for key, array in self._windows().items():
            (batch[key] if key else batch)[index] = array

    def lost_info(self) -> dict[str, Any]:
        """The info of a step that a lost world could not make: as a single env's."""
        last = {key: value for key, value in self._info.items() if key != "seed"}
        return {**last, **outcome_info(LOST_OUTCOME), "error": self.reason}

    def _windows(self) -> dict[str, np.ndarray]:
        if self._held is not None:
            return self._held
        return self.worker.observation(self._places)


def reset_request(
    num_envs: int, seed: Any, options: dict[str, Any] | None
) -> tuple[list[int | None], np.ndarray, dict[str, Any] | None]:
    """What a vector's `reset` was asked: seeds, bool mask (num_envs,), and the envs' options.

    Raises:
        ConfigError: a seed or a mask does not fit.
    """
    if seed is None or isinstance(seed, int | np.integer):
        seeds = [None if seed is None else int(seed) + i for i in range(num_envs)]
    else:
        seeds = [None if s is None else int(s) for s in seed]
    if len(seeds) != num_envs:
        raise ConfigError(f"expected one seed or {num_envs}, got {len(seeds)}")
    rest = dict(options) if options is not None else None
    mask = np.ones(num_envs, np.bool_)
    if rest is not None and "reset_mask" in rest:
        mask = rest.pop("reset_mask")
        shape, dtype = getattr(mask, "shape", None), getattr(mask, "dtype", type(mask))
        if shape != (num_envs,) or dtype != np.bool_:
            raise ConfigError(
                f"reset_mask: expected a bool array of shape ({num_envs},), got {dtype} {shape}"
            )
        if not mask.any():
            raise ConfigError("reset_mask: names no env; leave it out to reset all")
    return seeds, mask, rest or None
