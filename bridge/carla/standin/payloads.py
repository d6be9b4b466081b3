"""Messages on CARLA's data streams (0.9.16; packed, little endian).

Source: the struct layouts in the debug information of the 0.9.16 client library. Numbers that
differ between versions are in `protocol_versions.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from sim2street.bridge.carla.axes import UnrealTransform
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import PALETTE

DEPTH_STEPS = 2**24 - 1
_UNION_BYTES = 54
_HEADER = struct.Struct("<QQd6f")
_SNAPSHOT = struct.Struct("<Qdf3iI")
_ACTOR = struct.Struct("<IB6f3f3f3f")
_IMAGE = struct.Struct("<IIf")
_VEHICLE = struct.Struct("<3f3BifBBIB")
_LIGHT = struct.Struct("<32s4fIBB")
_TOKEN = struct.Struct("<IHBB16s")
_TCP = 1
_SAME_HOST = 0

Words = npt.NDArray[np.uint32]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ActorRecord:
    """One actor in a world snapshot, in CARLA's units and axes.

    `union`: state of vehicles and traffic lights, at most 54 bytes.
    """

    actor_id: int
    transform: UnrealTransform
    velocity: Vector = (0.0, 0.0, 0.0)
    angular_velocity: Vector = (0.0, 0.0, 0.0)
    acceleration: Vector = (0.0, 0.0, 0.0)
    union: bytes = b""


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What a snapshot says before its actors. `time_s`: simulated. `delta_s`: per tick."""

    frame: int
    time_s: float
    delta_s: float
    episode_id: int
    platform_time_s: float


def token(stream_id: int, port: int) -> bytes:
    """A stream's address: `port` of the host that the client already knows."""
    return _TOKEN.pack(stream_id, port, _TCP, _SAME_HOST, bytes(16))


def header(sensor_type: int, frame: int, time_s: float, transform: UnrealTransform) -> bytes:
    """The header of every sensor's data."""
    return _HEADER.pack(sensor_type, frame, time_s, *transform)


def snapshot(sensor_type: int, head: SnapshotHead, actors: Iterable[ActorRecord]) -> bytes:
    """The state of all actors at one frame. `sensor_type`: see `Protocol`."""
    at_origin = (0.0,) * 6
    parts = [
        _HEADER.pack(sensor_type, head.frame, head.time_s, *at_origin),
        _SNAPSHOT.pack(head.episode_id, head.platform_time_s, head.delta_s, 0, 0, 0, 0),
    ]
    for actor in actors:
        motion = (*actor.velocity, *actor.angular_velocity, *actor.acceleration)
        parts.append(_ACTOR.pack(actor.actor_id, 1, *actor.transform, *motion))
        parts.append(actor.union.ljust(_UNION_BYTES, b"\0"))
    return b"".join(parts)


def vehicle_union(
    control: tuple[float, float, float, bool, bool, bool, int],
    speed_limit_kmh: float,
    light: tuple[int, int] | None,
) -> bytes:
    """State of a vehicle: control, speed limit, and (state, id) of the traffic light it is at."""
    throttle, steer, brake, hand_brake, reverse, manual, gear = control
    state, light_id = light or (2, 0)
    return _VEHICLE.pack(
        *(throttle, steer, brake, hand_brake, reverse, manual, gear),
        *(speed_limit_kmh, state, light is not None, light_id, 0),
    )


def light_union(
    sign_id: str, times_s: tuple[float, float, float, float], state: int, frozen: bool
) -> bytes:
    """State of a traffic light. `times_s`: green, yellow, red, elapsed."""
    return _LIGHT.pack(sign_id.encode(), *times_s, 0, frozen, state)


def image(head: bytes, fov_deg: float, bgra: ByteArray) -> bytes:
    """A camera's image. `head`: its header. `bgra`: uint8 (H, W, 4)."""
    height, width = bgra.shape[:2]
    return head + _IMAGE.pack(width, height, fov_deg) + bgra.tobytes()


def flow_image(head: bytes, fov_deg: float, flow: FloatArray) -> bytes:
    """An optical flow image. `flow`: float32 (H, W, 2), see `cameras.optical_flow`."""
    height, width = flow.shape[:2]
    return head + _IMAGE.pack(width, height, fov_deg) + flow.astype("<f4").tobytes()


def packed(head: bytes, values: list[Any]) -> bytes:
    """Data of a sensor that sends MessagePack, such as GNSS and IMU."""
    return head + bytes(msgpack.packb(values, use_single_float=False))


def collision(head: bytes, actor: list[Any], other: list[Any], impulse: Vector) -> bytes:
    """A collision: both actors as in the calls, and the normal impulse."""
    return head + bytes(msgpack.packb([actor, other, list(impulse)], use_bin_type=True))


def semantic_bgra(labels: ByteArray) -> ByteArray:
    """Semantic tags in the red channel."""
    return _bytes_of(_words(labels) << np.uint32(8))


def depth_bgra(depth_m: FloatArray) -> ByteArray:
    """Depth with 24 bits over 1000 m: low byte in red, then green, high byte in blue."""
    steps = np.rint(depth_m.astype(np.float64) * (DEPTH_STEPS / SKY_DEPTH_M))
    return _bytes_of(_words(steps) << np.uint32(8))


def instance_bgra(labels: ByteArray, instances: IdArray) -> ByteArray:
    """Tag in red; lower 16 bits of the instance in blue (high byte) and green (low byte)."""
    high: Words = (_words(instances) & np.uint32(0xFFFF)) << np.uint32(16)
    low: Words = _words(labels) << np.uint32(8)
    return _bytes_of(high | low)


def palette_bgra(labels: ByteArray) -> ByteArray:
    """The palette's colour of each label, in place of a rendered image."""
    bgra = np.full((*labels.shape, 4), 255, np.uint8)
    bgra[..., :3] = PALETTE[labels][..., ::-1]
    return bgra


def _words(values: npt.NDArray[np.generic]) -> Words:
    return values.astype(np.uint32)


def _bytes_of(words: Words) -> ByteArray:
    """Words 0xBBGGRR00 as opaque B, G, R, A: uint8 (H, W, 4)."""
    big = (words | np.uint32(0xFF)).astype(">u4")
    return big.view(np.uint8).reshape(*words.shape, 4)
