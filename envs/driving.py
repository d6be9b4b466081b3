"""DrivingEnv: the Gymnasium env of one vehicle in one World with one Task.

Where to change what: reward and endings in `rewards.py` and `tasks.py`, observations in
`observations.py`, actions in `actions.py`, towns and styles of episodes in `episodes.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from sim2street.bridge.errors import EpisodeEnd, PeerTimeout, RendererLost, WorldError
from sim2street.bridge.frame import ByteArray, Control, SensorFrame
from sim2street.bridge.world import World
from sim2street.configs import ConfigError, did_you_mean
from sim2street.envs.actions import ActionMapping, ContinuousActions
from sim2street.envs.episodes import SPLIT_OPTION, EpisodeConfig, draw_options
from sim2street.envs.observations import Observation, ObservationConfig, Observer, ObserverState
from sim2street.envs.rendering import RENDER_MODES, Window, camera_image, side_by_side
from sim2street.envs.rewards import Transition
from sim2street.envs.tasks import Outcome, Task

WORLD_LOST_ERRORS = (WorldError, RendererLost, PeerTimeout)
"""Errors that end the episode but not the env: the next reset may work."""

WORLD_LOST_OUTCOME = Outcome({}, None, truncated=True, cutoff="lost")
"""Outcome of a tick on which the world or its renderer was lost."""

RECORDING_END_OUTCOME = Outcome({}, None, truncated=True, cutoff="recording_end")
"""Outcome of a tick after the last one of a recording."""


@dataclass(frozen=True, slots=True)
class EnvState:
    """Snapshot of an env in the middle of an episode; see `DrivingEnv.get_state`."""

    world: Any
    frame: SensorFrame
    last_control: Control
    distance_m: float
    episode_over: bool
    observer: ObserverState
    rng: Mapping[str, Any]


class DrivingEnv(gymnasium.Env[Observation, Any]):
    """Drive one vehicle in a World. The Task gives the reward and ends the episode.

    Observation: a flat Dict of new arrays, or one plain array; see `ObservationConfig`.
    Action: see `ActionMapping`.

    Info of a step: `rewards` (reward term -> weighted value), `endings` (ending -> whether it
    is met), `ending` (what ended the episode, or None), `is_success`, `tick`, `speed_mps`,
    `distance_m` (driven since the reset), `flags` (of the frame). If the world or its renderer
    is lost, the step is truncated with the last observation again, the failed tick earns no
    reward, and `error` gives the reason; the next `reset` works once the world answers again.

    Info of a reset: `tick`, `flags`, `speed_mps`, `distance_m`, `seed` (of the episode),
    `options` (that the world was reset with).

    The env opens `world`, and `close` closes it. `last_frame` is the frame behind the last
    observation; its `stamps` give the seconds spent by each part.

    Render modes: "rgb_array" (`render` returns the camera image), "side_by_side" (`render`
    returns labels, depth and camera image next to each other), "human" (every step and reset
    shows the camera image in a window).
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
        """Open the world.

        Args:
            image_scale: width of the world's rgb images divided by the width of its labels.
            action_repeat: ticks per step. Rewards add up over them; an ending stops early.

        Raises:
            ConfigError: an argument is out of range, or does not fit the world.
        """
        _check_render_mode(render_mode)
        if action_repeat < 1:
            raise ConfigError(f"action_repeat must be at least 1, got {action_repeat}")
        observation = observation or ObservationConfig()
        self.render_mode = render_mode
        self.last_frame: SensorFrame | None = None
        self.world = world
        self._task = task or Task()
        self._actions = actions or ContinuousActions()
        self._episodes = episodes or EpisodeConfig()
        self._action_repeat = action_repeat
        self._window = Window("sim2street")
        self._last_control = Control()
        self._distance_m = 0.0
        self._episode_over = True
        with ExitStack() as on_error:
            on_error.callback(world.close)
            world.open(sensors=observation.needs_sensors or render_mode is not None)
            spec = world.spec
            self._observer = Observer(observation, spec, image_scale)
            on_error.pop_all()
        self.observation_space = self._observer.space
        self.action_space = self._actions.space
        steps_per_s = max(1, round(1.0 / (spec.tick_s * action_repeat)))
        self.metadata = {**self.metadata, "render_fps": steps_per_s}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the episode. Without one, it is drawn from the env's own generator, so
                one seeded reset also fixes all episodes after it.
            options: `split` ("train" or "test") chooses which towns and styles to draw from;
                all others are options of the world, such as `town` or `style`.

        Raises:
            ConfigError: an option is unknown or has a wrong value.
            WorldError: the world cannot start an episode now.
        """
        super().reset(seed=seed)
        episode_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        world_options = self._world_options(episode_seed, dict(options or {}))
        self._episode_over = True
        frame = self.world.reset(episode_seed, world_options)
        self.last_frame = frame
        self._last_control = Control()
        self._distance_m = 0.0
        self._episode_over = False
        observation = self._observer.observe(frame)
        self._show_in_window()
        return observation, {**self._info(frame), "seed": episode_seed, "options": world_options}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action for `action_repeat` ticks, or until an ending is met."""
        if self._episode_over or self.last_frame is None:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        control = self._actions.control(action)
        rewards: defaultdict[str, float] = defaultdict(float)
        for _ in range(self._action_repeat):
            outcome, error = self._advance_one_tick(control)
            for name, value in outcome.rewards.items():
                rewards[name] += value
            if outcome.episode_over:
                break
        outcome = replace(outcome, rewards=dict(rewards))
        self._episode_over = outcome.episode_over
        info = {**self._info(self.last_frame), **outcome_info(outcome)}
        if error is not None:
            info["error"] = error
        observation = self._observer.observe(self.last_frame)
        self._show_in_window()
        terminated = outcome.ending is not None
        return observation, outcome.reward, terminated, outcome.truncated, info

    def render(self) -> ByteArray | None:
        """uint8 (H, W, 3) as the render mode says; None without one, or with "human"."""
        if self.render_mode is None or self.last_frame is None or self.render_mode == "human":
            return None
        return self._rendered()

    def get_state(self) -> EnvState:
        """A snapshot of the episode. `set_state` continues from it bit by bit.

        Raises:
            ResetNeeded: there is no episode yet.
            WorldError: this env's world cannot save its state.
        """
        if self.last_frame is None:
            raise gymnasium.error.ResetNeeded("there is no episode: call reset() first")
        return EnvState(
            self.world.get_state(),
            self.last_frame,
            self._last_control,
            self._distance_m,
            self._episode_over,
            self._observer.get_state(),
            self.np_random.bit_generator.state,
        )

    def set_state(self, state: EnvState) -> tuple[Observation, dict[str, Any]]:
        """Go back to a snapshot of this env; returns its observation and info."""
        self.world.set_state(state.world)
        self.last_frame = state.frame
        self._last_control = state.last_control
        self._distance_m = state.distance_m
        self._episode_over = state.episode_over
        self._observer.set_state(state.observer)
        self.np_random.bit_generator.state = state.rng
        return self._observer.observe(state.frame), self._info(state.frame)

    def close(self) -> None:
        """Close the world and the window. May be called more than once."""
        self._episode_over = True
        self._window.close()
        self.world.close()

    def _world_options(self, seed: int, asked: dict[str, Any]) -> dict[str, Any]:
        """Options of the world's reset: those drawn, replaced by the task's, then by `asked`."""
        known = self.world.option_names
        if known is not None:
            for name in asked:
                if name not in known and name != SPLIT_OPTION:
                    hint = did_you_mean(name, [*sorted(known), SPLIT_OPTION])
                    raise ConfigError(f"reset options: unknown option '{name}'{hint}")
        drawn = draw_options(self._episodes, seed, asked.pop(SPLIT_OPTION, None))
        return {**drawn, **self._task.config.reset_options, **asked}

    def _advance_one_tick(self, control: Control) -> tuple[Outcome, str | None]:
        """Reward and endings of one tick; and the reason, if the world was lost."""
        before = self.last_frame
        assert before is not None
        try:
            after = self.world.step(control)
        except EpisodeEnd:
            return RECORDING_END_OUTCOME, None
        except WORLD_LOST_ERRORS as error:
            return WORLD_LOST_OUTCOME, str(error)
        outcome = self._task.evaluate(Transition(before, control, after, self._last_control))
        self._observer.record(after)
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

    def _rendered(self) -> ByteArray:
        view = self._observer.last_view
        if view is None:
            raise ConfigError("cannot render: this world has no camera")
        return side_by_side(view) if self.render_mode == "side_by_side" else camera_image(view)

    def _show_in_window(self) -> None:
        if self.render_mode == "human":
            self._window.show(self._rendered(), self.metadata["render_fps"])


def outcome_info(outcome: Outcome) -> dict[str, Any]:
    """The part of a step's `info` that comes from its outcome; new objects."""
    return {
        "rewards": dict(outcome.rewards),
        "endings": dict(outcome.endings),
        "ending": outcome.ending or outcome.cutoff,
        "is_success": outcome.success,
    }


def _check_render_mode(render_mode: str | None) -> None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        hint = did_you_mean(render_mode, list(RENDER_MODES))
        raise ConfigError(f"unknown render_mode '{render_mode}'{hint}")
