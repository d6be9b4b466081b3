"""How far the ego is behind a slow driver, and ahead of a fast one.

Standing still, crawling and speeding must not earn anything, and yet everybody has to wait at a
red light and to brake before a lower speed limit. So two imaginary cars drive along. The slow one
drives half the speed limit and waits wherever there is something to wait for. The fast one drives
a tenth more than the limit, and brakes gently where the limit falls. What counts is how many
metres the ego has lost against the one, and gained on the other; both can be made up for again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim2street.bridge.frame import LightState, SensorFrame
from sim2street.envs.hazards import hazards_ahead

SLOW_SHARE = 0.5
"""Speed of the slow car, relative to the speed limit."""

FAST_SHARE = 1.1
"""Speed of the fast car, relative to the speed limit."""

FAST_BRAKE_MPS2 = 1.5
"""Deceleration of the fast car where the limit falls."""

WAIT_FOR_LIGHT_M = 30.0
WAIT_FOR_VEHICLE_M = 15.0
WAIT_FOR_HAZARD_M = 30.0
"""The slow car waits for a red or yellow light, a vehicle ahead or a hazard this close."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The ego compared with the two imaginary cars.

    Attributes:
        behind_m: distance lost against the slow car, at least 0.
        ahead_m: distance gained on the fast car, at least 0.
        fast_mps: present speed of the fast car.
    """

    behind_m: float = 0.0
    ahead_m: float = 0.0
    fast_mps: float = 0.0

    @classmethod
    def at_start(cls, frame: SensorFrame) -> Pace:
        """The pace at the start of an episode."""
        ego = frame.ego
        return cls(fast_mps=max(FAST_SHARE * ego.speed_limit_mps, ego.speed_mps))

    def after(self, frame: SensorFrame, dt_s: float) -> Pace:
        """The pace `dt_s` seconds later, at this frame. Without a speed limit it stays."""
        ego = frame.ego
        if ego.speed_limit_mps <= 0.0:
            return self
        lost_m = (SLOW_SHARE * ego.speed_limit_mps - ego.speed_mps) * dt_s
        if lost_m > 0.0 and may_wait(frame):
            lost_m = 0.0
        fast_mps = max(FAST_SHARE * ego.speed_limit_mps, self.fast_mps - FAST_BRAKE_MPS2 * dt_s)
        return Pace(
            behind_m=max(0.0, self.behind_m + lost_m),
            ahead_m=max(0.0, self.ahead_m + (ego.speed_mps - fast_mps) * dt_s),
            fast_mps=fast_mps,
        )


def may_wait(frame: SensorFrame) -> bool:
    """Whether there is a reason to drive slowly or to stand."""
    light, lead = frame.ego.next_light, frame.ego.lead
    must_stop = light is not None and light.state is not LightState.GREEN
    if light is not None and must_stop and light.distance_m <= WAIT_FOR_LIGHT_M:
        return True
    if lead is not None and lead.distance_m <= WAIT_FOR_VEHICLE_M:
        return True
    return any(hazard.distance_m <= WAIT_FOR_HAZARD_M for hazard in hazards_ahead(frame))
