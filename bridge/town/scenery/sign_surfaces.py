"""Texture coordinates of signs: each face of a sign is a surface with (u, v) in [0, 1]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import SignShape, SurfaceKind
from sim2street.bridge.town.scenery.meshes import NO_SURFACE, Mesh
from sim2street.bridge.town.scenery.plane_faces import PlaneFaces

_MIN_SIDE_M = 0.21
"""Faces with a shorter side are the edges of a panel."""

_POSTER_M = 1.5
_DIRECTIONS_M = 1.0
"""Rectangles at least this high are posters, lower ones at least this wide are direction signs."""

_SLANTED = 0.2
"""An edge of a diamond deviates from the axes by more than this, as a fraction of its length."""


def with_sign_faces(shape: Mesh, key: int, kind: SignShape = SignShape.ANY) -> Mesh:
    """A mesh with a surface for each face of its panels (the triangles tagged as a sign).

    Args:
        shape: in its own frame of reference; consecutive triangles form a face.
        key: of the first face; the faces' keys share the upper 24 bits.
        kind: of all faces, which are shown from every side. `SignShape.ANY` stands for street
            furniture: its outline and size tell its shape; only posters have a back.
    """
    number = np.flatnonzero(shape.tags == int(Tag.TRAFFIC_SIGN))
    if not len(number):
        return shape
    triangles = shape.triangles[number].astype(np.float64)
    faces = PlaneFaces(triangles, _runs(triangles))
    if kind == SignShape.ANY:
        shapes = [_shape(faces, face) for face in range(len(faces.first))]
        is_front = faces.normals[:, 0] < -0.9
        shown = (is_front | (np.array(shapes) == SignShape.POSTER)) & _is_wide(faces)
    else:
        shown, shapes = faces.is_wall & _is_wide(faces), [kind] * len(faces.first)
    # From metres to fractions of the face.
    offset = np.zeros_like(faces.low)
    offset[:, 1] = -faces.low[:, 1]
    faces.move(offset)
    size = faces.high
    surfaces = faces.surfaces(SurfaceKind.SIGN, [int(each) for each in shapes], key)
    uv = surfaces.uv / np.maximum(size, 1e-6)[faces.face][:, None].astype(np.float32)
    surfaces.rows["uv_high"] = 1.0
    row = np.full(len(shape), NO_SURFACE, np.int32)
    row[number] = np.where(shown[faces.face], surfaces.row, NO_SURFACE)
    corners = np.zeros((len(shape), 3, 2), np.float32)
    corners[number] = uv
    return replace(shape, surfaces=replace(surfaces, row=row, uv=corners))


def _runs(triangles: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Number (T,) of the run of consecutive triangles with one normal."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    turns = (normals[1:] * normals[:-1]).sum(axis=1) < 0.999
    return np.concatenate([[0], np.cumsum(turns)])


def _is_wide(faces: PlaneFaces) -> npt.NDArray[np.bool_]:
    """Whether a face (F,) is a face of a sign rather than the edge of its panel."""
    wide: npt.NDArray[np.bool_] = (faces.high - faces.low).min(axis=1) >= _MIN_SIDE_M
    return wide


def _shape(faces: PlaneFaces, face: int) -> SignShape:
    """The shape of a sign, from the triangles and the size in metres of one of its faces."""
    corners = faces.uv[faces.face == face]
    width_m, height_m = faces.high[face] - faces.low[face]
    if len(corners) == 1:
        return SignShape.TRIANGLE
    if len(corners) > 2:
        return SignShape.DISC
    edge = np.abs(corners[0, 1] - corners[0, 0])
    if edge.min() > _SLANTED * edge.max():
        return SignShape.DIAMOND
    if height_m >= _POSTER_M:
        return SignShape.POSTER
    return SignShape.DIRECTIONS if width_m >= _DIRECTIONS_M else SignShape.BOARD
