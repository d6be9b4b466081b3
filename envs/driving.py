"""DrivingEnv: the Gymnasium env of one vehicle in one World with one Task.

Where to change what: reward and endings in `rewards.py` and `tasks.py`, observations in
`observations.py`, actions in `actions.py`, towns and styles of episodes in `episodes.py`, the
`info` of steps and snapshots in `episode_state.py`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import gymnasium

from sim2street.bridge.errors import EpisodeEnd, PeerTimeout, RendererLost, WorldError
from sim2street.bridge.frame import ByteArray, Control, SensorFrame
from sim2street.bridge.world import World
from sim2street.configs import ConfigError
from sim2street.envs.actions import ActionMapping, ContinuousActions
from sim2street.envs.episode_state import EnvState, Episode, check_snapshot
from sim2street.envs.episodes import EpisodeConfig, reset_options
from sim2street.envs.observations import Observation, ObservationConfig, Observer, ObserverState
from sim2street.envs.rendering import (
    RENDER_MODES,
    Window,
    camera_image,
    check_render_mode,
    side_by_side,
)
from sim2street.envs.tasks import Outcome, Task

WORLD_LOST_ERRORS = (WorldError, RendererLost, PeerTimeout)
"""Errors that end the episode but not the env: the next reset may work."""

LOST = "lost"
"""`info["ending"]` of a tick on which the world or its renderer was lost."""

SEED_LIMIT = 2**63
"""Renderers, messages and arrays of infos hold signed seeds; larger ones wrap around."""

RECORDING_END = "recording_end"
"""`info["ending"]` of a tick after the last one of a recording."""


class DrivingEnv(gymnasium.Env[Observation, Any]):
    """Drive one vehicle in a World. The Task gives the reward and ends the episode.

    Observation: a flat Dict of new arrays, or one plain array; see `ObservationConfig`.
    Action: see `ActionMapping`.

    Info of a reset and of a step, always the same keys: `rewards` (reward term -> weighted
    value), `endings` (ending -> whether it is met), `ending` (what ended the episode, or an
    empty text), `is_success`, `tick`, `speed_mps`, `distance_m` (driven since the reset),
    `flags` (of the frame, with spaces between), `seed` (of the episode), `options` (that the
    world was reset with; lists as arrays), `error`. If the world or its renderer is lost, the
    step is truncated with the last observation again, the failed tick earns no reward, and
    `error` gives the reason (else it is empty); the next `reset` works once the world answers.

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
        check_render_mode(render_mode)
        if action_repeat < 1:
            raise ConfigError(f"action_repeat must be at least 1, got {action_repeat}")
        observation = observation or ObservationConfig()
        self.render_mode = render_mode
        self.world = world
        self._task = task or Task()
        self._actions = actions or ContinuousActions()
        self._episodes = episodes or EpisodeConfig()
        self._action_repeat = action_repeat
        self._window = Window("sim2street")
        self._episode: Episode | None = None
        with ExitStack() as on_error:
            on_error.callback(world.close)
            sensors = observation.needs_sensors or render_mode is not None
            world.open(sensors)
            spec = world.spec
            self._observer = Observer(observation, spec, image_scale, sensors)
            on_error.pop_all()
        self.observation_space = self._observer.space
        self.action_space = self._actions.space
        steps_per_s = max(1, round(1.0 / (spec.tick_s * action_repeat)))
        self.metadata = {**self.metadata, "render_fps": steps_per_s}

    @property
    def last_frame(self) -> SensorFrame | None:
        """The frame behind the last observation; None before the first reset."""
        return None if self._episode is None else self._episode.frame

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
        drawn = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        episode_seed = drawn % SEED_LIMIT
        task_options = self._task.config.reset_options
        world_options = reset_options(
            self._episodes, episode_seed, task_options, options or {}, self.world.option_names
        )
        self._episode = None
        frame = self.world.reset(episode_seed, world_options)
        self._episode = Episode.start(episode_seed, world_options, frame)
        observation = self._observer.observe(frame)
        self._show_in_window()
        return observation, self._episode.info(self._task.nothing())

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action for `action_repeat` ticks, or until an ending is met."""
        episode = self._episode
        if episode is None or episode.over:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        control = self._actions.control(action)
        rewards: defaultdict[str, float] = defaultdict(float)
        for _ in range(self._action_repeat):
            outcome, error = self._advance_one_tick(episode, control)
            for name, value in outcome.rewards.items():
                rewards[name] += value
            if outcome.episode_over:
                break
        outcome = replace(outcome, rewards=dict(rewards))
        episode.over = outcome.episode_over
        observation = self._observer.observe(episode.frame)
        self._show_in_window()
        terminated, info = outcome.ending is not None, episode.info(outcome, error)
        return observation, outcome.reward, terminated, outcome.truncated, info

    def render(self) -> ByteArray | None:
        """uint8 (H, W, 3) as the render mode says; None without one, or with "human"."""
        if self.render_mode is None or self._episode is None or self.render_mode == "human":
            return None
        return self._rendered()

    def get_state(self) -> EnvState:
        """A snapshot of the episode. `set_state` continues from it bit by bit.

        Raises:
            ResetNeeded: there is no episode yet.
            WorldError: this env's world cannot save its state.
        """
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("there is no episode: call reset() first")
        return EnvState(
            world=self.world.get_state(),
            task=self._task.config,
            episode=replace(self._episode),
            views=self._observer.views,
            observer=self._observer.get_state(),
            rng=self.np_random.bit_generator.state,
        )

    def set_state(self, state: EnvState) -> tuple[Observation, dict[str, Any]]:
        """Go back to a snapshot; returns its observation and info.

        It may come from another env with the same task in an equal world, also from one that
        observes something else: a snapshot made without images can be continued with images.

        Raises:
            ConfigError: it is no snapshot, or one of another task or world.
            WorldError: this env's world cannot restore a state.
        """
        state = check_snapshot(state, self._task.config)
        frame = self.world.set_state(state.world)
        if state.views == self._observer.views:
            frame = state.episode.frame
            self._observer.set_state(state.observer)
        else:  # the history of other observations is of no use: begin a new one here
            self._observer.set_state(ObserverState())
        self._episode = state.episode_at(frame)
        self.np_random.bit_generator.state = state.rng
        return self._observer.observe(frame), self._episode.info(self._task.nothing())

    def close(self) -> None:
        """Close the world and the window. May be called more than once."""
        self._window.close()
        self.world.close()
        if self._episode is not None:
            self._episode.over = True

    def __deepcopy__(self, memo: dict[int, Any]) -> DrivingEnv:
        """A copy with a world of its own, where all parts can be copied (TypeError elsewhere)."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        try:
            copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        except TypeError as error:
            raise TypeError(
                f"this env cannot be copied ({error}). Make a second env with the same settings, "
                "and continue there with second.unwrapped.set_state(first.unwrapped.get_state())"
            ) from error
        return copied

    def _advance_one_tick(self, episode: Episode, control: Control) -> tuple[Outcome, str]:
        """Reward and endings of one tick; and the reason, if the world was lost."""
        try:
            after = self.world.step(control)
        except EpisodeEnd:
            return self._task.nothing(RECORDING_END), ""
        except WORLD_LOST_ERRORS as error:
            return self._task.nothing(LOST), str(error)
        self._observer.record(after)
        return self._task.evaluate(episode.advance(control, after)), ""

    def _rendered(self) -> ByteArray:
        view = self._observer.last_view
        if view is None:
            raise ConfigError("cannot render: this world has no camera")
        return side_by_side(view) if self.render_mode == "side_by_side" else camera_image(view)

    def _show_in_window(self) -> None:
        if self.render_mode == "human":
            self._window.show(self._rendered(), self.metadata["render_fps"])
