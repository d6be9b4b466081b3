"""What a served renderer accepts: limits of sessions, and checks of views before it sees them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sim2street.bridge.errors import FrameError, ProtocolError, RendererError
from sim2street.bridge.frame import Actor, Camera, check_actor_ids
from sim2street.bridge.renderer import (
    RenderRequest,
    SessionConfig,
    StyleBlob,
    StyleChoice,
    out_scale,
)

MAX_SESSIONS = 1024
MAX_SESSIONS_OF_CLIENT = 256

MAX_STYLE_BYTES_OF_SESSIONS = 256 << 20
"""Bytes of the styles that were sent with all open sessions."""

MAX_IMAGES_OF_SESSIONS = 16
"""All open sessions together may have output images of so many times `max_pixels`."""

MAX_POSITION_M = 1e7
"""Largest coordinate of a camera or an actor; float32 tells metres apart up to there."""

MIN_FOCAL_WIDTHS, MAX_FOCAL_WIDTHS = 1e-2, 1e3
"""Focal length over image size, and below, the distance of the principal point likewise."""

MAX_CENTRE_WIDTHS = 100.0


@dataclass(slots=True)
class Session:
    """A session of a client. `local_number` is the renderer's own number for it."""

    client: str
    local_number: int
    size_px: tuple[int, int]
    out_size_px: tuple[int, int]
    style_bytes: int

    @property
    def out_pixels(self) -> int:
        return self.out_size_px[0] * self.out_size_px[1]


def style_bytes(style: StyleChoice) -> int:
    """Bytes of a style that a client sent; 0 for a style of the renderer's own."""
    return len(style.data) if isinstance(style, StyleBlob) else 0


def check_config(config: SessionConfig, max_pixels: int) -> None:
    """Raise FrameError or RendererError unless sizes and intrinsics are within their limits."""
    camera = config.camera
    camera.validate()
    _check_intrinsics(camera)
    out_scale(config)
    for name, (width_px, height_px) in (
        ("the camera", (camera.width_px, camera.height_px)),
        ("out_size_px", config.out_size_px),
    ):
        if width_px * height_px > max_pixels:
            raise RendererError(
                f"{name} is {width_px}x{height_px}, but this server renders at most {max_pixels} "
                "pixels: ask for a smaller image, or raise its limit (`serve renderer "
                "--max-pixels`)"
            )


def check_room(
    sessions: Collection[Session], client: str, config: SessionConfig, max_pixels: int
) -> None:
    """Raise RendererError if the open sessions leave no room for another one of `client`."""
    own = sum(session.client == client for session in sessions)
    if own >= MAX_SESSIONS_OF_CLIENT or len(sessions) >= MAX_SESSIONS:
        raise RendererError(
            f"this server keeps at most {MAX_SESSIONS} sessions, {MAX_SESSIONS_OF_CLIENT} of one "
            f"client; {len(sessions)} are open, {own} of them yours: close those that you do not "
            "need, or try again later"
        )
    pixels = sum(session.out_pixels for session in sessions)
    limit = MAX_IMAGES_OF_SESSIONS * max_pixels
    if pixels + config.out_size_px[0] * config.out_size_px[1] > limit:
        raise RendererError(
            f"the images of all sessions of this server have at most {limit} pixels, {pixels} are "
            "in use: ask for a smaller image, close sessions that you do not need, or try later"
        )
    check_style_room(sessions, config.style)


def check_style_room(sessions: Collection[Session], style: StyleChoice) -> None:
    """Raise RendererError if the sessions' own styles leave no room for another one."""
    used = sum(session.style_bytes for session in sessions)
    if used + style_bytes(style) > MAX_STYLE_BYTES_OF_SESSIONS:
        raise RendererError(
            f"this server keeps at most {MAX_STYLE_BYTES_OF_SESSIONS} bytes of styles, {used} are "
            "in use: use a style that it has, or close sessions that you do not need"
        )


def check_requests(requests: Sequence[RenderRequest], sessions: Sequence[Session]) -> None:
    """Raise FrameError, ProtocolError or RendererError where a request is invalid."""
    if len({request.session for request in requests}) != len(requests):
        raise ProtocolError("render: one request names a session twice: send one view for each")
    checked: set[int] = set()
    for request, session in zip(requests, sessions, strict=True):
        view, (width_px, height_px) = request.view, session.size_px
        if (view.camera.width_px, view.camera.height_px) != (width_px, height_px):
            raise RendererError(
                f"this session's views are {width_px}x{height_px}, got a camera of "
                f"{view.camera.width_px}x{view.camera.height_px}: open another session"
            )
        if view.labels is None:
            raise RendererError("view.labels is missing: configure a label camera in the world")
        view.validate()
        if request.weather is not None:
            request.weather.validate()
        _check_intrinsics(view.camera)
        _check_position("view.pose", view.pose)
        if id(request.actors) not in checked:  # several views may share a set of actors
            checked.add(id(request.actors))
            check_actors(request.actors)


def check_actors(actors: Sequence[Actor]) -> None:
    """Raise FrameError where an actor is invalid, or two have the same id."""
    for actor in actors:
        actor.validate()
        _check_position(f"actor {actor.actor_id}.pose", actor.pose)
    check_actor_ids(actors)


def _check_intrinsics(camera: Camera) -> None:
    for name, focal_px, centre_px, size_px in (
        ("x", camera.fx_px, camera.cx_px, camera.width_px),
        ("y", camera.fy_px, camera.cy_px, camera.height_px),
    ):
        is_usual = MIN_FOCAL_WIDTHS <= focal_px / size_px <= MAX_FOCAL_WIDTHS
        if not is_usual or abs(centre_px) > MAX_CENTRE_WIDTHS * size_px:
            raise FrameError(
                f"camera: f{name}_px must be {MIN_FOCAL_WIDTHS:g} to {MAX_FOCAL_WIDTHS:g} times "
                f"the image's size and c{name}_px within {MAX_CENTRE_WIDTHS:g} times, got "
                f"{focal_px:g} and {centre_px:g} for {size_px} pixels"
            )


def _check_position(name: str, pose: np.ndarray) -> None:
    if not (np.abs(pose[:3, 3]) <= MAX_POSITION_M).all():
        raise FrameError(
            f"{name}: coordinates must be within {MAX_POSITION_M:g} m, got {pose[:3, 3].tolist()}"
        )
