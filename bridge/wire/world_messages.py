"""Frames, specs and controls as message bodies and buffers, and back.

Small values travel as JSON (`bodies`), images and actors as buffers. An engine may leave out depth,
or poses and actors: what it leaves out gets its default, and the frame's `flags` say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim2street.bridge.errors import ProtocolError
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    POSE_UNKNOWN,
    Actor,
    Control,
    EgoState,
    SensorFrame,
    View,
    WorldSpec,
)
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.wire.bodies import build, from_body, to_body
from sim2street.bridge.wire.codec import Message, read_body
from sim2street.bridge.wire.schema import FrameBody
from sim2street.bridge.wire.surface_buffers import surface_buffers, take_surfaces
from sim2street.configs import ConfigError

VIEW_BUFFERS: Mapping[str, tuple[str, int]] = {
    "labels": ("uint8", 2),
    "depth_m": ("float32", 2),
    "instances": ("uint32", 2),
    "motion_px": ("float32", 3),
    "rgb": ("uint8", 3),
}
"""Images of a view: dtype and number of dimensions."""

_ACTOR_BUFFERS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "id": ("uint32", ()),
    "tag": ("uint8", ()),
    "pose": ("float32", (4, 4)),
    "extent_m": ("float64", (3,)),
    "velocity_mps": ("float64", (3,)),
}


MAX_ACTORS = 4096
"""Actors in one frame, or in one set of actors of a render request."""


def frame_parts(frame: SensorFrame) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Body and buffers of a frame."""
    arrays = actor_arrays("actors", frame.actors)
    for name, view in frame.views.items():
        arrays |= view_arrays(f"views.{name}", view)
    body: dict[str, Any] = to_body(frame)
    return body, arrays


def read_frame(message: Message) -> SensorFrame:
    """The frame of a message of kind "frame", or of a reply that is one.

    Raises:
        ProtocolError: the body or its buffers do not fit the schema. The ranges of values (tags,
            depth) are not checked here: `SensorFrame.validate` does it.
    """
    body: Any = read_body(FrameBody, message.body, "frame")
    arrays = dict(message.arrays)
    actors = take_actors(arrays, "actors")
    views = {name: take_view(arrays, f"views.{name}", view) for name, view in body.views.items()}
    refuse_unused(arrays)
    flags = list(body.flags)
    if any(view.pose is None for view in body.views.values()):
        flags.append(POSE_UNKNOWN)
    parts: dict[str, Any] = {"episode": message.episode, "actors": actors, "views": views}
    if body.ego is None:
        flags.append(EGO_UNKNOWN)
        parts["ego"] = EgoState(np.eye(4, dtype=np.float32))
    return build(SensorFrame, body, **parts, flags=tuple(dict.fromkeys(flags)))


def spec_body(spec: WorldSpec) -> dict[str, Any]:
    """Body of a spec."""
    body: dict[str, Any] = to_body(spec)
    return body


def read_spec(data: Mapping[str, Any]) -> WorldSpec:
    """The spec of a body. Raises ProtocolError where it does not fit the schema."""
    return from_body(WorldSpec, data, "spec")


def control_body(control: Control) -> dict[str, Any]:
    """Body of a control."""
    body: dict[str, Any] = to_body(control)
    return body


def read_control(data: Mapping[str, Any]) -> Control:
    """The control of a body, its ranges not yet checked. Raises ProtocolError."""
    return from_body(Control, data, "control")


def reset_body(seed: int | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Body of a reset. Raises ConfigError where an option is not plain JSON."""
    plain = dict(options or {})
    try:
        same = json.loads(json.dumps(plain, allow_nan=False)) == plain
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ConfigError(
            f"reset options must be plain JSON (text keys, lists, numbers), got {plain!r}"
        )
    return {"seed": None if seed is None else int(seed), "options": plain}


def view_arrays(prefix: str, view: View) -> dict[str, np.ndarray]:
    """The images and surfaces that a view has, by buffer name."""
    named = {f"{prefix}.{name}": getattr(view, name) for name in VIEW_BUFFERS}
    images = {name: array for name, array in named.items() if array is not None}
    return images | surface_buffers(prefix, view.surfaces)


def take_view(arrays: dict[str, np.ndarray], prefix: str, body: Any) -> View:
    """Make a view of its checked body, and remove its buffers from `arrays`."""
    size = (body.camera.height_px, body.camera.width_px)
    taken: dict[str, Any] = {}
    for name, (dtype, dims) in VIEW_BUFFERS.items():
        array = arrays.pop(f"{prefix}.{name}", None)
        if array is None:
            continue
        exact = name == "rgb" or array.shape[:2] == size
        last = {"motion_px": 2, "rgb": 3}.get(name)
        if array.dtype.name != dtype or array.ndim != dims or not exact:
            raise _wrong_shape(f"{prefix}.{name}", dtype, size, array)
        if last is not None and array.shape[2] != last:
            raise _wrong_shape(f"{prefix}.{name}", dtype, (*size, last), array)
        taken[name] = array
    taken["surfaces"] = take_surfaces(arrays, prefix, size)
    if body.pose is None:  # a level camera, because renderers take "up" from the pose
        taken["pose"] = level_pose()
    return build(View, body, **taken)


def actor_arrays(prefix: str, actors: tuple[Actor, ...]) -> dict[str, np.ndarray]:
    """One array per field of the N actors, N first; empty where there are none."""
    if not actors:
        return {}
    return {
        f"{prefix}.id": np.array([a.actor_id for a in actors], np.uint32),
        f"{prefix}.tag": np.array([a.tag for a in actors], np.uint8),
        f"{prefix}.pose": np.stack([a.pose for a in actors]).astype(np.float32, copy=False),
        f"{prefix}.extent_m": np.array([a.extent_m for a in actors], np.float64),
        f"{prefix}.velocity_mps": np.array([a.velocity_mps for a in actors], np.float64),
    }


def take_actors(arrays: dict[str, np.ndarray], prefix: str) -> tuple[Actor, ...]:
    """Make the actors of their buffers, and remove those from `arrays`."""
    taken = {n: arrays.pop(f"{prefix}.{n}") for n in _ACTOR_BUFFERS if f"{prefix}.{n}" in arrays}
    if not taken:
        return ()
    count = len(taken["id"]) if "id" in taken and taken["id"].ndim else 0
    if count > MAX_ACTORS:
        raise ProtocolError(f"buffer {prefix}.id: at most {MAX_ACTORS} actors, got {count}")
    taken.setdefault("velocity_mps", np.zeros((count, 3)))
    for name, (dtype, shape) in _ACTOR_BUFFERS.items():
        array = taken.get(name)
        if array is None or array.dtype.name != dtype or array.shape != (count, *shape):
            raise _wrong_shape(f"{prefix}.{name}", dtype, (count, *shape), array)
    columns = zip(
        taken["id"].tolist(),
        taken["tag"].tolist(),
        taken["pose"],
        taken["extent_m"].tolist(),
        taken["velocity_mps"].tolist(),
        strict=True,
    )
    return tuple(Actor(i, t, p, tuple(e), tuple(v)) for i, t, p, e, v in columns)


def refuse_unused(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ProtocolError where a buffer is left that the body says nothing about."""
    if arrays:
        raise ProtocolError(f"buffers that this message does not have: {sorted(arrays)[:5]}")


def _wrong_shape(
    name: str, dtype: str, shape: tuple[int, ...], array: np.ndarray | None
) -> ProtocolError:
    came = "nothing" if array is None else f"{array.dtype} {array.shape}"
    return ProtocolError(f"buffer {name}: expected {dtype} {shape}, got {came}")
