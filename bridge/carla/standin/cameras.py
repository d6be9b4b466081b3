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
from sim2street.bridge.frame import Actor, ByteArray, Camera, IdArray
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
"""Camera blueprint to its kind of data and its encoder."""


class CameraRenderer:
    """Renders what cameras see. Cameras at the same place share one rendering per tick."""

    def __init__(self, scene: Scene, protocol: Protocol) -> None:
        self._scene = scene
        self._protocol = protocol
        self._rendered: dict[tuple[Any, ...], CameraImages] = {}
        self._actors: Sequence[Actor] = ()

    def begin_tick(self, actors: Sequence[SimActor]) -> None:
        """Drop the renderings of the last tick; render these actors from now on."""
        self._rendered.clear()
        self._actors = [actor.frame_actor() for actor in actors if actor.tag]

    def payload(self, sensor: SimActor, frame: int, time_s: float) -> bytes:
        """What a camera sends for this frame."""
        kind, encode = ENCODERS[sensor.type_id]
        fov_deg = float(sensor.attribute("fov"))
        size_px = int(sensor.attribute("image_size_x")), int(sensor.attribute("image_size_y"))
        transform = _as_float32(sensor.transform)
        key = (size_px, fov_deg, transform)
        if key not in self._rendered:
            camera = Camera.from_fov(*size_px, fov_deg)
            view = self._scene.render(camera, camera_pose_of(transform), self._actors)
            if not self._protocol.actor_ids:
                ids = np.where(view.instances > 0, view.instances + _UNREAL_ID_OFFSET, 0)
                view = replace(view, instances=ids.astype(np.uint32))
            self._rendered[key] = view
        head = payloads.header(self._protocol.sensor_types[kind], frame, time_s, transform)
        bgra = encode(self._rendered[key], self._protocol.tags)
        return payloads.image(head, fov_deg, bgra)

    def close(self) -> None:
        """Release the scene."""
        self._scene.close()


def _as_float32(transform: UnrealTransform) -> UnrealTransform:
    """The transform that the client reads; images are rendered from exactly there."""
    x, y, z, pitch, yaw, roll = np.asarray(transform, np.float32).tolist()
    return x, y, z, pitch, yaw, roll


def _to_16_bits(instances: IdArray) -> IdArray:
    static = instances >= FIRST_PARKED_ID  # parked cars and scenery
    return np.where(static, _SCENERY_FROM + instances % _SCENERY_FROM, instances)
