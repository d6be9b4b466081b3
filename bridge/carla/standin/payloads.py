"""What travels on CARLA's data streams, byte by byte (0.9.16; packed, little endian).

Source: the layouts in the debug information of the 0.9.16 client library. What other
versions number differently is in `dialect`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import msgpack
import numpy as np
import numpy.typing as npt

from sim2street.bridge.carla.axes import UnrealTransform
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, FloatArray, IdArray
from sim2street.bridge.labels import PALETTE

DEPTH_STEPS = 2**24 - 1
HEADER_BYTES = 48
ACTOR_BYTES = 119
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
    """One actor in a world snapshot. `union`: what its kind adds, at most 54 bytes."""

    actor_id: int
    transform: UnrealTransform
    velocity: Vector = (0.0, 0.0, 0.0)
    angular_velocity: Vector = (0.0, 0.0, 0.0)
    acceleration: Vector = (0.0, 0.0, 0.0)
    union: bytes = b""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a snapshot was taken: what stands in front of its actors."""

    frame: int
    time_s: float
    delta_s: float
    episode_id: int
    platform_time_s: float


def token(stream_id: int, port: int) -> bytes:
    """Where a stream is to be had: at `port` of the host that the client already knows."""
    return _TOKEN.pack(stream_id, port, _TCP, _SAME_HOST, bytes(16))


def stream_id_of(token_bytes: bytes) -> int:
    """The stream that a token names."""
    return int(_TOKEN.unpack(token_bytes)[0])


def header(kind: int, frame: int, time_s: float, transform: UnrealTransform) -> bytes:
    """In front of every sensor's data; location first, then pitch, yaw, roll."""
    return _HEADER.pack(kind, frame, time_s, *transform)


def snapshot(kind: int, moment: Moment, actors: Iterable[ActorRecord]) -> bytes:
    """The state of all actors at one frame; `kind`: of snapshots, see `Dialect`."""
    at_origin = (0.0,) * 6
    parts = [
        _HEADER.pack(kind, moment.frame, moment.time_s, *at_origin),
        _SNAPSHOT.pack(moment.episode_id, moment.platform_time_s, moment.delta_s, 0, 0, 0, 0),
    ]
    for actor in actors:
        moved = (*actor.velocity, *actor.angular_velocity, *actor.acceleration)
        parts.append(_ACTOR.pack(actor.actor_id, 1, *actor.transform, *moved))
        parts.append(actor.union.ljust(_UNION_BYTES, b"\0"))
    return b"".join(parts)


def vehicle_union(
    control: tuple[float, float, float, bool, bool, bool, int],
    speed_limit_kmh: float,
    light: tuple[int, int] | None,
) -> bytes:
    """Of a vehicle: its control, its speed limit, and (state, id) of the light it is at."""
    throttle, steer, brake, hand_brake, reverse, manual, gear = control
    state, light_id = light or (2, 0)
    return _VEHICLE.pack(
        *(throttle, steer, brake, hand_brake, reverse, manual, gear),
        *(speed_limit_kmh, state, light is not None, light_id, 0),
    )


def light_union(
    sign_id: str, times_s: tuple[float, float, float, float], state: int, frozen: bool
) -> bytes:
    """Of a traffic light: its OpenDRIVE id, (green, yellow, red, elapsed), its state."""
    return _LIGHT.pack(sign_id.encode(), *times_s, 0, frozen, state)


def image(head: bytes, fov_deg: float, bgra: ByteArray) -> bytes:
    """A camera's picture; `bgra` is uint8 (H, W, 4)."""
    height, width = bgra.shape[:2]
    return head + _IMAGE.pack(width, height, fov_deg) + bgra.tobytes()


def collision(head: bytes, actor: list, other: list, impulse: Vector) -> bytes:
    """A contact: both actors as RPC descriptions, and the normal impulse."""
    return head + bytes(msgpack.packb([actor, other, list(impulse)], use_bin_type=True))


def semantic_bgra(labels: ByteArray) -> ByteArray:
    """The tag in the red channel."""
    return _bytes_of(_words(labels) << np.uint32(8))


def depth_bgra(depth_m: FloatArray) -> ByteArray:
    """24 bits over 1000 m, the lowest in red."""
    steps = np.rint(depth_m.astype(np.float64) * (DEPTH_STEPS / SKY_DEPTH_M))
    return _bytes_of(_words(steps) << np.uint32(8))


def instance_bgra(labels: ByteArray, instances: IdArray) -> ByteArray:
    """The tag in red; 16 bits of the instance in blue (high) and green (low)."""
    high: Words = (_words(instances) & np.uint32(0xFFFF)) << np.uint32(16)
    low: Words = _words(labels) << np.uint32(8)
    return _bytes_of(high | low)


def palette_bgra(labels: ByteArray) -> ByteArray:
    """In the colours of the tags: what stands in for a rendered picture."""
    bgra = np.full((*labels.shape, 4), 255, np.uint8)
    bgra[..., :3] = PALETTE[labels][..., ::-1]
    return bgra


def _words(values: npt.NDArray[np.generic]) -> Words:
    return values.astype(np.uint32)


def _bytes_of(words: Words) -> ByteArray:
    """Words 0xBBGGRR00 as bytes B, G, R, A (opaque): uint8 (H, W, 4)."""
    big = (words | np.uint32(0xFF)).astype(">u4")
    return big.view(np.uint8).reshape(*words.shape, 4)
