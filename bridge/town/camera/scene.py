"""Renders a town and its actors into label, depth and instance images.

A `Scene` holds all meshes of a town in one `Rasteriser` and hides those that are not needed
for the current image: hidden behind buildings, or at another level of detail. Scenery is
merged into one mesh per square of the ground, layer and range of distances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Actor, Camera, FloatArray
from sim2street.bridge.town.actor_models import model_for
from sim2street.bridge.town.camera.occlusion_culling import CullingResult, OcclusionCuller
from sim2street.bridge.town.camera.rasteriser import MeshHandle, Rasteriser
from sim2street.bridge.town.camera.triangle_table import CameraImages, TriangleTable
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.scenery.actor_meshes import actor_layer, actor_levels
from sim2street.bridge.town.scenery.build import scenery_items
from sim2street.bridge.town.scenery.meshes import Floats, Layer, SceneryItem, joined
from sim2street.bridge.town.scenery.plane_faces import mixed

_SQUARE_M = 24.0
"""Scenery whose anchors lie in one square of this size is drawn or hidden together."""

_HIDDEN = -1
"""Level of an actor's mesh that is not drawn."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Merged scenery of one square at (x, y), drawn at distances in [near_m, far_m)."""

    mesh: MeshHandle
    x_m: float
    y_m: float
    near_m: float
    far_m: float


@dataclass(slots=True)
class _Body:
    """The meshes of one actor, from the finest to the coarsest level of detail.

    Attributes:
        frame: number of its frame of reference in the triangle table.
        meshes: one for each level.
        far_m: distance up to which each level is drawn.
        ids: first triangle id and number of triangles of each level.
        level: the one that is drawn, or `_HIDDEN`.
    """

    frame: int
    meshes: tuple[MeshHandle, ...]
    far_m: tuple[float, ...]
    ids: tuple[tuple[int, int], ...]
    level: int = _HIDDEN


@dataclass(slots=True)
class _BodyPool:
    """Bodies in use, by actor id with their model's name, and unused ones, by model's name.

    Bodies are reused because the rasteriser and the triangle table only grow.
    """

    used: dict[int, tuple[str, _Body]] = field(default_factory=dict)
    unused: dict[str, list[_Body]] = field(default_factory=lambda: defaultdict(list))


class Scene:
    """Renders one town for any number of cameras. Call `close` to release panda3d's buffers.

    The same layout, camera, pose and actors give bit-identical images, whatever was rendered
    before. Not thread-safe.
    """

    def __init__(
        self,
        layout: Layout,
        items: Iterable[SceneryItem] | None = None,
        cull: bool = True,
        surfaces: bool = False,
    ) -> None:
        """Build all meshes; this takes seconds for a whole town.

        Args:
            layout: the town.
            items: scenery to use instead of the layout's own.
            cull: leave out what buildings hide (faster; tests compare both).
            surfaces: images also have texture coordinates.
        """
        self._rasteriser = Rasteriser()
        self._table = TriangleTable(surfaces)
        self._seed, self._surfaces = layout.seed, surfaces
        self._closed = False
        self._cull = cull
        scenery = scenery_items(layout, surfaces) if items is None else items
        self._chunks = self._add_chunks(scenery, cull)
        self._parked_ids = {car.actor_id for car in layout.parked}
        self._chunk_visible = np.ones(len(self._chunks), np.bool_)
        self._chunk_xy_m = np.array([(c.x_m, c.y_m) for c in self._chunks]).reshape(-1, 2)
        self._chunk_range_m = np.array([(c.near_m, c.far_m) for c in self._chunks]).reshape(-1, 2)
        self._bodies = _BodyPool()
        self._frame_count = 1  # frame 0 is the world

    def render(
        self, camera: Camera, pose: FloatArray, actors: Sequence[Actor] = ()
    ) -> CameraImages:
        """What `camera` at `pose` (4, 4, camera to world, OpenCV axes) sees.

        Parked cars among `actors` are skipped: they are part of the scenery.

        Raises:
            WorldError: the scene is closed, or an actor's tag has no model.
        """
        if self._closed:
            raise WorldError("this scene is closed: make a new Scene")
        eye = np.asarray(pose, np.float64)[:3, 3]
        culling = self._culler.cull(camera, pose)
        self._choose_chunks(eye, culling.meshes)
        frames_to_world = self._place_actors(actors, eye, culling)
        frames_to_camera = np.linalg.inv(np.asarray(pose, np.float64)) @ frames_to_world
        ids = self._rasteriser.draw(camera, pose)
        return self._table.images(ids, camera, frames_to_camera)

    def close(self) -> None:
        """Release panda3d's buffers and meshes. Idempotent."""
        if not self._closed:
            self._rasteriser.close()
            self._closed = True

    def _add_chunks(self, items: Iterable[SceneryItem], cull: bool) -> list[_Chunk]:
        """Merge scenery by square, layer and range of distances, and build the culler."""
        groups: dict[tuple[int, int, Layer, float, float], list[SceneryItem]] = defaultdict(list)
        for item in items:
            x, y = item.anchor_m
            square = (int(x // _SQUARE_M), int(y // _SQUARE_M))
            groups[(*square, item.layer, item.near_m, item.far_m)].append(item)
        chunks, shapes, occluders = [], [], []
        for (i, j, layer, near_m, far_m), members in groups.items():
            merged = joined(member.mesh for member in members)
            first = self._table.add(
                merged.triangles, merged.tags, merged.instances, surfaces=merged.surfaces
            )
            mesh = self._rasteriser.add(merged.triangles, first, layer)
            x, y = (i + 0.5) * _SQUARE_M, (j + 0.5) * _SQUARE_M
            chunks.append(_Chunk(mesh, x, y, near_m, far_m))
            shapes.append(merged.triangles)
            if cull:
                occluders += [item.occluder for item in members if item.occluder is not None]
        self._culler = OcclusionCuller(shapes, occluders)
        return chunks

    def _choose_chunks(self, eye: Floats, visible: npt.NDArray[np.bool_]) -> None:
        """Draw the chunks that culling left `visible` and whose range of distances fits."""
        distance_m = np.hypot(*(self._chunk_xy_m - eye[:2]).T)
        near_m, far_m = self._chunk_range_m.T
        visible &= (distance_m >= near_m) & (distance_m < far_m)
        for index in np.flatnonzero(visible != self._chunk_visible):
            self._rasteriser.set_visible(self._chunks[index].mesh, bool(visible[index]))
        self._chunk_visible = visible

    def _place_actors(self, actors: Sequence[Actor], eye: Floats, culling: CullingResult) -> Floats:
        """Draw the actors at their poses; returns float64 (F, 4, 4), all frames to the world."""
        moving = [actor for actor in actors if actor.actor_id not in self._parked_ids]
        if self._cull and moving:
            places_m = np.array([actor.pose[:2, 3] for actor in moving], np.float64)
            seen = np.flatnonzero(culling.actors_may_be_visible(places_m))
            moving = [moving[i] for i in seen.tolist()]
        present = {actor.actor_id for actor in moving}
        for actor_id in [key for key in self._bodies.used if key not in present]:
            self._release(*self._bodies.used.pop(actor_id))
        placed = [(self._body(actor), actor) for actor in moving]
        poses = np.tile(np.eye(4), (self._frame_count, 1, 1))
        for body, actor in placed:
            poses[body.frame] = actor.pose
            distance_m = float(np.hypot(*(poses[body.frame, :2, 3] - eye[:2])))
            level = sum(distance_m >= far_m for far_m in body.far_m)
            self._show_level(body, level if level < len(body.meshes) else _HIDDEN)
            if body.level != _HIDDEN:
                self._rasteriser.set_pose(body.meshes[body.level], actor.pose)
        return poses

    def _body(self, actor: Actor) -> _Body:
        """The body that this actor has, or an unused one, or a new one."""
        name = model_for(actor.tag, actor.extent_m).name
        current = self._bodies.used.get(actor.actor_id)
        if current is not None and current[0] == name:
            return current[1]
        if current is not None:  # the id now belongs to an actor of another model
            self._release(*current)
        unused = self._bodies.unused[name]
        body = unused.pop() if unused else self._new_body(name, actor_layer(actor.tag))
        for first, count in body.ids:
            self._table.set_instance(first, count, actor.actor_id)
            self._table.set_surface_key(first, count, mixed(self._seed, actor.actor_id))
        self._bodies.used[actor.actor_id] = (name, body)
        return body

    def _release(self, name: str, body: _Body) -> None:
        self._show_level(body, _HIDDEN)
        self._bodies.unused[name].append(body)

    def _new_body(self, name: str, layer: Layer) -> _Body:
        meshes, ids, far = [], [], []
        for shape, far_m in actor_levels(name, self._surfaces):
            first = self._table.add(
                shape.triangles, shape.tags, shape.instances, self._frame_count, shape.surfaces
            )
            mesh = self._rasteriser.add(shape.triangles, first, layer)
            self._rasteriser.set_visible(mesh, False)
            meshes.append(mesh)
            ids.append((first, len(shape)))
            far.append(far_m)
        self._frame_count += 1
        return _Body(self._frame_count - 1, tuple(meshes), tuple(far), tuple(ids))

    def _show_level(self, body: _Body, level: int) -> None:
        if level == body.level:
            return
        for index, mesh in enumerate(body.meshes):
            self._rasteriser.set_visible(mesh, index == level)
        body.level = level
