"""A world's types as message bodies and buffers, and back.

Bodies are JSON objects with the field names of `sim2street.bridge.frame`; what has many numbers
travels as a buffer. Three tiers make it easy for other engines to speak: labels only;
plus depth; plus poses and actors. What a tier leaves out gets its default, and the frame
says so in its `flags`.
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
    Camera,
    Control,
    EgoState,
    FloatArray,
    LeadVehicle,
    LightState,
    NextLight,
    SensorFrame,
    View,
    Weather,
    WorldSpec,
)
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.wire.codec import Message, read_body, shorten
from sim2street.bridge.wire.schema import (
    CameraBody,
    ControlBody,
    EgoBody,
    FrameBody,
    SpecBody,
    ViewBody,
)
from sim2street.configs import ConfigError

VIEW_BUFFERS: Mapping[str, tuple[str, int]] = {
    "labels": ("uint8", 2),
    "depth_m": ("float32", 2),
    "instances": ("uint32", 2),
    "motion_px": ("float32", 3),
    "rgb": ("uint8", 3),
}
"""Optional arrays of a view: dtype and number of dimensions."""

_ACTOR_BUFFERS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "id": ("uint32", ()),
    "tag": ("uint8", ()),
    "pose": ("float32", (4, 4)),
    "extent_m": ("float64", (3,)),
    "velocity_mps": ("float64", (3,)),
}


def frame_parts(frame: SensorFrame) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Body and buffers of a frame."""
    arrays = actor_arrays("actors", frame.actors)
    views = {}
    for name, view in frame.views.items():
        views[name] = view_body(view)
        arrays |= view_arrays(f"views.{name}", view)
    body = {
        "tick": frame.tick,
        "time_s": frame.time_s,
        "ego": _ego_body(frame.ego),
        "weather": _fields(frame.weather),
        "views": views,
        "stamps": dict(frame.stamps),
        "flags": list(frame.flags),
    }
    return body, arrays


def read_frame(message: Message) -> SensorFrame:
    """The frame of a message of kind "frame" (or a reply that is one).

    Raises:
        ProtocolError: the body or its buffers break the schema. Ranges of values (tags,
            depth) are `SensorFrame.validate`'s business.
    """
    body = read_body(FrameBody, message.body, "frame")
    arrays = dict(message.arrays)
    actors = take_actors(arrays, "actors")
    views = {n: take_view(arrays, f"views.{n}", view) for n, view in body.views.items()}
    refuse_rest(arrays)
    flags = list(body.flags)
    if any(view.pose is None for view in body.views.values()):
        flags.append(POSE_UNKNOWN)
    if body.ego is None:
        flags.append(EGO_UNKNOWN)
    return SensorFrame(
        tick=body.tick,
        episode=message.episode,
        time_s=body.time_s,
        ego=_read_ego(body.ego),
        actors=actors,
        weather=Weather(**body.weather.model_dump()),
        views=views,
        stamps=body.stamps,
        flags=tuple(dict.fromkeys(flags)),
    )


def spec_body(spec: WorldSpec) -> dict[str, Any]:
    """Body of a spec."""
    cameras = {name: _fields(camera) for name, camera in spec.cameras.items()}
    return {**_fields(spec), "cameras": cameras, "fields": sorted(spec.fields)}


def read_spec(data: Mapping[str, Any]) -> WorldSpec:
    """The spec of a body, or ProtocolError."""
    body = read_body(SpecBody, data, "spec")
    cameras = {name: read_camera(camera) for name, camera in body.cameras.items()}
    return WorldSpec(
        body.name, body.version, body.tick_s, cameras, frozenset(body.fields), body.taxonomy
    )


def control_body(control: Control) -> dict[str, Any]:
    """Body of a control."""
    return _fields(control)


def read_control(data: Mapping[str, Any]) -> Control:
    """The control of a body (its ranges not yet checked), or ProtocolError."""
    return Control(**read_body(ControlBody, data, "control").model_dump())


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


def view_body(view: View) -> dict[str, Any]:
    """Camera and pose of a view; the arrays are `view_arrays`."""
    return {
        "camera": _fields(view.camera),
        "pose": _pose_list(view.pose),
        "motion_from_tick": view.motion_from_tick,
    }


def view_arrays(prefix: str, view: View) -> dict[str, np.ndarray]:
    """The arrays that this view has, by buffer name."""
    named = {f"{prefix}.{name}": getattr(view, name) for name in VIEW_BUFFERS}
    return {name: array for name, array in named.items() if array is not None}


def take_view(arrays: dict[str, np.ndarray], prefix: str, body: ViewBody) -> View:
    """Build a view and remove its buffers from `arrays`, checking their shapes."""
    size = (body.camera.height_px, body.camera.width_px)
    taken = {}
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
    # Level, for the renderer asks a pose where up is: the identity looks at the zenith.
    pose = level_pose() if body.pose is None else read_pose(body.pose)
    camera = read_camera(body.camera)
    return View(camera, pose, motion_from_tick=body.motion_from_tick, **taken)


def actor_arrays(prefix: str, actors: tuple[Actor, ...]) -> dict[str, np.ndarray]:
    """Actors as one array per field, N first; nothing where there are none."""
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
    """Build the actors and remove their buffers from `arrays`, checking their shapes."""
    taken = {n: arrays.pop(f"{prefix}.{n}") for n in _ACTOR_BUFFERS if f"{prefix}.{n}" in arrays}
    if not taken:
        return ()
    count = len(taken["id"]) if "id" in taken and taken["id"].ndim else 0
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


def refuse_rest(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ProtocolError where a buffer belongs to nothing."""
    if arrays:
        raise ProtocolError(f"buffers that belong to nothing here: {sorted(arrays)[:5]}")


def camera_body(camera: Camera) -> dict[str, Any]:
    """Body of a camera."""
    return _fields(camera)


def read_camera(body: CameraBody) -> Camera:
    """The camera of a body."""
    return Camera(**body.model_dump())


def read_pose(values: list[float]) -> FloatArray:
    """float32 (4, 4) from 16 numbers, row by row; read-only."""
    with np.errstate(over="ignore"):
        pose = np.array(values, np.float64).astype(np.float32).reshape(4, 4)
    if not np.isfinite(pose).all():
        raise ProtocolError(f"pose: does not fit float32: {shorten(values)}")
    pose.setflags(write=False)
    return pose


def _ego_body(ego: EgoState) -> dict[str, Any]:
    light, lead = ego.next_light, ego.lead
    return {
        **_fields(ego),
        "pose": _pose_list(ego.pose),
        "velocity_mps": list(ego.velocity_mps),
        "next_light": light and {"state": light.state.value, "distance_m": light.distance_m},
        "lead": lead and _fields(lead),
        "route_ahead_m": [list(point) for point in ego.route_ahead_m],
    }


def _read_ego(body: EgoBody | None) -> EgoState:
    if body is None:
        return EgoState(np.eye(4, dtype=np.float32))
    values = body.model_dump()
    light, lead = body.next_light, body.lead
    values["pose"] = read_pose(body.pose)
    values["velocity_mps"] = tuple(body.velocity_mps)
    values["next_light"] = light and NextLight(LightState(light.state), light.distance_m)
    values["lead"] = lead and LeadVehicle(lead.distance_m, lead.speed_mps)
    values["route_ahead_m"] = tuple((x, y) for x, y in body.route_ahead_m)
    return EgoState(**values)


def _pose_list(pose: FloatArray) -> list[float]:
    values: list[float] = pose.ravel().tolist()
    return values


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, one level deep (`asdict` would copy arrays)."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _wrong_shape(
    name: str, dtype: str, shape: tuple[int, ...], array: np.ndarray | None
) -> ProtocolError:
    came = "nothing" if array is None else f"{array.dtype} {array.shape}"
    return ProtocolError(f"buffer {name}: expected {dtype} {shape}, got {came}")
