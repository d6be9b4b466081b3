"""The data of one simulator tick. All packages exchange these types.

Frames of reference:

* **world**: right-handed, x east, y north, z up, in metres.
* **body** (of the ego or an actor): right-handed, x forward, y left, z up. The origin is on the
  ground, below the ego's rear axle (middle) or below an actor's bounding box (centre).
* **camera**: OpenCV axes, x right, y down, z forward. Pixel (0, 0) is the centre of the top left
  pixel.

A pose is a float32 (4, 4) matrix `[R t; 0 0 0 1]` that maps points of its own frame to the world.

All types are frozen, and nobody writes to their arrays after construction. `validate()` checks
shapes, dtypes and ranges. It runs where data crosses a boundary (a socket, a file, another
process), not at every tick.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim2street.bridge import frame_checks
from sim2street.bridge.camera import Camera as Camera  # part of this contract: re-exported
from sim2street.bridge.errors import FrameError
from sim2street.bridge.surfaces import Surfaces

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
IdArray = npt.NDArray[np.uint32]

SKY_DEPTH_M = 1000.0
"""Depth of the sky and of everything farther away. Depth is never infinite."""

ROUTE_POINTS = 6
"""Largest number of points in `EgoState.route_ahead_m`."""

ROUTE_SPACING_M = 5.0
"""Distance between neighbouring points of `EgoState.route_ahead_m` along the route."""

MAX_TAG = 28
"""Highest label tag (`sim2street.bridge.labels.Tag`); 0 means unknown."""

POSE_UNKNOWN = "pose_unknown"
"""Flag: the engine sent no camera poses, so camera motion between frames is unknown."""

EGO_UNKNOWN = "ego_unknown"
"""Flag: the engine sent no ego state, so `SensorFrame.ego` holds defaults."""


@dataclass(frozen=True, slots=True)
class View:
    """What one camera saw in one tick; images are None where the engine does not send them.

    Attributes:
        camera: intrinsics of the label image, whose size is (H, W).
        pose: float32 (4, 4), camera to world.
        labels: uint8 (H, W), tags 0..28.
        depth_m: float32 (H, W), distance along the optical axis (not along the ray), in
            [0, 1000]; the sky is 1000.
        instances: uint32 (H, W), 0 for none. An actor's pixels carry its `Actor.actor_id`;
            static objects such as buildings may have ids of their own.
        motion_px: float32 (H, W, 2), offset (x, y) in pixels from here to the place where the
            same surface point was at tick `motion_from_tick`; for engines without depth.
        motion_from_tick: the earlier tick that `motion_px` points to.
        rgb: uint8 (k*H, k*W, 3) for a whole k >= 1, sRGB.
        surfaces: exact texture coordinates, from worlds that know them.
    """

    camera: Camera
    pose: FloatArray
    labels: ByteArray | None = None
    depth_m: FloatArray | None = None
    instances: IdArray | None = None
    motion_px: FloatArray | None = None
    motion_from_tick: int | None = None
    rgb: ByteArray | None = None
    surfaces: Surfaces | None = None

    def validate(self) -> None:
        """Raise FrameError where a shape, dtype or range breaks the contract."""
        self.camera.validate()
        size = (self.camera.height_px, self.camera.width_px)
        frame_checks.check_pose("view.pose", self.pose)
        frame_checks.check_array("view.labels", self.labels, np.uint8, size)
        frame_checks.check_array("view.depth_m", self.depth_m, np.float32, size)
        frame_checks.check_array("view.instances", self.instances, np.uint32, size)
        frame_checks.check_motion("view.motion_px", self.motion_px, *size)
        if self.labels is not None:
            advice = "convert the engine's ids with sim2street.bridge.label_maps first"
            frame_checks.check_range("view.labels", self.labels, 0, MAX_TAG, advice)
        if self.depth_m is not None:
            advice = f"send metres, and {SKY_DEPTH_M:.0f} for the sky and everything farther"
            frame_checks.check_range("view.depth_m", self.depth_m, 0.0, SKY_DEPTH_M, advice)
        frame_checks.check_rgb("view.rgb", self.rgb, *size)
        if self.surfaces is not None:
            self.surfaces.validate(size)


@dataclass(frozen=True, slots=True)
class Actor:
    """A vehicle or pedestrian, moving or not.

    Attributes:
        actor_id: in 1..2^32-1, its own and constant during an episode; `View.instances` on its
            pixels.
        tag: label tag (`sim2street.bridge.labels.Tag`), for example 14 for a car.
        pose: float32 (4, 4), body to world.
        extent_m: half the bounding box's size along x, y, z of the body frame.
        velocity_mps: (x, y, z) in the world frame.
    """

    actor_id: int
    tag: int
    pose: FloatArray
    extent_m: tuple[float, float, float]
    velocity_mps: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def validate(self) -> None:
        """Raise FrameError where a value breaks the contract."""
        frame_checks.check_pose(f"actor {self.actor_id}.pose", self.pose)
        numbers = (*self.extent_m, *self.velocity_mps)
        if not all(map(math.isfinite, numbers)) or min(self.extent_m) < 0.0:
            raise FrameError(
                f"actor {self.actor_id}: extent_m must be half sizes >= 0 and velocity_mps finite, "
                f"got {self.extent_m} and {self.velocity_mps}"
            )
        if not (0 < self.actor_id < 2**32 and 0 <= self.tag <= MAX_TAG):
            raise FrameError(
                f"actor: actor_id must be in 1..2^32-1 and tag in 0..{MAX_TAG}, "
                f"got actor_id {self.actor_id} and tag {self.tag}"
            )


def check_actor_ids(actors: Sequence[Actor]) -> None:
    """Raise FrameError if two actors have the same id."""
    ids = [actor.actor_id for actor in actors]
    if len(set(ids)) != len(ids):
        twice = next(number for number in ids if ids.count(number) > 1)
        raise FrameError(f"actors: two of them have the id {twice}; each needs an id of its own")


class LightState(enum.Enum):
    """Colour that a traffic light shows."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class NextLight:
    """The next traffic light for the ego's lane; distance from the ego's front to its stop line."""

    state: LightState
    distance_m: float


@dataclass(frozen=True, slots=True)
class LeadVehicle:
    """The nearest vehicle ahead in the ego's lane; distance from bumper to bumper."""

    distance_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class EgoState:
    """State of the ego vehicle, its lane and its route.

    Attributes:
        pose: float32 (4, 4), body to world.
        velocity_mps: (x, y, z) in the world frame.
        yaw_rate_rps: rad/s, > 0 turns left.
        lane_offset_m: lateral distance from the lane's centre line, > 0 to its left.
        heading_error_rad: heading minus the lane's direction, > 0 points left of the lane.
        curvature_1pm: of the lane ahead in 1/m, > 0 bends left.
        route_distance_m: distance left to the goal along the route; None without a route.
        collision, off_lane: True if it happened in this tick.
        route_ahead_m: (x, y) in the body frame of up to `ROUTE_POINTS` points on the route,
            `ROUTE_SPACING_M` apart, the first one spacing ahead; empty if unknown.
    """

    pose: FloatArray
    velocity_mps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_rate_rps: float = 0.0
    speed_mps: float = 0.0
    lane_offset_m: float = 0.0
    heading_error_rad: float = 0.0
    curvature_1pm: float = 0.0
    speed_limit_mps: float = 0.0
    next_light: NextLight | None = None
    lead: LeadVehicle | None = None
    route_distance_m: float | None = None
    collision: bool = False
    off_lane: bool = False
    route_ahead_m: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Weather:
    """Weather and time of day. The sun's altitude is in [-90, 90], all others in [0, 1]."""

    sun_altitude_deg: float = 45.0
    cloudiness: float = 0.2
    rain: float = 0.0
    fog: float = 0.0
    wetness: float = 0.0

    def validate(self) -> None:
        """Raise FrameError where a value is outside its range or not finite."""
        if not -90.0 <= self.sun_altitude_deg <= 90.0:  # NaN fails as well
            raise FrameError(
                f"weather.sun_altitude_deg must be in [-90, 90], got {self.sun_altitude_deg}"
            )
        for name in ("cloudiness", "rain", "fog", "wetness"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise FrameError(f"weather.{name} must be in [0, 1], got {value}")


@dataclass(frozen=True, slots=True)
class Control:
    """Driving command for one tick.

    Attributes:
        steer: in [-1, 1], > 0 turns right (CARLA's convention).
        throttle, brake: in [0, 1].
        reverse: True selects the reverse gear.
    """

    steer: float = 0.0
    throttle: float = 0.0
    brake: float = 0.0
    reverse: bool = False

    def validate(self) -> None:
        """Raise FrameError where a value is outside its range or not finite."""
        for name, low in (("steer", -1.0), ("throttle", 0.0), ("brake", 0.0)):
            value = getattr(self, name)
            if not low <= value <= 1.0:  # NaN fails as well
                raise FrameError(f"control.{name} must be in [{low:g}, 1], got {value}")


@dataclass(frozen=True, slots=True)
class SensorFrame:
    """Everything that a world reports about one tick.

    Attributes:
        tick: 0 after a reset, then one more at every step.
        episode: one more at every reset.
        time_s: simulated time since the reset.
        views: by camera name; empty if the world was opened without sensors.
        stamps: seconds of wall-clock time per stage ("world", "encode", "render", ...).
        flags: warnings such as `POSE_UNKNOWN`, or "render_reset" after a renderer restarted
            and lost its temporal state.
    """

    tick: int
    episode: int
    time_s: float
    ego: EgoState
    actors: tuple[Actor, ...] = ()
    weather: Weather = Weather()
    views: Mapping[str, View] = field(default_factory=dict)
    stamps: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def view(self) -> View:
        """The only view. Raises FrameError if there is not exactly one."""
        if len(self.views) != 1:
            raise FrameError(
                f"frame.view needs exactly one view, got {list(self.views)}; use frame.views[name]"
            )
        return next(iter(self.views.values()))

    def validate(self) -> None:
        """Raise FrameError where any part breaks its contract."""
        if self.tick < 0 or self.episode < 0 or not math.isfinite(self.time_s):
            raise FrameError(
                "frame: tick and episode must be >= 0 and time_s finite, "
                f"got {self.tick}, {self.episode} and {self.time_s}"
            )
        frame_checks.check_pose("ego.pose", self.ego.pose)
        for actor in self.actors:
            actor.validate()
        check_actor_ids(self.actors)
        for view in self.views.values():
            view.validate()


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """What a world offers; known before the first tick.

    Attributes:
        tick_s: simulated seconds per tick.
        cameras: view name to intrinsics.
        fields: names of the optional `View` fields that every view has ("labels", ...).
        taxonomy: `sim2street.bridge.labels.taxonomy_fingerprint()` of the tags in use.
    """

    name: str
    version: str
    tick_s: float
    cameras: Mapping[str, Camera]
    fields: frozenset[str]
    taxonomy: str
