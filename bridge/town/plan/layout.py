"""The layout of a town: streets, junctions, lanes, traffic lights and parked cars.

Frozen data in the world frame (x east, y north, metres). The ground is flat at z = 0, and traffic
drives on the right. `layout_generator.make_layout` makes a layout from a town id. Traffic,
pedestrians, the ego and the scenery are built on it and never change it.

Actors and scenery have separate ranges of instance ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""float64 (N, 2): x, y in the world frame, metres."""

Turn = Literal["straight", "left", "right"]

TRAIN_TOWNS = range(0, 900)
"""Ids of the towns for training."""

TEST_TOWNS = range(900, 1000)
"""Ids of the towns for tests. Never train in these."""

FIRST_VEHICLE_ID = 1
FIRST_PEDESTRIAN_ID = 10_000
FIRST_PARKED_ID = 20_000
FIRST_SCENERY_ID = 100_000
"""First instance id of the scenery: buildings, trees, posts."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane on a road, or a connector: a lane through a junction.

    Attributes:
        points_m: float64 (N, 2), centre line in the direction of travel, equally spaced, about
            1 m apart. The end of a road lane is its stop line.
        next_ids: lanes that continue this one, at least one.
        turn: of a connector; "straight" on roads.
        road_id: None for a connector. junction_id: None on a road.
        light_id: the traffic light at the end of a road lane, or None.
        index: 0 for the lane next to the road's centre line, and for connectors.
        forward: whether it runs in the direction of `Road.centre_m`; True for connectors.
    """

    lane_id: int
    points_m: Points
    width_m: float
    speed_limit_mps: float
    next_ids: tuple[int, ...]
    turn: Turn = "straight"
    road_id: int | None = None
    junction_id: int | None = None
    light_id: int | None = None
    index: int = 0
    forward: bool = True


@dataclass(frozen=True, slots=True)
class Road:
    """A street between the stop lines of two junctions. Left and right are along `centre_m`.

    Cross-section, from the centre line to either side: `half_width_m` of lanes,
    `parking_width_m` of parking strip, the kerb, `sidewalk_width_m` of sidewalk, then the
    property line.

    Attributes:
        centre_m: float64 (N, 2), about 1 m apart, from the stop line of the start junction to
            the stop line of the end junction.
        parking_width_m: on the left and on the right; 0 without a parking strip.
        lane_ids: of all its lanes.
    """

    road_id: int
    centre_m: Points
    half_width_m: float
    parking_width_m: tuple[float, float]
    sidewalk_width_m: float
    lanes_each_way: int
    start_junction_id: int
    end_junction_id: int
    speed_limit_mps: float
    lane_ids: tuple[int, ...]

    @property
    def kerb_m(self) -> tuple[float, float]:
        """Distances from the centre line to the left and to the right kerb."""
        left, right = self.parking_width_m
        return self.half_width_m + left, self.half_width_m + right


@dataclass(frozen=True, slots=True)
class Crossing:
    """A crosswalk (zebra crossing) over one arm of a junction.

    Attributes:
        polygon_m: (4, 2), counter-clockwise, from kerb to kerb.
        walk_m: (2, 2), from the middle of one sidewalk to the middle of the other.
    """

    crossing_id: int
    junction_id: int
    road_id: int
    polygon_m: Points
    walk_m: Points


@dataclass(frozen=True, slots=True)
class Corner:
    """The sidewalk around a corner of a junction: a strip between two lines.

    It joins the sidewalk of road `road_ids[0]` to that of `road_ids[1]`, whose arm is the next
    one counter-clockwise. Both lines start and end beside the stop lines of these arms.

    Attributes:
        kerb_m: (K, 2), along the kerb, counter-clockwise around the junction.
        outer_m: (K, 2), along the property line, each row opposite that of `kerb_m`.
    """

    road_ids: tuple[int, int]
    kerb_m: Points
    outer_m: Points


@dataclass(frozen=True, slots=True)
class Junction:
    """A junction of three or four roads. It reaches to the stop lines of its arms.

    Attributes:
        outline_m: (M, 2), counter-clockwise polygon of its carriageway: kerbs with round
            corners, and straight lines across the roads.
        road_ids: counter-clockwise around the centre.
        corners: one after each arm, in the order of `road_ids`.
        crossings: one for each arm, in the order of `road_ids`.
        has_lights: whether it has traffic lights.
    """

    junction_id: int
    centre_m: Points
    outline_m: Points
    road_ids: tuple[int, ...]
    corners: tuple[Corner, ...]
    crossings: tuple[Crossing, ...]
    has_lights: bool


@dataclass(frozen=True, slots=True)
class Light:
    """The traffic light of one arm of a junction.

    Attributes:
        stop_line_m: (2, 2), ends of the stop line: on the road's centre line, and on the right
            edge of its lanes. `junction_geometry` decides how far from the junction it is.
        position_m: (2,), foot of the post, on the sidewalk beside the stop line.
        heading_rad: direction of the traffic it controls. The light itself faces that traffic.
        group: 0 or 1. Lights of one junction and group are green at the same time.
    """

    light_id: int
    junction_id: int
    road_id: int
    stop_line_m: Points
    position_m: Points
    heading_rad: float
    group: int


@dataclass(frozen=True, slots=True)
class ParkedCar:
    """A parked vehicle: the centre of its box, its heading, and its model's name."""

    actor_id: int
    x_m: float
    y_m: float
    heading_rad: float
    model: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole town. Ids of roads, junctions, lanes and lights are indices into these tuples.

    Attributes:
        bounds_m: (lowest x, lowest y, highest x, highest y) of all its streets.
    """

    seed: int
    roads: tuple[Road, ...]
    junctions: tuple[Junction, ...]
    lanes: tuple[Lane, ...]
    lights: tuple[Light, ...]
    parked: tuple[ParkedCar, ...]
    bounds_m: tuple[float, float, float, float]
