"""DrivingVectorEnv: many driving envs in processes of their own, with one renderer."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array, iterate

from sim2street.bridge.renderer import Renderer
from sim2street.configs import ConfigError
from sim2street.envs.episode_state import EnvState
from sim2street.envs.vector.child import MakeEnv
from sim2street.envs.vector.messages import (
    Call,
    Command,
    Done,
    Reset,
    SetAttribute,
    SetState,
    Step,
)
from sim2street.envs.vector.scheduler import Scheduler
from sim2street.envs.vector.slot import EnvSlot, SlotState, parse_reset_arguments
from sim2street.envs.vector.worker import VectorDeadlines, Worker

ObservationBatch = Any
"""Observations of all envs: arrays (num_envs, ...), in a dict if the env's space is a Dict."""

Flags = npt.NDArray[np.bool_]

STAGES = ("simulate", "transfer", "render", "observe")
"""Stages that `DrivingVectorEnv.stage_seconds` distinguishes."""


class DrivingVectorEnv(VectorEnv[ObservationBatch, Any, npt.NDArray[Any]]):
    """Driving envs that simulate in parallel and are rendered in batches.

    Each env lives in a spawned process and is exactly the env that `make_env` makes. The
    renderer it is given passes its views, through shared memory, to the renderer here. So a
    vector of one env equals a single env step by step. `make_env` and all it needs must be
    importable (no lambda).

    Autoreset works as in Gymnasium, in all three modes. A world that dies, hangs or is lost
    costs its own episode only: its step is truncated, and `info["error"]` gives the reason. It
    is reset or replaced in the background. Until it is back, its steps are truncated too, with
    the last observation and reward 0, while the other envs continue. With autoreset disabled,
    the `reset` that the caller must make anyway waits for it.

    `close` also closes the renderer.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        num_envs: int,
        renderer: Renderer,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        deadlines: VectorDeadlines | None = None,
        at_once: int | None = None,
    ) -> None:
        """Start all processes and wait until their envs are made.

        Args:
            at_once: how many envs simulate at a time; None for the number of CPU cores.

        Raises:
            ConfigError: `num_envs` is below 1, or the envs' spaces differ.
            Exception: the error for which an env could not be made.
        """
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        limits_s = deadlines or VectorDeadlines()
        self._recover_s = limits_s.recover_s
        self._scheduler = Scheduler(make_env, num_envs, renderer, limits_s, at_once)
        # Also runs at exit, if nobody calls `close`.
        self._close_all = weakref.finalize(self, _close_all, self._scheduler, renderer)
        self._workers: Sequence[Worker] = self._scheduler.workers
        self._slots = [EnvSlot(worker) for worker in self._workers]
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        try:
            self._scheduler.start()
            self._take_spaces()
        except BaseException:  # also Ctrl-C: leave no process running
            self.close()
            raise

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds spent per stage so far, summed over all processes. Stages overlap in time."""
        render_s = self._stage_seconds["render"] + self._scheduler.render_s
        return {**self._stage_seconds, "render": render_s}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[ObservationBatch, dict[str, Any]]:
        """Start episodes, in all envs or in those that `options["reset_mask"]` selects.

        Args:
            seed: of the first env, where the next one gets `seed + 1` and so on; or one each.
            options: for every env; `reset_mask` is a bool array (num_envs,).

        Raises:
            ConfigError: an argument does not fit the number of envs.
            WorldError: a world cannot start an episode now.
        """
        self._check_open()
        seeds, mask, env_options = parse_reset_arguments(self.num_envs, seed, options)
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        selected = np.flatnonzero(mask).tolist()
        for i in selected:
            self._slots[i].state = SlotState.NO_EPISODE
        unfinished = selected
        for _ in range(2):  # a process may have died since the last step: try once more
            self._scheduler.run(
                {i: self._slots[i].reset_command(seeds[i], env_options) for i in unfinished}
            )
            unfinished = [i for i in unfinished if self._workers[i].result is None]
        for i in selected:
            self._workers[i].require_done()
        infos: dict[str, Any] = {}
        for i in selected:
            infos = self._add_info(infos, self._begin_episode(i), i)
        self._check_episodes()
        return self._observations(), infos

    def step(
        self, actions: Any
    ) -> tuple[ObservationBatch, npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Make one step in every env; see the class for lost worlds."""
        self._check_open()
        self._check_episodes()
        commands: dict[int, Command] = {}
        for i, action in enumerate(iterate(self.action_space, actions)):
            state = self._slots[i].state
            if state is SlotState.RUNNING:
                commands[i] = Step(action)
            elif state is SlotState.EPISODE_OVER:
                commands[i] = Reset()
        results = _StepResults(self.num_envs)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        recovering = [] if same_step else self._start_waiting_for_recovery()
        self._scheduler.run(commands, recovering, self._recover_s)
        # Failed envs come last: their error is raised once the results of the others are taken.
        for i in sorted(range(self.num_envs), key=lambda i: self._workers[i].has_failed):
            if isinstance(commands.get(i), Step):
                self._after_step(results, i)
            elif same_step:
                results.set_lost(i, self._slots[i].lost_info())
            else:
                self._after_reset(results, i)
        if same_step:
            self._reset_in_same_step(results)
        self._recover_lost_worlds()
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            infos = self._add_info(infos, results.final_infos[i], i)
            infos = self._add_info(infos, results.infos[i], i)
        return self._observations(), results.rewards, results.terminated, results.truncated, infos

    def get_state(self) -> tuple[Any, ...]:
        """A snapshot of every env (see `DrivingEnv.get_state`), or None if its world is lost."""
        return self.call("get_state")

    def set_state(self, states: Sequence[Any]) -> tuple[ObservationBatch, dict[str, Any]]:
        """Go back to snapshots, one for each env. They may come from any env of this config.

        Raises:
            ConfigError: the number of states is wrong, or one is no snapshot of this task.
            WorldError: a world cannot restore its state, or is lost: reset it first.
        """
        self._check_open()
        if len(states) != self.num_envs:
            raise ConfigError(f"expected {self.num_envs} states, got {len(states)}")
        for i, state in enumerate(states):
            if not isinstance(state, EnvState):
                raise ConfigError(
                    f"set_state: expected a snapshot that get_state returned for each env, got "
                    f"{type(state).__name__} for env {i}"
                )
        self._scheduler.run({i: SetState(state) for i, state in enumerate(states)})
        infos: dict[str, Any] = {}
        # Failed envs come last: their error is raised once the results of the others are taken.
        for i in sorted(range(self.num_envs), key=lambda i: self._workers[i].has_failed):
            self._workers[i].require_done()
            infos = self._add_info(infos, self._begin_episode(i), i)
            if states[i].episode_over:
                self._slots[i].state = SlotState.EPISODE_OVER
        return self._observations(), infos

    def render(self) -> tuple[Any, ...] | None:
        """What `render` of every env returns, or None without a render mode."""
        return self.call("render") if self.render_mode is not None else None

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method of every env returns, or the value of an attribute.

        None for an env whose world is lost.
        """
        return self._run_on_all([Call(name, args, kwargs)] * self.num_envs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The value of an attribute of every env."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every env: one value for all, or a list or tuple with one each."""
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs:
            raise ConfigError(f"{name}: expected {self.num_envs} values, got {len(each)}")
        self._run_on_all([SetAttribute(name, value) for value in each])

    def close_extras(self, **kwargs: Any) -> None:
        """End all processes and close the renderer; `close` calls this."""
        self._close_all()

    def _take_spaces(self) -> None:
        """Take over the spaces of the envs, which must be equal."""
        first = self._workers[0].ready
        assert first is not None
        for worker in self._workers[1:]:
            assert worker.ready is not None
            for name in ("observation_space", "action_space"):
                expected, got = getattr(first, name), getattr(worker.ready, name)
                if expected != got:
                    raise ConfigError(
                        f"{name} of env {worker.index} differs from that of env 0: expected "
                        f"{expected}, got {got}; give all worlds the same cameras"
                    )
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self.metadata = {**first.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = first.render_mode

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the vector env is closed: make another one")

    def _check_episodes(self) -> None:
        allowed = {SlotState.RUNNING}
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            allowed |= {SlotState.EPISODE_OVER, SlotState.WORLD_LOST}
        needing_reset = [i for i, slot in enumerate(self._slots) if slot.state not in allowed]
        if needing_reset:
            raise ResetNeeded(
                f"the envs {needing_reset} have no episode, or theirs is over: reset() all envs, "
                'or these with options={"reset_mask": mask}'
            )

    def _run_on_all(self, commands: Sequence[Command]) -> tuple[Any, ...]:
        """The values of the results; None for an env whose world is lost."""
        self._check_open()
        asked = {
            i: command
            for i, command in enumerate(commands)
            if self._slots[i].state is not SlotState.WORLD_LOST
        }
        self._scheduler.run(asked)
        values: list[Any] = [None] * self.num_envs
        for i in asked:
            worker = self._workers[i]
            if worker.result is not None:
                values[i] = worker.require_done().value
            worker.result = None
        return tuple(values)

    def _take_result(self, i: int) -> Done | None:
        done = self._slots[i].take_result()
        if done is not None:
            for stage, seconds in done.stage_seconds.items():
                self._stage_seconds[stage] += seconds
        return done

    def _begin_episode(self, i: int) -> dict[str, Any]:
        """Info of the new episode of env `i`, or why its world is lost."""
        done = self._take_result(i)
        if done is None:
            return self._slots[i].lost_info()
        self._slots[i].begin_episode(done.value)
        info: dict[str, Any] = done.value
        return info

    def _after_step(self, results: _StepResults, i: int) -> None:
        slot, done = self._slots[i], self._take_result(i)
        if done is None:
            results.set_lost(i, slot.lost_info())
            return
        reward, terminated, truncated, info = done.value
        results.rewards[i] = reward
        results.terminated[i], results.truncated[i] = terminated, truncated
        results.infos[i] = info
        slot.after_step(bool(terminated or truncated), info)

    def _after_reset(self, results: _StepResults, i: int) -> None:
        """Env `i` was reset, or its lost world is still being reset in the background."""
        slot = self._slots[i]
        results.infos[i] = slot.lost_info() if slot.awaits_result else self._begin_episode(i)
        results.truncated[i] = slot.state is SlotState.WORLD_LOST

    def _reset_in_same_step(self, results: _StepResults) -> None:
        """Autoreset of mode SAME_STEP: reset the envs whose episode has just ended."""
        over = np.flatnonzero(results.terminated | results.truncated).tolist()
        for i in over:
            last = self._slots[i].observation()
            results.final_infos[i] = {
                "final_obs": last.get("", last),
                "final_info": results.infos[i],
            }
        self._recover_lost_worlds()
        commands = {i: Reset() for i in over if self._slots[i].state is SlotState.EPISODE_OVER}
        self._scheduler.run(commands, self._start_waiting_for_recovery(), self._recover_s)
        for i in over:
            slot = self._slots[i]
            results.infos[i] = slot.lost_info() if slot.awaits_result else self._begin_episode(i)

    def _recover_lost_worlds(self) -> None:
        with_reset = self.autoreset_mode is not AutoresetMode.DISABLED
        for slot in self._slots:
            if slot.state is SlotState.WORLD_LOST:
                slot.recover(with_reset)

    def _start_waiting_for_recovery(self) -> list[int]:
        """The envs whose reset should be waited for. Each is returned once per lost world."""
        waiting = [i for i, slot in enumerate(self._slots) if slot.wait_for_recovery]
        for i in waiting:
            self._slots[i].wait_for_recovery = False
        return waiting

    def _observations(self) -> ObservationBatch:
        """The last observations of all envs, in new arrays."""
        start_s = time.perf_counter()
        batch = create_empty_array(self.single_observation_space, self.num_envs)
        for i, slot in enumerate(self._slots):
            slot.write_to(batch, i)
        self._stage_seconds["transfer"] += time.perf_counter() - start_s
        return batch


def _close_all(scheduler: Scheduler, renderer: Renderer) -> None:
    try:
        scheduler.close()
    finally:
        renderer.close()


class _StepResults:
    """What one step of the vector returns, env by env."""

    def __init__(self, num_envs: int) -> None:
        self.rewards = np.zeros(num_envs, np.float64)
        self.terminated = np.zeros(num_envs, np.bool_)
        self.truncated = np.zeros(num_envs, np.bool_)
        self.infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self.final_infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]

    def set_lost(self, i: int, info: dict[str, Any]) -> None:
        """Env `i` could make no step, because its world is lost."""
        self.truncated[i], self.infos[i] = True, info
