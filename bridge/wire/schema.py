"""Schemas of message bodies: the field names of `sim2street.bridge.frame` as JSON.

A default means that a simple engine may leave the key out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sim2street.bridge.wire.codec import Body, Count, Name

Pose16 = Annotated[list[float], Field(min_length=16, max_length=16)]
Three = Annotated[list[float], Field(min_length=3, max_length=3)]
Two = Annotated[list[float], Field(min_length=2, max_length=2)]
Pixels = Annotated[int, Field(ge=1, le=65536)]
PortableName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class CameraBody(Body):
    """`sim2street.bridge.frame.Camera`."""

    width_px: Pixels
    height_px: Pixels
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float


class ViewBody(Body):
    """A view without its arrays. `pose`: row by row; None: this engine does not tell."""

    camera: CameraBody
    pose: Pose16 | None = None
    motion_from_tick: Count | None = None


class LightBody(Body):
    """`sim2street.bridge.frame.NextLight`."""

    state: Literal["red", "yellow", "green"]
    distance_m: float


class LeadBody(Body):
    """`sim2street.bridge.frame.LeadVehicle`."""

    distance_m: float
    speed_mps: float


class EgoBody(Body):
    """`sim2street.bridge.frame.EgoState`."""

    pose: Pose16
    velocity_mps: Three = Field(default_factory=lambda: [0.0, 0.0, 0.0])
    yaw_rate_rps: float = 0.0
    speed_mps: float = 0.0
    lane_offset_m: float = 0.0
    heading_error_rad: float = 0.0
    curvature_1pm: float = 0.0
    speed_limit_mps: float = 0.0
    next_light: LightBody | None = None
    lead: LeadBody | None = None
    route_distance_m: float | None = None
    collision: bool = False
    off_lane: bool = False
    route_ahead_m: Annotated[list[Two], Field(max_length=64)] = Field(default_factory=list)


class WeatherBody(Body):
    """`sim2street.bridge.frame.Weather`."""

    sun_altitude_deg: float = 45.0
    cloudiness: float = 0.2
    rain: float = 0.0
    fog: float = 0.0
    wetness: float = 0.0


class FrameBody(Body):
    """`sim2street.bridge.frame.SensorFrame` without its arrays; the episode is in the header."""

    tick: Count
    time_s: float
    ego: EgoBody | None = None
    weather: WeatherBody = WeatherBody()
    views: Annotated[dict[PortableName, ViewBody], Field(max_length=16)] = Field(
        default_factory=dict
    )
    stamps: Annotated[dict[str, float], Field(max_length=64)] = Field(default_factory=dict)
    flags: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)


class SpecBody(Body):
    """`sim2street.bridge.frame.WorldSpec`."""

    name: Name
    version: Name
    tick_s: Annotated[float, Field(gt=0)]
    cameras: Annotated[dict[PortableName, CameraBody], Field(max_length=16)]
    fields: Annotated[list[Name], Field(max_length=32)]
    taxonomy: Name


class OpenBody(Body):
    """First request to a world: with cameras, or state only."""

    sensors: bool = True


class ResetBody(Body):
    """Start an episode."""

    seed: Count | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class ControlBody(Body):
    """`sim2street.bridge.frame.Control`."""

    steer: float = 0.0
    throttle: float = 0.0
    brake: float = 0.0
    reverse: bool = False


class SessionBody(Body):
    """`sim2street.bridge.renderer.SessionConfig`. `style`: a name, a blend, or "" with a buffer."""

    style: str | dict[Name, float]
    style_sha256: str | None = None
    camera: CameraBody
    out_size_px: Annotated[list[Pixels], Field(min_length=2, max_length=2)]
    seed: Count = 0


class SessionRefBody(Body):
    """Close a session, or (as a reply) its number."""

    session: Count


class RestyleBody(Body):
    """Another style for a session."""

    session: Count
    style: str | dict[Name, float]
    style_sha256: str | None = None


class RequestBody(Body):
    """`sim2street.bridge.renderer.RenderRequest`; `actors`: which set of actor buffers, or None."""

    session: Count
    view: ViewBody
    tick: Count
    episode: Count
    actors: Count | None = None
    restart: bool = False


class RenderBody(Body):
    """Views to render in one batch."""

    requests: Annotated[list[RequestBody], Field(max_length=16)]


class RenderedBody(Body):
    """The reply to a render: one flag per request, the pictures are buffers."""

    reopened: Annotated[list[bool], Field(max_length=16)]


class StylesBody(Body):
    """Names of the styles that a renderer knows."""

    styles: Annotated[list[Name], Field(min_length=1, max_length=1024)]


class ErrorBody(Body):
    """A refusal: the name of an error class of this project, and what to do."""

    error: Name
    message: str


class EmptyBody(Body):
    """Nothing to say."""


class StatusBody(Body):
    """Reply to "hello" and "status": who answers, and what it counted."""

    role: Name
    name: Name
    version: Name
    protocol: Name = ""
    instance: Name = ""
    max_part_bytes: Count = 8 << 20
    uptime_s: float = 0.0
    clients: Count = 0
    held: bool = False
    counters: Annotated[dict[Name, Count], Field(max_length=64)] = Field(default_factory=dict)
