"""What one tick of a driving world looks like: the types everything else speaks.

Frames of reference (used everywhere in this project):

* **world**: right-handed, x east, y north, z up, metres.
* **body** (ego, actors): right-handed, x forward, y left, z up; the origin is on the
  ground below the middle of the rear axle (ego) or of the bounding box (actors).
* **camera**: OpenCV axes, x right, y down, z forward; pixel (0, 0) is the centre of the
  top left pixel.

A pose is a 4x4 float32 matrix that takes points of its own frame to the world.
All types are frozen; arrays are not to be written to after construction.
`validate()` checks shapes, dtypes and ranges, and is called where data crosses a
boundary (a socket, a file, another process), not inside the hot path.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import FrameError

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
IdArray = npt.NDArray[np.uint32]

SKY_DEPTH_M = 1000.0
"""Depth of the sky and of everything farther: the far plane, never infinity."""

ROUTE_POINTS = 6
ROUTE_SPACING_M = 5.0
"""How many points of the route ahead a frame tells, and how far apart they are."""

MAX_TAG = 28
"""Highest label tag (CARLA >= 0.9.14); 0 means unknown."""

POSE_UNKNOWN = "pose_unknown"
"""Flag of a frame whose views came without poses: how they moved cannot be known."""

EGO_UNKNOWN = "ego_unknown"
"""Flag of a frame that came without an ego state."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Pinhole intrinsics in pixels of the label image."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    @classmethod
    def from_fov(cls, width_px: int, height_px: int, fov_deg: float) -> Camera:
        """Square pixels, centred principal point, `fov_deg` horizontal field of view.

        The centre of the image lies between pixels, hence `(size - 1) / 2` in a frame
        whose origin is the centre of the first pixel.
        """
        if not 1.0 <= fov_deg <= 170.0:
            raise FrameError(f"camera fov_deg must be in [1, 170], got {fov_deg}")
        focal_px = width_px / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        return cls(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        return math.degrees(2.0 * math.atan(self.width_px / (2.0 * self.fx_px)))

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The same camera at another resolution (pixel-centre convention kept)."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return Camera(
            width_px,
            height_px,
            self.fx_px * sx,
            self.fy_px * sy,
            (self.cx_px + 0.5) * sx - 0.5,
            (self.cy_px + 0.5) * sy - 0.5,
        )

    def validate(self) -> None:
        """Raise FrameError where a size or a focal length is not positive and finite."""
        values = (self.fx_px, self.fy_px, self.cx_px, self.cy_px)
        if self.width_px < 1 or self.height_px < 1 or not all(map(math.isfinite, values)):
            raise FrameError(f"camera: sizes must be positive and intrinsics finite, got {self}")
        if self.fx_px <= 0 or self.fy_px <= 0:
            raise FrameError(f"camera: focal lengths must be positive, got {self}")


@dataclass(frozen=True, slots=True)
class View:
    """What one camera saw in one tick.

    Attributes:
        camera: intrinsics of the label image, size (H, W).
        pose: float32 (4, 4), camera (OpenCV axes) to world.
        labels: uint8 (H, W) tags 0..28, or None.
        depth_m: float32 (H, W), planar z along the optical axis; sky = 1000, never inf;
            or None.
        instances: uint32 (H, W), 0 = none; equals `Actor.actor_id` on an actor's pixels
            (static things such as buildings may have ids of their own); or None.
        motion_px: float32 (H, W, 2), only from engines without depth: where this pixel's
            surface was in the view of tick `motion_from_tick`, as an offset in pixels.
        rgb: uint8 (k*H, k*W, 3): may be larger than the labels; or None.
    """

    camera: Camera
    pose: FloatArray
    labels: ByteArray | None = None
    depth_m: FloatArray | None = None
    instances: IdArray | None = None
    motion_px: FloatArray | None = None
    motion_from_tick: int | None = None
    rgb: ByteArray | None = None

    def validate(self) -> None:
        """Raise FrameError where a shape, dtype or range breaks the contract."""
        self.camera.validate()
        size = (self.camera.height_px, self.camera.width_px)
        _check_pose("view.pose", self.pose)
        _check_array("view.labels", self.labels, np.uint8, size)
        _check_array("view.depth_m", self.depth_m, np.float32, size)
        _check_array("view.instances", self.instances, np.uint32, size)
        _check_array("view.motion_px", self.motion_px, np.float32, (*size, 2))
        if self.labels is not None and int(self.labels.max()) > MAX_TAG:
            raise FrameError(
                f"view.labels: tags are 0..{MAX_TAG}, got {int(self.labels.max())}; "
                "map the engine's ids with sim2street.bridge.labels first"
            )
        if self.depth_m is not None:
            low, high = float(self.depth_m.min()), float(self.depth_m.max())
            if not (low >= 0.0 and high <= SKY_DEPTH_M):  # also refuses nan
                raise FrameError(
                    f"view.depth_m: expected [0, {SKY_DEPTH_M:.0f}] m without nan or inf, "
                    f"got [{low}, {high}]"
                )
        if self.motion_px is not None and not np.isfinite(self.motion_px).all():
            raise FrameError(
                "view.motion_px: must be finite; where a surface was not seen before, let the "
                "offset point outside the image"
            )
        if self.rgb is not None:
            shape = self.rgb.shape
            whole = len(shape) == 3 and shape[2] == 3 and self.rgb.dtype == np.uint8
            if not whole or shape[0] % size[0] or shape[0] * size[1] != shape[1] * size[0]:
                raise FrameError(
                    f"view.rgb: expected uint8 (k*{size[0]}, k*{size[1]}, 3), "
                    f"got {self.rgb.dtype} {shape}"
                )


@dataclass(frozen=True, slots=True)
class Actor:
    """Something that moves (or could): a vehicle, a pedestrian.

    Attributes:
        actor_id: > 0, the value of `View.instances` on its pixels, stable in an episode.
        tag: label tag (sim2street.bridge.labels), for example 14 for a car.
        pose: float32 (4, 4), body to world.
        extent_m: half sizes along x, y, z of the body frame.
        velocity_mps: in the world frame.
    """

    actor_id: int
    tag: int
    pose: FloatArray
    extent_m: tuple[float, float, float]
    velocity_mps: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def validate(self) -> None:
        """Raise FrameError where the pose, the id or the tag breaks the contract."""
        _check_pose(f"actor {self.actor_id}.pose", self.pose)
        if not (0 < self.actor_id < 2**32 and 0 <= self.tag <= MAX_TAG):
            raise FrameError(f"actor: id must be in 1..2^32-1 and tag in 0..28: {self}")


class LightState(enum.Enum):
    """State of a traffic light."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class NextLight:
    """The light that rules the ego's lane: its state and the distance to its stop line."""

    state: LightState
    distance_m: float


@dataclass(frozen=True, slots=True)
class LeadVehicle:
    """The nearest vehicle ahead in the ego's lane: bumper to bumper distance."""

    distance_m: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class EgoState:
    """What the ego vehicle and its route know.

    Attributes:
        pose: float32 (4, 4), body to world.
        velocity_mps: world frame. yaw_rate_rps: > 0 turns left.
        lane_offset_m: lateral distance from the lane's centre line, > 0 to its left.
        heading_error_rad: heading minus lane direction, > 0 points left of the lane.
        curvature_1pm: of the lane ahead (1/m), > 0 bends left.
        route_distance_m: left to the goal along the route, or None without a route.
        route_ahead_m: (x, y) in the body frame of up to `ROUTE_POINTS` places on the route,
            `ROUTE_SPACING_M` apart, the first one step ahead; empty where it is unknown.
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
    """Weather and time of day as world state (no pixel of a label map depends on it)."""

    sun_altitude_deg: float = 45.0
    cloudiness: float = 0.2
    rain: float = 0.0
    fog: float = 0.0
    wetness: float = 0.0


@dataclass(frozen=True, slots=True)
class Control:
    """One tick's driving command. `steer` > 0 turns right (the convention of CARLA)."""

    steer: float = 0.0
    throttle: float = 0.0
    brake: float = 0.0
    reverse: bool = False

    def validate(self) -> None:
        """Raise FrameError where a value is outside its range or not finite."""
        for name, low in (("steer", -1.0), ("throttle", 0.0), ("brake", 0.0)):
            value = getattr(self, name)
            if not low <= value <= 1.0:  # also refuses nan
                raise FrameError(f"control.{name} must be in [{low:g}, 1], got {value}")


@dataclass(frozen=True, slots=True)
class SensorFrame:
    """All that a world tells about one tick.

    Attributes:
        tick: starts at 0 with a reset, +1 a step. episode: +1 a reset.
        time_s: simulated time since the reset.
        stamps: seconds spent per hop ("world", "encode", "render", ...), for diagnosis.
        flags: things to know about this frame, such as "render_reset" (the renderer was
            restarted and its temporal state with it).
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
        """The only view. Raises FrameError where there are none or several."""
        if len(self.views) != 1:
            raise FrameError(f"frame.view needs exactly one view, there are {list(self.views)}")
        return next(iter(self.views.values()))

    def validate(self) -> None:
        """Raise FrameError where any part breaks its contract."""
        if self.tick < 0 or self.episode < 0 or not math.isfinite(self.time_s):
            raise FrameError(f"frame: bad tick {self.tick}, episode {self.episode} or time")
        _check_pose("ego.pose", self.ego.pose)
        for actor in self.actors:
            actor.validate()
        for view in self.views.values():
            view.validate()


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """What a world offers, known before the first tick.

    Attributes:
        cameras: view name to intrinsics.
        fields: which optional View fields are filled ("labels", "depth_m", ...).
        taxonomy: `sim2street.bridge.labels.taxonomy_fingerprint()` of the tags it sends.
    """

    name: str
    version: str
    tick_s: float
    cameras: Mapping[str, Camera]
    fields: frozenset[str]
    taxonomy: str


def point_pairs(points_m: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Points (N, 2) as pairs of plain numbers, as in `EgoState.route_ahead_m`."""
    return tuple((x, y) for x, y in points_m.tolist())


def _check_pose(name: str, pose: FloatArray) -> None:
    _check_array(name, pose, np.float32, (4, 4))
    if not np.isfinite(pose).all():
        raise FrameError(f"{name}: must be finite")
    # Written out: `linalg.det` takes longer than all else that is checked of a view.
    (a, b, c), (d, e, f), (g, h, i) = pose[:3, :3].tolist()
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if not 0.9 < abs(volume) < 1.1:  # mirrored axes are told apart by `check world`
        raise FrameError(
            f"{name}: expected a rotation and a translation without scale, got a matrix whose "
            f"axes span {abs(volume):.3g} instead of 1"
        )


def _check_array(name: str, array: np.ndarray | None, dtype: type, shape: tuple[int, ...]) -> None:
    if array is None:
        return
    if array.dtype != dtype or array.shape != shape:
        raise FrameError(
            f"{name}: expected {np.dtype(dtype).name} {shape}, got {array.dtype} {array.shape}"
        )
