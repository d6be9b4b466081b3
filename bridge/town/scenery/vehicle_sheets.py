"""Texture coordinates of vehicles: each side of a vehicle shows a region of its texture sheet.

See `bridge.surfaces.VehicleSide`. Each triangle belongs to the side that it faces most, and its
(u, v) are its place in the bounding box, seen at a right angle to that side.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim2street.bridge.surfaces import SurfaceKind, VehicleSide, vehicle_material
from sim2street.bridge.town.actor_models import VEHICLE_MODELS, ActorModel
from sim2street.bridge.town.scenery.meshes import NO_SURFACE, SURFACE_ROW, Mesh, MeshSurfaces

_SIDES = tuple(VehicleSide)
_TOP_WEIGHT = 0.4
"""A face belongs to the top only if it is this flat: windscreens belong to the front or back,
bonnets to the top."""

_LEAST = 0.05
"""Faces that look towards no side by more than this have no surface: a vehicle's underside."""


def with_sheet(shape: Mesh, model: ActorModel) -> Mesh:
    """A vehicle's mesh, in its body frame, with one surface for each of its five sides."""
    triangles = shape.triangles.astype(np.float64)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    x, y, z = normals.T
    score = np.stack([y, -y, x, -x, _TOP_WEIGHT * z], axis=1)  # in the order of `_SIDES`
    side = score.argmax(axis=1)
    length, width, height = 2.0 * np.array(model.extent_m)
    forward, left, up = np.moveaxis(triangles / (length, width, height), 2, 0)
    forward, left = forward + 0.5, left + 0.5
    by_side = np.stack(
        [(1 - forward, up), (forward, up), (left, up), (1 - left, up), (1 - left, forward)]
    )  # (side, u or v, T, corner)
    uv = np.moveaxis(by_side[side, :, np.arange(len(side))], 1, 2)
    row = np.where(score.max(axis=1) > _LEAST, side, NO_SURFACE)
    rows = np.zeros(len(_SIDES), SURFACE_ROW)
    number = VEHICLE_MODELS.index(model)
    rows["kind"] = SurfaceKind.VEHICLE
    rows["material"] = [vehicle_material(number, each) for each in _SIDES]
    rows["size_m"] = [(length, height)] * 2 + [(width, height)] * 2 + [(width, length)]
    rows["uv_high"] = 1.0
    surfaces = MeshSurfaces(rows, row.astype(np.int32), uv.astype(np.float32))
    return replace(shape, surfaces=surfaces)
