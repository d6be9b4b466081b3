"""The stand-in's cameras: views of the embedded town, encoded as CARLA's are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sim2street.bridge.carla.axes import UnrealTransform, camera_pose_of
from sim2street.bridge.carla.standin import payloads
from sim2street.bridge.carla.standin.actors import Body
from sim2street.bridge.carla.standin.protocol_versions import Dialect, Kind
from sim2street.bridge.frame import Actor, ByteArray, Camera, IdArray
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.camera.visibility import Buffers

_SCENERY_FROM = 32_768
"""Instances of scenery go into the upper half of the 16 bits: actors keep their ids."""

_OWN_IDS_FROM = 7
"""Small, so that numbers stand for other actors than they seem to."""

Encoder = Callable[[Buffers, ByteArray], ByteArray]

ENCODERS: Mapping[str, tuple[Kind, Encoder]] = {
    "sensor.camera.semantic_segmentation": (
        "semantic",
        lambda seen, tags: payloads.semantic_bgra(tags[seen.labels]),
    ),
    "sensor.camera.depth": ("depth", lambda seen, _: payloads.depth_bgra(seen.depth_m)),
    "sensor.camera.instance_segmentation": (
        "instance",
        lambda seen, tags: payloads.instance_bgra(tags[seen.labels], _sixteen_bits(seen.instances)),
    ),
    "sensor.camera.rgb": ("rgb", lambda seen, _: payloads.palette_bgra(seen.labels)),
}
"""Camera blueprint -> its kind of data and how its picture is encoded, in a version's tags."""


class Darkroom:
    """Renders what cameras see; those at one place share one rendering a tick."""

    def __init__(self, scene: Scene, spoken: Dialect) -> None:
        self._scene = scene
        self._spoken = spoken
        self._seen: dict[tuple, Buffers] = {}
        self._actors: Sequence[Actor] = ()

    def begin(self, bodies: Sequence[Body]) -> None:
        """A new tick, with these actors in it."""
        self._seen.clear()
        self._actors = [body.seen() for body in bodies if body.tag]

    def picture(self, body: Body, frame: int, time_s: float) -> bytes:
        """The payload of a camera at this frame."""
        kind, encode = ENCODERS[body.type_id]
        fov = float(body.attribute("fov"))
        size = int(body.attribute("image_size_x")), int(body.attribute("image_size_y"))
        at = _on_the_wire(body.transform)
        key = (size, fov, at)
        if key not in self._seen:
            camera = Camera.from_fov(*size, fov)
            seen = self._scene.render(camera, camera_pose_of(at), self._actors)
            if not self._spoken.actor_ids:
                moved = np.where(seen.instances > 0, seen.instances + _OWN_IDS_FROM, 0)
                seen = replace(seen, instances=moved.astype(np.uint32))
            self._seen[key] = seen
        head = payloads.header(self._spoken.kinds[kind], frame, time_s, at)
        return payloads.image(head, fov, encode(self._seen[key], self._spoken.tags))

    def close(self) -> None:
        """Release the scene."""
        self._scene.close()


def _on_the_wire(transform: UnrealTransform) -> UnrealTransform:
    """What the client will read: the picture is taken from exactly there."""
    x, y, z, pitch, yaw, roll = np.asarray(transform, np.float32).tolist()
    return x, y, z, pitch, yaw, roll


def _sixteen_bits(instances: IdArray) -> IdArray:
    scenery = instances >= 20_000  # parked cars and scenery; see sim2street.bridge.town.plan.layout
    return np.where(scenery, _SCENERY_FROM + instances % _SCENERY_FROM, instances)
