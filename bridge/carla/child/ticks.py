"""Ticks a server in synchronous mode, and notices if another client does so too."""

from __future__ import annotations

from typing import Any

from failures import ChildError

_TICK_TOLERANCE_S = 1e-5


class Ticker:
    """Ticks the server. Between two of its ticks the server must not have advanced.

    Raises:
        ChildError: another client ticks the server, or has changed its settings.
    """

    def __init__(self, world: Any, tick_s: float, timeout_s: float) -> None:
        self._world = world
        self._tick_s = tick_s
        self._timeout_s = timeout_s
        self._frame = None  # type: int | None

    def tick(self) -> int:
        """Tick the server once; returns the number of the frame."""
        frame = int(self._world.tick(self._timeout_s))
        before, self._frame = self._frame, frame
        if before is not None and frame != before + 1:
            raise self._not_alone(frame - before - 1)
        delta_s = self._world.get_snapshot().timestamp.delta_seconds
        if abs(delta_s - self._tick_s) > _TICK_TOLERANCE_S:
            raise ChildError(
                "ticks",
                f"a tick took {delta_s:.4f} s of simulated time instead of {self._tick_s:.4f} s, "
                "so another client has changed fixed_delta_seconds",
            )
        return frame

    def _not_alone(self, frames: int) -> ChildError:
        """The error for frames between two ticks of ours."""
        if self._world.get_settings().synchronous_mode:
            why = "so another client ticks it too, or has changed its settings"
        else:
            why = "because another client has switched synchronous mode off"
        return ChildError(
            "ticks", f"the server advanced by {frames} frames between two of our ticks, {why}"
        )
