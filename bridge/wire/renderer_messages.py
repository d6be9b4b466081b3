"""Render sessions, requests and images as message bodies and buffers, and back; errors too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim2street.bridge import errors
from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.frame import Actor, Camera, Weather
from sim2street.bridge.renderer import (
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleBlob,
    StyleChoice,
)
from sim2street.bridge.wire.bodies import build, to_body
from sim2street.bridge.wire.codec import MAX_STYLE_BYTES, Message, read_body, shorten
from sim2street.bridge.wire.schema import (
    MAX_BLEND_WEIGHT,
    MAX_BLENDED_STYLES,
    MIN_BLEND_WEIGHT,
    ErrorBody,
    RenderBody,
    RenderedBody,
    RestyleBody,
    SessionBody,
)
from sim2street.bridge.wire.world_messages import (
    actor_arrays,
    refuse_unused,
    take_actors,
    take_view,
    view_arrays,
)
from sim2street.configs import ConfigError, Sim2StreetError

Parts = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Body and buffers of a message."""

STYLE_BUFFER = "style"

MAX_ERROR_TEXT = 4000
"""Characters of an error message; longer ones are cut."""


def session_parts(config: SessionConfig) -> Parts:
    """Body and buffers that open a session."""
    body, arrays = _style_parts(config.style)
    body |= {
        "camera": to_body(config.camera),
        "out_size_px": list(config.out_size_px),
        "seed": config.seed,
    }
    return body, arrays


def read_session(message: Message) -> SessionConfig:
    """The session config of an "open_session". Raises ProtocolError."""
    body = read_body(SessionBody, message.body, "open_session")
    style = _read_style(body, message.arrays)
    width_px, height_px = body.out_size_px
    return SessionConfig(style, build(Camera, body.camera), (width_px, height_px), body.seed)


def restyle_parts(session: int, style: StyleChoice) -> Parts:
    """Body and buffers that give a session another style."""
    body, arrays = _style_parts(style)
    return {**body, "session": session}, arrays


def read_restyle(message: Message) -> tuple[int, StyleChoice]:
    """Session and style of a "restyle". Raises ProtocolError."""
    body = read_body(RestyleBody, message.body, "restyle")
    return body.session, _read_style(body, message.arrays)


def render_parts(requests: Sequence[RenderRequest]) -> Parts:
    """Body and buffers of a batch. Requests with the same tuple of actors share its buffers."""
    arrays: dict[str, np.ndarray] = {}
    bodies: list[dict[str, Any]] = []
    actor_sets: dict[int, int] = {}
    for index, request in enumerate(requests):
        arrays |= view_arrays(f"{index}", request.view)
        arrays.pop(f"{index}.rgb", None)
        chosen = None
        if request.actors:
            chosen = actor_sets.setdefault(id(request.actors), len(actor_sets))
            arrays |= actor_arrays(f"actors{chosen}", request.actors)
        bodies.append(
            {
                "session": request.session,
                "view": to_body(request.view),
                "tick": request.tick,
                "episode": request.episode,
                "actors": chosen,
                "restart": request.restart,
            }
        )
        if request.weather is not None:  # a server that does not know the key refuses it
            bodies[-1]["weather"] = to_body(request.weather)
    return {"requests": bodies}, arrays


def read_render(message: Message) -> list[RenderRequest]:
    """The requests of a "render". Raises ProtocolError."""
    body = read_body(RenderBody, message.body, "render")
    arrays = dict(message.arrays)
    chosen = {item.actors for item in body.requests if item.actors is not None}
    actors: dict[int | None, tuple[Actor, ...]] = {None: ()}
    for index in chosen:
        actors[index] = take_actors(arrays, f"actors{index}")
    requests = [
        RenderRequest(
            item.session,
            take_view(arrays, f"{index}", item.view),
            item.tick,
            item.episode,
            actors[item.actors],
            item.restart,
            None if item.weather is None else build(Weather, item.weather),
        )
        for index, item in enumerate(body.requests)
    ]
    refuse_unused(arrays)
    return requests


def rendered_parts(renderings: Sequence[Rendering]) -> Parts:
    """Body and buffers of the rendered images."""
    arrays = {f"{index}.rgb": rendering.rgb for index, rendering in enumerate(renderings)}
    return {"reopened": [rendering.reopened for rendering in renderings]}, arrays


def read_rendered(message: Message, count: int) -> list[Rendering]:
    """The `count` images of a "rendered". Raises ProtocolError."""
    body = read_body(RenderedBody, message.body, "rendered")
    arrays = dict(message.arrays)
    if len(body.reopened) != count:
        raise ProtocolError(f"rendered: expected {count} images, got {len(body.reopened)}")
    renderings = []
    for index, reopened in enumerate(body.reopened):
        rgb = arrays.pop(f"{index}.rgb", None)
        if rgb is None or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            came = "nothing" if rgb is None else f"{rgb.dtype} {rgb.shape}"
            raise ProtocolError(f"buffer {index}.rgb: expected uint8 (H, W, 3), got {came}")
        renderings.append(Rendering(rgb, reopened))
    refuse_unused(arrays)
    return renderings


def error_body(error: Sim2StreetError) -> dict[str, Any]:
    """Body of an error: the name of its nearest class that the protocol knows, and its text."""
    known = next(k for k in type(error).__mro__ if k.__name__ in _ERRORS)
    text = str(error)
    if len(text) > MAX_ERROR_TEXT:
        text = text[:MAX_ERROR_TEXT] + "..."
    return {"error": known.__name__, "message": text}


def read_error(data: Mapping[str, Any], otherwise: type[Sim2StreetError]) -> Sim2StreetError:
    """The error of a body. An error class that is not known here becomes `otherwise`."""
    body = read_body(ErrorBody, data, "error")
    kind = _ERRORS.get(body.error)
    if kind is None:
        return otherwise(f"{shorten(body.error)}: {body.message}")
    return kind(body.message)


def _style_parts(style: StyleChoice) -> Parts:
    if isinstance(style, StyleBlob):
        data = np.frombuffer(style.data, np.uint8)
        return {"style": style.name, "style_sha256": style.sha256}, {STYLE_BUFFER: data}
    return {"style": style if isinstance(style, str) else dict(style)}, {}


def _read_style(body: SessionBody | RestyleBody, arrays: Mapping[str, np.ndarray]) -> StyleChoice:
    refuse_unused({name: array for name, array in arrays.items() if name != STYLE_BUFFER})
    data = arrays.get(STYLE_BUFFER)
    if data is None:
        if body.style_sha256 is not None:
            raise ProtocolError("style: a sha256 came without the buffer 'style'")
        if not isinstance(body.style, str):
            _check_blend(body.style)
        return body.style
    if data.dtype != np.uint8 or data.ndim != 1 or not isinstance(body.style, str):
        raise ProtocolError(
            "style: expected the buffer 'style' to be uint8 (N,) and the key 'style' to be its name"
        )
    if data.size > MAX_STYLE_BYTES:
        raise ProtocolError(f"style: at most {MAX_STYLE_BYTES} bytes, got {data.size}")
    raw = data.tobytes()
    if hashlib.sha256(raw).hexdigest() != body.style_sha256:
        raise ProtocolError(
            "style: the sha256 of the bytes is not the one in 'style_sha256': send the style again"
        )
    return StyleBlob(body.style, raw, body.style_sha256)


def _check_blend(weights: Mapping[str, float]) -> None:
    """Raise ProtocolError unless the blend has a few styles, and weights that can be added up."""
    low, high = MIN_BLEND_WEIGHT, MAX_BLEND_WEIGHT
    wrong = [weight for weight in weights.values() if not low <= weight <= high]
    if not 1 <= len(weights) <= MAX_BLENDED_STYLES or wrong:
        raise ProtocolError(
            f"style: a blend has 1..{MAX_BLENDED_STYLES} styles with weights in "
            f"[{low:g}, {high:g}], got {shorten(dict(weights))}"
        )


def _error_classes() -> dict[str, type[Sim2StreetError]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return {c.__name__: c for c in (ConfigError, *classes) if issubclass(c, Sim2StreetError)}


_ERRORS: Mapping[str, type[Sim2StreetError]] = _error_classes()
