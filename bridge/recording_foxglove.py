"""Frames as Foxglove's schemas in protobuf, so that viewers show a recording.

The messages are made for looking: images are compressed, labels are colours. Replaying reads the
channel `/frame` instead, which holds everything without loss. Schemas:
https://docs.foxglove.dev/docs/sdk/schemas
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.ArrowPrimitive_pb2 import ArrowPrimitive
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.Color_pb2 import Color
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CubePrimitive_pb2 import CubePrimitive
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.KeyValuePair_pb2 import KeyValuePair
from foxglove_schemas_protobuf.LinePrimitive_pb2 import LinePrimitive
from foxglove_schemas_protobuf.Point3_pb2 import Point3
from foxglove_schemas_protobuf.Pose_pb2 import Pose
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from foxglove_schemas_protobuf.Quaternion_pb2 import Quaternion
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from foxglove_schemas_protobuf.SceneEntity_pb2 import SceneEntity
from foxglove_schemas_protobuf.SceneEntityDeletion_pb2 import SceneEntityDeletion
from foxglove_schemas_protobuf.SceneUpdate_pb2 import SceneUpdate
from foxglove_schemas_protobuf.Vector3_pb2 import Vector3
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.timestamp_pb2 import Timestamp
from mcap.writer import Writer
from PIL import Image

from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    MAX_TAG,
    POSE_UNKNOWN,
    Actor,
    ByteArray,
    Camera,
    EgoState,
    FloatArray,
    SensorFrame,
    View,
)
from sim2street.bridge.labels import PALETTE, Tag

WORLD_FRAME, EGO_FRAME = "world", "ego"
"""Names of frames of reference; each camera has its own name."""

JPEG_QUALITY = 90

DEPTH_KEPT_BITS = np.uint32(0xFFFFE000)
"""Clears the last 13 of the 23 bits of a float32's fraction: depth is rounded down by at most
0.1 %, and compresses to a fraction of its size."""

_ARROW_M = (3.0, 0.25, 0.9, 0.7)
"""Length and width of the shaft, length and width of the head, of the arrow that is the ego."""

_EGO_COLOR = Color(r=0.1, g=0.5, b=1.0, a=1.0)
_ROUTE_COLOR = Color(r=0.1, g=0.8, b=0.4, a=1.0)
_ROUTE_WIDTH_M = 0.3


class FoxgloveChannels:
    """Writes frames to channels of an MCAP file, which appear with their first message."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}

    def write(self, frame: SensorFrame, time_ns: int) -> None:
        """Write what a viewer shows of a frame, at `time_ns` of the file's log time."""
        for topic, message in _messages(frame, _timestamp(time_ns)):
            data = message.SerializeToString()
            channel = self._channel(topic, message)
            self._writer.add_message(channel, time_ns, data, time_ns, frame.tick)

    def _channel(self, topic: str, message: Any) -> int:
        if topic not in self._channels:
            schema = self._schema(message.DESCRIPTOR)
            self._channels[topic] = self._writer.register_channel(topic, "protobuf", schema)
        return self._channels[topic]

    def _schema(self, descriptor: Any) -> int:
        name: str = descriptor.full_name
        if name not in self._schemas:
            files = FileDescriptorSet(file=_files_of(descriptor.file))
            data = files.SerializeToString()
            self._schemas[name] = self._writer.register_schema(name, "protobuf", data)
        return self._schemas[name]


def _files_of(file: FileDescriptor) -> list[Any]:
    """The description of a schema's file and of all files that it imports, each once."""
    found: dict[str, Any] = {}

    def add(each: FileDescriptor) -> None:
        if each.name not in found:
            for imported in each.dependencies:
                add(imported)
            copy = FileDescriptorSet().file.add()
            each.CopyToProto(copy)
            found[each.name] = copy

    add(file)
    return list(found.values())


def _messages(frame: SensorFrame, now: Timestamp) -> Iterator[tuple[str, Any]]:
    """Topic and message of everything that is shown of a frame."""
    yield "/tf", FrameTransforms(transforms=_transforms(frame, now))
    if EGO_UNKNOWN not in frame.flags:
        pose = _pose(frame.ego.pose)
        yield "/ego/pose", PoseInFrame(timestamp=now, frame_id=WORLD_FRAME, pose=pose)
    yield "/scene", _scene(frame, now)
    for name, view in frame.views.items():
        yield from _view_messages(name, view, now)


def _view_messages(name: str, view: View, now: Timestamp) -> Iterator[tuple[str, Any]]:
    start = f"/camera/{name}"
    yield f"{start}/calibration", _calibration(name, view.camera, now)
    if view.labels is not None:
        png = _png(view.labels)
        yield (
            f"{start}/labels",
            CompressedImage(timestamp=now, frame_id=name, data=png, format="png"),
        )
    if view.depth_m is not None:
        yield f"{start}/depth", _depth_image(name, view.depth_m, now)
    if view.rgb is not None:
        height_px, width_px = view.rgb.shape[:2]
        if width_px != view.camera.width_px:
            camera = view.camera.resized(width_px, height_px)
            yield f"{start}/image_calibration", _calibration(name, camera, now)
        yield (
            f"{start}/image",
            CompressedImage(timestamp=now, frame_id=name, data=_jpeg(view.rgb), format="jpeg"),
        )


def _transforms(frame: SensorFrame, now: Timestamp) -> Iterator[FrameTransform]:
    """From the world to the ego and to the cameras, as far as their poses are known."""
    poses: dict[str, FloatArray] = {}
    if EGO_UNKNOWN not in frame.flags:
        poses[EGO_FRAME] = frame.ego.pose
    if POSE_UNKNOWN not in frame.flags:
        poses |= {name: view.pose for name, view in frame.views.items()}
    for name, pose in poses.items():
        yield FrameTransform(
            timestamp=now,
            parent_frame_id=WORLD_FRAME,
            child_frame_id=name,
            translation=_vector(pose[:3, 3]),
            rotation=_quaternion(pose),
        )


def _scene(frame: SensorFrame, now: Timestamp) -> SceneUpdate:
    """Boxes of the actors, the ego as an arrow, and its route; replaces what was shown before."""
    everything = SceneEntityDeletion(timestamp=now, type=SceneEntityDeletion.Type.ALL)
    entities = [_actor_entity(actor, now) for actor in frame.actors]
    if EGO_UNKNOWN not in frame.flags:
        entities.append(_ego_entity(frame.ego, now))
    return SceneUpdate(deletions=[everything], entities=entities)


def _actor_entity(actor: Actor, now: Timestamp) -> SceneEntity:
    centre = actor.pose.astype(np.float64)
    centre[:3, 3] += centre[:3, 2] * actor.extent_m[2]  # the pose is on the ground below the box
    known = Tag(actor.tag) if actor.tag <= MAX_TAG else Tag.UNKNOWN
    red, green, blue = (PALETTE[known] / 255.0).tolist()
    speed_mps = float(np.linalg.norm(actor.velocity_mps))
    box = CubePrimitive(
        pose=_pose(centre),
        size=_vector([2.0 * half for half in actor.extent_m]),
        color=Color(r=red, g=green, b=blue, a=0.6),
    )
    facts = {"tag": known.name.lower(), "speed_mps": f"{speed_mps:.2f}"}
    return SceneEntity(
        timestamp=now,
        frame_id=WORLD_FRAME,
        id=f"actor {actor.actor_id}",
        metadata=[KeyValuePair(key=key, value=value) for key, value in facts.items()],
        cubes=[box],
    )


def _ego_entity(ego: EgoState, now: Timestamp) -> SceneEntity:
    shaft_m, shaft_width_m, head_m, head_width_m = _ARROW_M
    arrow = ArrowPrimitive(
        pose=_pose(np.eye(4)), shaft_length=shaft_m, shaft_diameter=shaft_width_m,
        head_length=head_m, head_diameter=head_width_m, color=_EGO_COLOR,
    )  # fmt: skip
    points = [Point3(x=x, y=y, z=0.0) for x, y in ((0.0, 0.0), *ego.route_ahead_m)]
    route = LinePrimitive(
        type=LinePrimitive.Type.LINE_STRIP, pose=_pose(np.eye(4)), thickness=_ROUTE_WIDTH_M,
        points=points, color=_ROUTE_COLOR,
    )  # fmt: skip
    lines = [route] if ego.route_ahead_m else []
    return SceneEntity(timestamp=now, frame_id=EGO_FRAME, id="ego", arrows=[arrow], lines=lines)


def _calibration(name: str, camera: Camera, now: Timestamp) -> CameraCalibration:
    fx, fy, cx, cy = camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px
    return CameraCalibration(
        timestamp=now,
        frame_id=name,
        width=camera.width_px,
        height=camera.height_px,
        K=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        R=np.eye(3).ravel().tolist(),
        P=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def _depth_image(name: str, depth_m: FloatArray, now: Timestamp) -> RawImage:
    """Depth in metres as float32, rounded as `DEPTH_KEPT_BITS` says."""
    rounded = (np.ascontiguousarray(depth_m).view(np.uint32) & DEPTH_KEPT_BITS).astype("<u4")
    height_px, width_px = depth_m.shape
    return RawImage(
        timestamp=now, frame_id=name, width=width_px, height=height_px, encoding="32FC1",
        step=4 * width_px, data=rounded.tobytes(),
    )  # fmt: skip


def _jpeg(rgb: ByteArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _png(labels: ByteArray) -> bytes:
    """The label colours as a PNG with a palette: each pixel still is its tag."""
    image = Image.fromarray(labels)
    image.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _timestamp(time_ns: int) -> Timestamp:
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def _pose(pose: np.ndarray) -> Pose:
    return Pose(position=_vector(pose[:3, 3]), orientation=_quaternion(pose))


def _vector(values: Iterable[float]) -> Vector3:
    x, y, z = (float(value) for value in values)
    return Vector3(x=x, y=y, z=z)


def _quaternion(pose: np.ndarray) -> Quaternion:
    """The unit quaternion of a pose's rotation (Shepperd, 1978: divides by the largest part)."""
    r = pose[:3, :3].astype(np.float64)
    squares = np.array([r[0, 0], r[1, 1], r[2, 2], r.trace()])
    largest = int(squares.argmax())
    q = np.empty(4)
    if largest == 3:
        q[:] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1.0 + r.trace()
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i], q[j] = 1.0 + 2.0 * r[i, i] - r.trace(), r[j, i] + r[i, j]
        q[k], q[3] = r[k, i] + r[i, k], r[k, j] - r[j, k]
    x, y, z, w = (q / np.linalg.norm(q)).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)
