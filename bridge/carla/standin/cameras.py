"""The stand-in's cameras: views of the embedded town in CARLA's encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, camera_pose_of
from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actors import SimActor
from sim2street.bridge.carla.standin.protocol_versions import Protocol, SensorKind
from sim2street.bridge.frame import Actor, ByteArray, Camera, FloatArray, IdArray, View
from sim2street.bridge.geometry import BoolArray, motion
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.camera.triangle_table import CameraImages
from sim2street.bridge.town.plan.layout import FIRST_PARKED_ID

_SCENERY_FROM = 32_768
"""Instances of scenery get ids in the upper half of the 16 bits, so that actors keep theirs."""

_UNREAL_ID_OFFSET = 7
"""Added to actor ids where instance images carry Unreal's ids. It is small, so that a client
that takes such an id for an actor id finds another actor.
"""

Encoder = Callable[[CameraImages, ByteArray], ByteArray]
"""From a rendering and the protocol's tags (uint8 (29,), by our tag) to BGRA uint8 (H, W, 4)."""

ENCODERS: Mapping[str, tuple[SensorKind, Encoder]] = {
    "sensor.camera.semantic_segmentation": (
        "semantic",
        lambda view, tags: payloads.semantic_bgra(tags[view.labels]),
    ),
    "sensor.camera.depth": ("depth", lambda view, _: payloads.depth_bgra(view.depth_m)),
    "sensor.camera.instance_segmentation": (
        "instance",
        lambda view, tags: payloads.instance_bgra(tags[view.labels], _to_16_bits(view.instances)),
    ),
    "sensor.camera.rgb": ("rgb", lambda view, _: payloads.palette_bgra(view.labels)),
}
"""Camera blueprint to its kind of data and its encoder; but for optical flow."""

FLOW = "sensor.camera.optical_flow"


class CameraRenderer:
    """Renders what cameras see. Cameras at the same place share one rendering per tick."""

    def __init__(self, scene: Scene, protocol: Protocol) -> None:
        self._scene = scene
        self._protocol = protocol
        self._rendered: dict[tuple[Any, ...], CameraImages] = {}
        self._actors: Sequence[Actor] = ()
        self._last_views: dict[int, tuple[View, Sequence[Actor]]] = {}

    def begin_tick(self, actors: Sequence[SimActor]) -> None:
        """Drop the renderings of the last tick; render these actors from now on."""
        self._rendered.clear()
        self._actors = [actor.frame_actor() for actor in actors if actor.tag]

    def payload(self, sensor: SimActor, frame: int, time_s: float) -> bytes:
        """What a camera sends for this frame."""
        fov_deg, transform = float(sensor.attribute("fov")), _as_float32(sensor.transform)
        size_px = int(sensor.attribute("image_size_x")), int(sensor.attribute("image_size_y"))
        camera = Camera.from_fov(*size_px, fov_deg)
        images = self._images((size_px, fov_deg, transform), camera)
        types = self._protocol.sensor_types
        if sensor.type_id == FLOW:
            head = payloads.header(types["flow"], frame, time_s, transform)
            view = View(camera, camera_pose_of(transform), images.labels, images.depth_m)
            view = replace(view, instances=images.instances)
            return payloads.flow_image(head, fov_deg, self._flow(sensor.actor_id, view))
        kind, encode = ENCODERS[sensor.type_id]
        if not self._protocol.actor_ids:
            ids = np.where(images.instances > 0, images.instances + _UNREAL_ID_OFFSET, 0)
            images = replace(images, instances=ids.astype(np.uint32))
        head = payloads.header(types[kind], frame, time_s, transform)
        return payloads.image(head, fov_deg, encode(images, self._protocol.tags))

    def forget(self, actor_id: int) -> None:
        """Drop what is kept of a camera that is destroyed."""
        self._last_views.pop(actor_id, None)

    def _images(self, key: tuple[Any, ...], camera: Camera) -> CameraImages:
        """What a camera sees. `key`: its size, its field of view and its transform."""
        if key not in self._rendered:
            pose = camera_pose_of(key[2])
            self._rendered[key] = self._scene.render(camera, pose, self._actors)
        return self._rendered[key]

    def _flow(self, actor_id: int, view: View) -> FloatArray:
        """Optical flow since this camera's last image; 0 in its first one."""
        last, self._last_views[actor_id] = self._last_views.get(actor_id), (view, self._actors)
        height, width = view.camera.height_px, view.camera.width_px
        if last is None:
            return np.zeros((height, width, 2), np.float32)
        moved = motion(view, last[0], self._actors, last[1])
        return optical_flow(moved.source_px, moved.depth_m > 0.0)

    def close(self) -> None:
        """Release the scene."""
        self._scene.close()


def optical_flow(source_px: FloatArray, known: BoolArray) -> FloatArray:
    """float32 (H, W, 2): how far each pixel has moved, as CARLA encodes it.

    2 stands for the width (x, to the right) or the height (y, upwards) of the image.

    Args:
        source_px: (H, W, 2), where each pixel's surface point was in the last image.
        known: bool (H, W); the flow of other pixels is 0.
    """
    height, width = known.shape
    y, x = np.mgrid[0:height, 0:width]
    moved_px = np.stack([x, y], axis=-1) - source_px
    flow = moved_px * np.array([2.0 / width, -2.0 / height])
    return np.where(known[..., None], flow, 0.0).clip(-2.0, 2.0).astype(np.float32)


def _as_float32(transform: UnrealTransform) -> UnrealTransform:
    """The transform that the client reads; images are rendered from exactly there."""
    x, y, z, pitch, yaw, roll = np.asarray(transform, np.float32).tolist()
    return x, y, z, pitch, yaw, roll


def _to_16_bits(instances: IdArray) -> IdArray:
    static = instances >= FIRST_PARKED_ID  # parked cars and scenery
    return np.where(static, _SCENERY_FROM + instances % _SCENERY_FROM, instances)
