"""DrivingEnv: a World with a Task, as Gymnasium wants it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from sim2street.bridge.errors import EpisodeEnd, PeerTimeout, RendererLost, WorldError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean
from sim2street.envs.actions import ActionMapping, ContinuousActions
from sim2street.envs.episodes import SPLIT_OPTION, EpisodeConfig, draw_options
from sim2street.envs.observations import Observation, ObservationConfig, Observer, ObserverMemory
from sim2street.envs.rendering import RENDER_MODES, Window, picture_of, side_by_side
from sim2street.envs.tasks import Outcome, Task, Transition

LOST = (WorldError, RendererLost, PeerTimeout)
"""Errors after which the episode cannot go on, but the next reset may work."""

LOST_OUTCOME = Outcome({}, None, truncated=True, cutoff="lost")
"""Of a tick on which the world was lost."""

END_OUTCOME = Outcome({}, None, truncated=True, cutoff="recording_end")
"""Of a tick that a recording does not have any more."""


@dataclass(frozen=True, slots=True)
class EnvState:
    """A snapshot of an env in the middle of an episode; see `DrivingEnv.get_state`."""

    world: Any
    frame: SensorFrame
    last_control: Control
    distance_m: float
    over: bool
    memory: ObserverMemory
    rng: Mapping[str, Any]


class DrivingEnv(gymnasium.Env[Observation, Any]):
    """Drive one vehicle in one World; the Task says what is good and when it ends.

    Observation: a flat Dict of new arrays or a plain one, see `ObservationConfig`. Action:
    see `ActionMapping`. Info of a step: `rewards` (per term, weighted), `endings` (which
    are met), `ending` (the one that ended the episode, or None), `is_success`, `tick`,
    `speed_mps`, `distance_m` (driven since the reset), `flags`, and `error` where the
    world was lost: then the step is truncated with the last observation and nothing more
    to earn, and the next `reset` works as soon as the world answers again. Info of a
    reset: `tick`, `flags`, `speed_mps`, `distance_m`, the episode's `seed` and the
    `options` that the world got.

    `world` is opened here and closed by `close`. `last_frame` is the frame behind the
    last observation, for logging (its `stamps` tell the seconds per hop).

    With `render_mode` "rgb_array" `render` gives the picture, with "side_by_side" labels,
    depth and picture in one; "human" shows it in a window at every step and reset.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        world: World,
        task: Task | None = None,
        actions: ActionMapping[Any] | None = None,
        observation: ObservationConfig | None = None,
        image_scale: int = 1,
        render_mode: str | None = None,
        action_repeat: int = 1,
        episodes: EpisodeConfig | None = None,
    ) -> None:
        """`image_scale`: size of the world's rgb over the size of its labels.

        `action_repeat`: ticks per step; terms add up over them, an ending stops early.
        """
        _check_mode(render_mode)
        if action_repeat < 1:
            raise ConfigError(f"action_repeat must be at least 1, got {action_repeat}")
        config = observation or ObservationConfig()
        self.render_mode = render_mode
        self.last_frame: SensorFrame | None = None
        self.world = world
        self._task = task or Task()
        self._actions = actions or ContinuousActions()
        self._episodes = episodes or EpisodeConfig()
        self._repeat = action_repeat
        self._window = Window("sim2street")
        self._last_control = Control()
        self._distance_m = 0.0
        self._over = True
        with ExitStack() as on_error:
            on_error.callback(world.close)
            world.open(sensors=config.needs_sensors or render_mode is not None)
            spec = world.spec
            self._observer = Observer(config, spec, image_scale)
            on_error.pop_all()
        self.observation_space = self._observer.space
        self.action_space = self._actions.space
        fps = max(1, round(1.0 / (spec.tick_s * action_repeat)))
        self.metadata = {**self.metadata, "render_fps": fps}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. `options` go to the world (`style` to its renderer).

        `split` ("train" or "test") chooses which towns and styles are drawn from. Without
        a seed, the episode's own seed is drawn from the env's generator: one seeded reset
        makes the whole sequence of episodes reproducible.
        """
        super().reset(seed=seed)
        world_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        merged = self._options(world_seed, dict(options or {}))
        self._over = True
        frame = self.world.reset(world_seed, merged)
        self.last_frame = frame
        self._last_control = Control()
        self._distance_m = 0.0
        self._over = False
        observation = self._observer.observe(frame)
        self._show()
        return observation, {**self._info(frame), "seed": world_seed, "options": merged}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive one tick, or as many as the action is repeated."""
        if self._over or self.last_frame is None:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        control = self._actions.control(action)
        rewards: defaultdict[str, float] = defaultdict(float)
        for _ in range(self._repeat):
            outcome, error = self._tick(control)
            for name, value in outcome.rewards.items():
                rewards[name] += value
            if outcome.over:
                break
        outcome = replace(outcome, rewards=dict(rewards))
        self._over = outcome.over
        info = {**self._info(self.last_frame), **outcome_info(outcome)}
        if error is not None:
            info["error"] = error
        observation = self._observer.observe(self.last_frame)
        self._show()
        terminated = outcome.ending is not None
        return observation, outcome.reward, terminated, outcome.truncated, info

    def render(self) -> np.ndarray | None:
        """What the render mode says, as uint8 (H, W, 3); None where a window shows it."""
        if self.render_mode is None or self.last_frame is None or self.render_mode == "human":
            return None
        return self._picture()

    def get_state(self) -> EnvState:
        """A snapshot, from which `set_state` goes on exactly (planning, world models).

        Raises:
            WorldError: this env's world cannot save its state.
        """
        if self.last_frame is None:
            raise gymnasium.error.ResetNeeded("there is no episode: call reset() first")
        return EnvState(
            self.world.get_state(),
            self.last_frame,
            self._last_control,
            self._distance_m,
            self._over,
            self._observer.memory,
            self.np_random.bit_generator.state,
        )

    def set_state(self, state: EnvState) -> tuple[Observation, dict[str, Any]]:
        """Go on from a snapshot of this env: its observation again, and its info."""
        self.world.set_state(state.world)
        self.last_frame = state.frame
        self._last_control = state.last_control
        self._distance_m = state.distance_m
        self._over = state.over
        self._observer.remember(state.memory)
        self.np_random.bit_generator.state = state.rng
        return self._observer.observe(state.frame), self._info(state.frame)

    def close(self) -> None:
        """Close the world and the window. Allowed more than once."""
        self._over = True
        self._window.close()
        self.world.close()

    def _options(self, seed: int, asked: dict[str, Any]) -> dict[str, Any]:
        """What the world gets: drawn, then from the task, then as asked for."""
        known = self.world.option_names
        if known is not None:
            for name in asked:
                if name not in known and name != SPLIT_OPTION:
                    hint = did_you_mean(name, [*sorted(known), SPLIT_OPTION])
                    raise ConfigError(f"reset options: unknown option '{name}'{hint}")
        drawn = draw_options(self._episodes, seed, asked.pop(SPLIT_OPTION, None))
        return {**drawn, **self._task.config.reset_options, **asked}

    def _tick(self, control: Control) -> tuple[Outcome, str | None]:
        """One tick of the world: what it was worth, and why the world was lost if it was."""
        before = self.last_frame
        assert before is not None
        try:
            after = self.world.step(control)
        except EpisodeEnd:
            return END_OUTCOME, None
        except LOST as error:
            return LOST_OUTCOME, str(error)
        outcome = self._task.judge(Transition(before, control, after, self._last_control))
        self._observer.see(after)
        self._distance_m += abs(after.ego.speed_mps) * (after.time_s - before.time_s)
        self.last_frame, self._last_control = after, control
        return outcome, None

    def _info(self, frame: SensorFrame) -> dict[str, Any]:
        return {
            "tick": frame.tick,
            "flags": list(frame.flags),
            "speed_mps": frame.ego.speed_mps,
            "distance_m": self._distance_m,
        }

    def _picture(self) -> np.ndarray:
        view = self._observer.last_view
        if view is None:
            raise ConfigError("nothing to render: this world has no camera")
        return side_by_side(view) if self.render_mode == "side_by_side" else picture_of(view)

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(self._picture(), self.metadata["render_fps"])


def outcome_info(outcome: Outcome) -> dict[str, Any]:
    """What `info` tells of a step's worth; new objects."""
    return {
        "rewards": dict(outcome.rewards),
        "endings": dict(outcome.endings),
        "ending": outcome.ending or outcome.cutoff,
        "is_success": outcome.success,
    }


def _check_mode(render_mode: str | None) -> None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        hint = did_you_mean(render_mode, list(RENDER_MODES))
        raise ConfigError(f"unknown render_mode '{render_mode}'{hint}")
