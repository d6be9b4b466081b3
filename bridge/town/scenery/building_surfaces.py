"""Texture coordinates of buildings and garden walls: which face is a wall, gable or roof."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim2street.bridge.labels import Tag
from sim2street.bridge.surfaces import SurfaceKind, WallMaterial
from sim2street.bridge.town.scenery.building_meshes import Building, Part, Style
from sim2street.bridge.town.scenery.meshes import Mesh, MeshSurfaces, mesh
from sim2street.bridge.town.scenery.plane_faces import PlaneFaces, mixed

_TO_STREET = -0.9
"""Walls whose unit normal has at most this y (in plot coordinates) face the street."""


def building_meshes(
    built: Building, style: Style, number: int, seed: int | None
) -> tuple[Mesh, Mesh]:
    """The fine and the coarse mesh of a building, in plot coordinates.

    Args:
        built: its triangles.
        style: of its row.
        number: its instance id.
        seed: of the town, for the surfaces' keys; None for meshes without surfaces.
    """
    fine, coarse = (mesh(shape, Tag.BUILDING, number) for shape in (built.fine, built.coarse))
    if seed is None:
        return fine, coarse
    surfaces = _building_surfaces(built, style, mixed(seed, number))
    count = len(coarse)
    first = MeshSurfaces(surfaces.rows, surfaces.row[:count], surfaces.uv[:count])
    return replace(fine, surfaces=surfaces), replace(coarse, surfaces=first)


def with_blind_walls(shape: Mesh, key: int) -> Mesh:
    """A garden wall along x with its surfaces: vertical faces without windows, and their tops."""
    faces = PlaneFaces(shape.triangles.astype(np.float64), np.arange(len(shape)) // 10)
    kind = np.where(faces.is_wall, SurfaceKind.WALL, SurfaceKind.ROOF)
    material = np.where(faces.is_wall, WallMaterial.BLIND, WallMaterial.ANY)
    return replace(shape, surfaces=faces.surfaces(kind, material, key))


def _building_surfaces(built: Building, style: Style, key: int) -> MeshSurfaces:
    """Surfaces of all triangles of `built.fine`."""
    parts, counts = zip(*built.parts, strict=True)
    group = np.repeat(np.arange(len(counts)), counts)
    faces = PlaneFaces(built.fine, group)
    part_number = group[faces.first]
    part = np.array(parts)[part_number]
    to_street = faces.normals[:, 1] <= _TO_STREET
    body = np.full(len(part), int(style.wall))
    if style.shop:  # part 0 is the walls of the body
        body[to_street & (part_number == 0)] = WallMaterial.SHOP_FRONT
    cheeks = np.where(to_street, int(style.wall), int(WallMaterial.BLIND))
    material = np.select(
        [~faces.is_wall, part == Part.WALLS, part == Part.ROOF, part == Part.DORMER],
        [int(WallMaterial.ANY), body, int(WallMaterial.GABLE), cheeks],
        int(WallMaterial.BLIND),
    )
    # The ground line of a dormer is its own foot, because its window is a storey of its own.
    lift = np.zeros_like(faces.low)
    own_line = (part == Part.DORMER) & faces.is_wall
    lift[own_line, 1] = -faces.low[own_line, 1]
    faces.move(lift)
    kind = np.where(faces.is_wall, SurfaceKind.WALL, SurfaceKind.ROOF)
    return faces.surfaces(kind, material, key)
