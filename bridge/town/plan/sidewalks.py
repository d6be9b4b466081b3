"""Where the sidewalks along roads lie."""

from __future__ import annotations

from sim2street.bridge.town.plan.layout import Points, Road
from sim2street.bridge.town.plan.polyline import offset


def sidewalk_lines(road: Road, side: int) -> tuple[Points, Points]:
    """Kerb line and property line, each (N, 2), of one side of a road (0 left, 1 right).

    Both run in the direction of `road.centre_m` and have its number of points.
    """
    sign = 1.0 if side == 0 else -1.0
    kerb = road.kerb_m[side]
    kerb_line = offset(road.centre_m, sign * kerb)
    return kerb_line, offset(road.centre_m, sign * (kerb + road.sidewalk_width_m))
