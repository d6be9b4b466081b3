"""DrivingEnv: a World with a Task, as Gymnasium wants it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import gymnasium
import numpy as np

from bridge.errors import PeerTimeout, RendererLost, WorldError
from bridge.frame import Control, SensorFrame
from bridge.renderer import paint_labels
from bridge.world import World
from configs import ConfigError, did_you_mean
from envs.actions import ActionMapping, ContinuousActions
from envs.observations import Observation, ObservationConfig, Observer
from envs.tasks import Outcome, Task, Transition

LOST = (WorldError, RendererLost, PeerTimeout)
"""Errors after which the episode cannot go on, but the next reset may work."""


LOST_OUTCOME = Outcome({}, None, truncated=True, cutoff="lost")
"""Of a step on which the world was lost."""


class DrivingEnv(gymnasium.Env[Observation, Any]):
    """Drive one vehicle in one World; the Task says what is good and when it ends.

    Observation: a flat Dict of new arrays, see `ObservationConfig`. Action: see
    `ActionMapping`. Info of a step: `rewards` (per term, weighted), `endings` (which are
    met), `ending` (the one that ended the episode, or None), `is_success`, `tick`,
    `speed_mps`, `distance_m` (driven since the reset), `flags`, and `error` where the
    world was lost: then the step is truncated with the last observation and reward 0, and
    the next `reset` works as soon as the world answers again.

    `world` is opened here and closed by `close`. `last_frame` is the frame behind the
    last observation, for logging (its `stamps` tell the seconds per hop).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        world: World,
        task: Task | None = None,
        actions: ActionMapping[Any] | None = None,
        observation: ObservationConfig | None = None,
        image_scale: int = 1,
        render_mode: str | None = None,
    ) -> None:
        """`image_scale`: size of the world's rgb over the size of its labels."""
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ConfigError(
                f"unknown render_mode '{render_mode}'{did_you_mean(render_mode, modes)}"
            )
        config = observation or ObservationConfig()
        self.render_mode = render_mode
        self.last_frame: SensorFrame | None = None
        self.world = world
        self._task = task or Task()
        self._actions = actions or ContinuousActions()
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
        self.metadata = {**self.metadata, "render_fps": max(1, round(1.0 / spec.tick_s))}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. `options` go to the world (`style` to its renderer).

        Without a seed, the episode's own seed is drawn from the env's generator: one
        seeded reset makes the whole sequence of episodes reproducible.
        """
        super().reset(seed=seed)
        world_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        merged = {**self._task.config.reset_options, **(options or {})}
        self._over = True
        frame = self.world.reset(world_seed, merged)
        self.last_frame = frame
        self._last_control = Control()
        self._distance_m = 0.0
        self._over = False
        return self._observer.observe(frame), {**self._info(frame), "seed": world_seed}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive one tick."""
        before = self.last_frame
        if self._over or before is None:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() before step()")
        control = self._actions.control(action)
        try:
            after = self.world.step(control)
        except LOST as error:
            return self._lost(before, error)
        outcome = self._task.judge(Transition(before, control, after, self._last_control))
        self.last_frame, self._last_control = after, control
        terminated = outcome.ending is not None
        self._over = outcome.over
        self._distance_m += abs(after.ego.speed_mps) * (after.time_s - before.time_s)
        info = {**self._info(after), **outcome_info(outcome)}
        return self._observer.observe(after), outcome.reward, terminated, outcome.truncated, info

    def render(self) -> np.ndarray | None:
        """uint8 (H, W, 3) of the last frame: its rgb, or its labels in colour."""
        if self.render_mode is None or self.last_frame is None:
            return None
        view = self._observer.view(self.last_frame)
        if view is None:
            raise ConfigError("nothing to render: this world has no camera")
        return view.rgb.copy() if view.rgb is not None else paint_labels(view)

    def close(self) -> None:
        """Close the world. Allowed more than once."""
        self._over = True
        self.world.close()

    def _info(self, frame: SensorFrame) -> dict[str, Any]:
        return {
            "tick": frame.tick,
            "flags": list(frame.flags),
            "speed_mps": frame.ego.speed_mps,
            "distance_m": self._distance_m,
        }

    def _lost(
        self, before: SensorFrame, error: Exception
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self._over = True
        info = {**self._info(before), **outcome_info(LOST_OUTCOME), "error": str(error)}
        return self._observer.observe(before), 0.0, False, True, info


def outcome_info(outcome: Outcome) -> dict[str, Any]:
    """What `info` tells of a step's worth."""
    return {
        "rewards": outcome.rewards,
        "endings": outcome.endings,
        "ending": outcome.ending or outcome.cutoff,
        "is_success": outcome.success,
    }
