"""DrivingVectorEnv: N worlds in processes of their own, one renderer for all of them."""

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
from sim2street.envs.vector.child import MakeEnv
from sim2street.envs.vector.messages import Assign, Call, Command, Done, Reset, Restore, Step
from sim2street.envs.vector.scheduler import Crew
from sim2street.envs.vector.slot import Seat, Standing, reset_request
from sim2street.envs.vector.worker import VectorDeadlines, Worker

Batch = Any
"""A batch of observations: arrays (N, ...), in a dict where the env's space is a Dict."""

Flags = npt.NDArray[np.bool_]

STAGES = ("simulate", "transfer", "render", "observe")


class DrivingVectorEnv(VectorEnv[Batch, Any, npt.NDArray[Any]]):
    """N driving envs that simulate in parallel and are rendered in batches.

    Each env lives in a spawned process and is exactly the env that `make_env` makes; its
    renderer is a stand-in that hands its views to the one here, through shared memory. So
    a vector of one equals a single env step by step, and whatever an env can do, a vector
    can. `make_env` and all that it needs has to be importable (no lambda).

    Autoreset is as in Gymnasium, in all three modes. A world that dies, hangs or is lost
    costs its own episode only: `truncated`, with the reason in `info["error"]`. It is
    replaced or reset in the background, and as long as that takes, its steps are truncated
    too, with the last observation and reward 0; the others go on all the time. (With
    autoreset disabled, the `reset` that is due anyway waits for it.)

    The renderer is closed with the vector.
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
        """`at_once`: how many worlds simulate at a time; as many as there are cores."""
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        limits_s = deadlines or VectorDeadlines()
        self._recover_s = limits_s.recover_s
        self._crew = Crew(make_env, num_envs, renderer, limits_s, at_once)
        self._end = weakref.finalize(self, _end, self._crew, renderer)  # at exit at the latest
        self._seats = [Seat(worker) for worker in self._crew.workers]
        self._seconds = dict.fromkeys(STAGES, 0.0)
        try:
            self._crew.start()
            self._adopt_spaces(self._crew.workers)
        except BaseException:  # Ctrl-C too: nothing is left running
            self.close()
            raise

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Process ids of the worlds, for those who watch processes."""
        return tuple(worker.pid for worker in self._crew.workers)

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds spent per stage so far, by all processes together (stages overlap)."""
        return {**self._seconds, "render": self._seconds["render"] + self._crew.render_s}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Batch, dict[str, Any]]:
        """Start episodes, in all envs or in those of `options["reset_mask"]`.

        Args:
            seed: of the first env, the next one gets `seed + 1` and so on; or one each.
            options: go to every env; `reset_mask` is a bool array (num_envs,).

        Raises:
            WorldError: a world cannot start an episode now.
        """
        self._check_open()
        seeds, mask, rest = reset_request(self.num_envs, seed, options)
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        chosen = np.flatnonzero(mask).tolist()
        for i in chosen:
            self._seats[i].standing = Standing.UNBEGUN
        self._crew.run({i: self._seats[i].reset_command(seeds[i], rest) for i in chosen})
        died = [i for i in chosen if self._crew.workers[i].result is None]  # perhaps long ago
        self._crew.run({i: self._seats[i].reset_command(seeds[i], rest) for i in died})
        infos: dict[str, Any] = {}
        for i in chosen:
            self._crew.workers[i].require_done()
        for i in chosen:
            infos = self._add_info(infos, self._begin(i), i)
        self._check_begun()
        return self._batch(), infos

    def step(
        self, actions: Any
    ) -> tuple[Batch, npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """One step of every env; see the class for what becomes of lost worlds."""
        self._check_open()
        self._check_begun()
        commands: dict[int, Command] = {}
        for i, action in enumerate(iterate(self.action_space, actions)):
            standing = self._seats[i].standing
            if standing is Standing.RUNNING:
                commands[i] = Step(action)
            elif standing is Standing.OVER:
                commands[i] = Reset()
        turn = _Turn(self.num_envs)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._crew.run(commands, *self._patience(not same_step))
        # Errors are raised last, when what the others did is known.
        for i in sorted(range(self.num_envs), key=lambda i: self._crew.workers[i].has_failed):
            if isinstance(commands.get(i), Step):
                self._after_step(turn, i)
            elif same_step:
                turn.lose(i, self._seats[i].lost_info())
            else:
                self._after_reset(turn, i)
        if same_step:
            self._reset_in_the_same_step(turn)
        self._recover()
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            infos = self._add_info(infos, turn.final[i], i)
            infos = self._add_info(infos, turn.infos[i], i)
        return self._batch(), turn.rewards, turn.terminated, turn.truncated, infos

    def get_state(self) -> tuple[Any, ...]:
        """A snapshot of every env, see `DrivingEnv.get_state`; None of a lost world."""
        return self.call("get_state")

    def set_state(self, states: Sequence[Any]) -> tuple[Batch, dict[str, Any]]:
        """Go on from snapshots, one for each env, of whichever env of this config it was.

        Raises:
            WorldError: a world cannot take it up, or is lost: reset it first.
        """
        self._check_open()
        if len(states) != self.num_envs:
            raise ConfigError(f"expected {self.num_envs} states, got {len(states)}")
        self._crew.run({i: Restore(state) for i, state in enumerate(states)})
        infos: dict[str, Any] = {}
        for i, state in enumerate(states):
            self._crew.workers[i].require_done()
            infos = self._add_info(infos, self._begin(i), i)
            if state.over:
                self._seats[i].standing = Standing.OVER
        return self._batch(), infos

    def render(self) -> tuple[Any, ...] | None:
        """What every env shows, or None without a render mode."""
        return self.call("render") if self.render_mode is not None else None

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The results of a method of every env, or the values of an attribute.

        None where a world is lost, until it is back.
        """
        return self._ask_all([Call(name, args, kwargs)] * self.num_envs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every env."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every env: one value for all, or a list or tuple of one each."""
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs:
            raise ConfigError(f"{name}: expected {self.num_envs} values, got {len(each)}")
        self._ask_all([Assign(name, value) for value in each])

    def close_extras(self, **kwargs: Any) -> None:
        """End all processes and close the renderer; returns within a deadline."""
        self._end()

    def _adopt_spaces(self, workers: Sequence[Worker]) -> None:
        first = workers[0].ready
        assert first is not None
        for worker in workers[1:]:
            assert worker.ready is not None
            for name in ("observation_space", "action_space"):
                ours, theirs = getattr(first, name), getattr(worker.ready, name)
                if ours != theirs:
                    raise ConfigError(
                        f"{name} of world {worker.index} differs from that of world 0: "
                        f"{theirs} is not {ours}; give all worlds the same cameras"
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

    def _check_begun(self) -> None:
        standings = [seat.standing for seat in self._seats]
        allowed = {Standing.RUNNING}
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            allowed |= {Standing.OVER, Standing.LOST}
        due = [i for i, standing in enumerate(standings) if standing not in allowed]
        if due:
            raise ResetNeeded(
                f"the envs {due} have no episode, or theirs is over: reset() all, or those in "
                'need of it with options={"reset_mask": mask}'
            )

    def _ask_all(self, commands: Sequence[Command]) -> tuple[Any, ...]:
        """The answers; None from a lost world, which has no env to ask."""
        self._check_open()
        asked = {
            i: command
            for i, command in enumerate(commands)
            if self._seats[i].standing is not Standing.LOST
        }
        self._crew.run(asked)
        values: list[Any] = [None] * self.num_envs
        for i in asked:
            worker = self._crew.workers[i]
            if worker.result is not None:
                values[i] = worker.require_done().value
            worker.result = None
        return tuple(values)

    def _take(self, i: int) -> Done | None:
        done = self._seats[i].take()
        for stage, seconds in (done.seconds if done is not None else {}).items():
            self._seconds[stage] += seconds
        return done

    def _begin(self, i: int) -> dict[str, Any]:
        """The info of the new episode of env i; of a lost world, why there is none."""
        done = self._take(i)
        if done is None:
            return self._seats[i].lost_info()
        self._seats[i].begin(done.value)
        info: dict[str, Any] = done.value
        return info

    def _after_step(self, turn: _Turn, i: int) -> None:
        seat, done = self._seats[i], self._take(i)
        if done is None:
            turn.lose(i, seat.lost_info())
            return
        turn.rewards[i], turn.terminated[i], turn.truncated[i], turn.infos[i] = done.value
        seat.go_on(bool(turn.terminated[i] or turn.truncated[i]), turn.infos[i])

    def _after_reset(self, turn: _Turn, i: int) -> None:
        """An autoreset; that of a lost world may still be under way, or have failed."""
        seat = self._seats[i]
        turn.infos[i] = seat.lost_info() if seat.under_way else self._begin(i)
        turn.truncated[i] = seat.standing is Standing.LOST

    def _reset_in_the_same_step(self, turn: _Turn) -> None:
        over = np.flatnonzero(turn.terminated | turn.truncated).tolist()
        for i in over:
            last = self._seats[i].observation()
            turn.final[i] = {"final_obs": last.get("", last), "final_info": turn.infos[i]}
        self._recover()
        commands = {i: Reset() for i in over if self._seats[i].standing is Standing.OVER}
        self._crew.run(commands, *self._patience(True))
        for i in over:
            seat = self._seats[i]
            turn.infos[i] = seat.lost_info() if seat.under_way else self._begin(i)

    def _recover(self) -> None:
        with_reset = self.autoreset_mode is not AutoresetMode.DISABLED
        for seat in self._seats:
            if seat.standing is Standing.LOST:
                seat.recover(with_reset)

    def _patience(self, granted: bool) -> tuple[list[int], float]:
        """Whose first reset after a loss is waited for a moment, and how long."""
        patient = [i for i, seat in enumerate(self._seats) if granted and seat.patient]
        for i in patient:
            self._seats[i].patient = False
        return patient, self._recover_s

    def _batch(self) -> Batch:
        """The last observations of all envs: fresh arrays, the caller's to keep."""
        start_s = time.perf_counter()
        batch = create_empty_array(self.single_observation_space, self.num_envs)
        for i, seat in enumerate(self._seats):
            seat.write_to(batch, i)
        self._seconds["transfer"] += time.perf_counter() - start_s
        return batch


def _end(crew: Crew, renderer: Renderer) -> None:
    try:
        crew.close()
    finally:
        renderer.close()


class _Turn:
    """What one step of the vector brings, env by env."""

    def __init__(self, num_envs: int) -> None:
        self.rewards = np.zeros(num_envs, np.float64)
        self.terminated = np.zeros(num_envs, np.bool_)
        self.truncated = np.zeros(num_envs, np.bool_)
        self.infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self.final: list[dict[str, Any]] = [{} for _ in range(num_envs)]

    def lose(self, i: int, info: dict[str, Any]) -> None:
        """The step of a lost world."""
        self.truncated[i], self.infos[i] = True, info
