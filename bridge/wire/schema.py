"""Schemas of the message bodies that are no dataclass of the contract.

The bodies of frames, views, cameras, controls and specs are derived from the dataclasses
(`bodies.body_model`). A field with a default may be left out by a simple engine.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sim2street.bridge.frame import Camera, Control, SensorFrame, View, Weather
from sim2street.bridge.wire.bodies import Pixels, body_model
from sim2street.bridge.wire.codec import MAX_INT, Body, Count, Name

CameraBody: Any = body_model(Camera)
ControlBody: Any = body_model(Control)
FrameBody: Any = body_model(SensorFrame)
ViewBody: Any = body_model(View)
WeatherBody: Any = body_model(Weather)

MAX_REQUESTS = 16
"""Views in one render request."""

MAX_BLENDED_STYLES = 64
MIN_BLEND_WEIGHT, MAX_BLEND_WEIGHT = 1e-6, 1e6


class OpenBody(Body):
    """The first request to a world. `sensors` false: state only, no images."""

    sensors: bool = True


class ResetBody(Body):
    """Starts an episode."""

    seed: Count | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class SessionBody(Body):
    """Opens a render session.

    `style` is a name, or a blend by weight, or the name of the style in the buffer `style`.
    """

    style: str | dict[Name, float]
    style_sha256: str | None = None
    camera: CameraBody
    out_size_px: Annotated[list[Pixels], Field(min_length=2, max_length=2)]
    seed: Count = 0


class SessionRefBody(Body):
    """Names a session: the one to close, or (in a reply) the one that was opened."""

    session: Count


class RestyleBody(Body):
    """Gives a session another style; `style` as in `SessionBody`."""

    session: Count
    style: str | dict[Name, float]
    style_sha256: str | None = None


class RequestBody(Body):
    """One view to render. `actors` is the number of its set of actor buffers, or None."""

    session: Count
    view: ViewBody
    tick: Count
    episode: Count
    actors: Count | None = None
    restart: bool = False
    weather: WeatherBody | None = None


class RenderBody(Body):
    """Views to render in one batch."""

    requests: Annotated[list[RequestBody], Field(max_length=MAX_REQUESTS)]


class RenderedBody(Body):
    """The reply to a render: for each request, whether its session had to be opened again.

    The images are buffers.
    """

    reopened: Annotated[list[bool], Field(max_length=MAX_REQUESTS)]


class StylesBody(Body):
    """Names of the styles that a renderer knows; none if every session must bring its own."""

    styles: Annotated[list[Name], Field(max_length=1024)]


class ErrorBody(Body):
    """A request that failed: the name of an error class, and what to do about it."""

    error: Name
    message: str


class EmptyBody(Body):
    """A body without keys."""


class StatusBody(Body):
    """The reply to "hello" and "status": who answers, its limits and its counters."""

    role: Name
    name: Name
    version: Name
    protocol: Name = ""
    instance: Name = ""
    max_part_bytes: Count = 8 << 20
    max_message_bytes: Count = MAX_INT
    uptime_s: float = 0.0
    clients: Count = 0
    held: bool = False
    counters: Annotated[dict[Name, Count], Field(max_length=64)] = Field(default_factory=dict)
