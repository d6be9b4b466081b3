"""What a town is made of: streets, junctions, lanes, lights and parked cars.

Plain frozen data in the world frame (x east, y north, metres; the ground is flat, z = 0;
traffic drives on the right). `make_layout` (bridge/town/plan/layout_build.py) makes one from a
town id; traffic, pedestrians, ego and scenery are built on it and never change it.

Instance and actor ids never collide: each kind owns a range.
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
"""Town ids to train in."""

TEST_TOWNS = range(900, 1000)
"""Town ids set aside: never train in these."""

FIRST_VEHICLE_ID = 1
FIRST_PEDESTRIAN_ID = 10_000
FIRST_PARKED_ID = 20_000
FIRST_SCENERY_ID = 100_000
"""Scenery (buildings, trees, posts) numbers its instances from here."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane, on a road or through a junction.

    Attributes:
        points_m: float64 (N, 2), centre line in travel direction, about 1 m apart
            (equally spaced within a lane).
        next_ids: lanes that continue this one (at least one).
        turn: of a lane through a junction; "straight" on roads.
        road_id: None inside a junction. junction_id: None on a road.
        light_id: the light that rules the end of this lane (roads only), or None.
        index: 0 is the lane next to the road's middle (0 inside a junction).
        forward: True where it runs along `Road.centre_m` (True inside a junction).
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
    """A street between two junctions, seen along `centre_m`.

    Cross-section, from the middle to either side: `half_width_m` of driving lanes,
    `parking_width_m` of parking strip (left side, right side; 0 where there is none), the
    kerb, `sidewalk_width_m` of sidewalk, then the property line.

    Attributes:
        centre_m: float64 (N, 2), about 1 m apart, from the mouth (stop line) of the start
            junction to the mouth of the end junction.
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
        """Distance of the left and of the right kerb from the middle."""
        left, right = self.parking_width_m
        return self.half_width_m + left, self.half_width_m + right


@dataclass(frozen=True, slots=True)
class Crossing:
    """A zebra crossing over one arm of a junction.

    Attributes:
        polygon_m: (4, 2), counter-clockwise, kerb to kerb.
        walk_m: (2, 2), from the middle of one sidewalk to the middle of the other.
    """

    crossing_id: int
    junction_id: int
    road_id: int
    polygon_m: Points
    walk_m: Points


@dataclass(frozen=True, slots=True)
class Corner:
    """The sidewalk around a corner of a junction, a strip between two lines.

    It joins the sidewalk of road `road_ids[0]` (whose arm comes first, counter-clockwise)
    to that of `road_ids[1]`; both lines start and end at the mouths of these arms.

    Attributes:
        kerb_m: (K, 2), along the kerb, seen counter-clockwise around the junction.
        outer_m: (K, 2), along the property line, row by row opposite `kerb_m`.
    """

    road_ids: tuple[int, int]
    kerb_m: Points
    outer_m: Points


@dataclass(frozen=True, slots=True)
class Junction:
    """Where three or four roads meet; reaches to the stop lines of its arms.

    Attributes:
        outline_m: (M, 2), counter-clockwise polygon of its carriageway (kerb lines with
            round corners, straight across the mouths).
        road_ids: counter-clockwise around the centre.
        corners: one after every arm, in the order of `road_ids`.
        crossings: one for every arm, in the order of `road_ids`.
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
        stop_m: (2, 2), the stop line from the road's middle to its right edge.
        position_m: (2,), foot of the post: on the sidewalk, right of the stop line.
        heading_rad: direction of the traffic it rules; its face looks the other way.
        group: lights of one junction and group are green together (0 or 1).
    """

    light_id: int
    junction_id: int
    road_id: int
    stop_m: Points
    position_m: Points
    heading_rad: float
    group: int


@dataclass(frozen=True, slots=True)
class ParkedCar:
    """A parked vehicle: the middle of its box, its heading and its model's name."""

    actor_id: int
    x_m: float
    y_m: float
    heading_rad: float
    model: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole town. `bounds_m` = (x low, y low, x high, y high) of all its streets.

    `roads[i].road_id == i`, and likewise for junctions, lanes and lights.
    """

    seed: int
    roads: tuple[Road, ...]
    junctions: tuple[Junction, ...]
    lanes: tuple[Lane, ...]
    lights: tuple[Light, ...]
    parked: tuple[ParkedCar, ...]
    bounds_m: tuple[float, float, float, float]
