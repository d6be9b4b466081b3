"""A town as a camera sees it: scenery and actors in, labels, depth and instances out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import Actor, Camera, FloatArray
from sim2street.bridge.town.camera.occlusion import Sight, Viewshed
from sim2street.bridge.town.camera.rasteriser import Part, Rasteriser
from sim2street.bridge.town.camera.visibility import Buffers, TriangleTable
from sim2street.bridge.town.models import model_for
from sim2street.bridge.town.plan.layout import Layout
from sim2street.bridge.town.scenery.actor_meshes import actor_layer, actor_levels
from sim2street.bridge.town.scenery.build import scenery_items
from sim2street.bridge.town.scenery.meshes import Item, Layer, joined

_CELL_M = 24.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    part: Part
    x_m: float
    y_m: float
    near_m: float
    far_m: float


@dataclass(slots=True)
class _Body:
    """The drawn meshes of one actor: from fine to coarse, with the ids of each."""

    group: int
    parts: tuple[Part, ...]
    far_m: tuple[float, ...]
    ranges: tuple[tuple[int, int], ...]
    shown: int = -1


@dataclass(slots=True)
class _Bodies:
    """Bodies in use by actor id, and those waiting to be used again, by model."""

    used: dict[int, tuple[str, _Body]] = field(default_factory=dict)
    spare: dict[str, list[_Body]] = field(default_factory=lambda: defaultdict(list))


class Scene:
    """Renders one town for any number of cameras. Close it to release its windows.

    The same layout, camera, pose and actors give the same bytes, whatever was rendered
    before.
    """

    def __init__(
        self, layout: Layout, items: Iterable[Item] | None = None, cull: bool = True
    ) -> None:
        """`items`: scenery in place of the layout's own. `cull`: skip what houses hide."""
        self._rasteriser = Rasteriser()
        self._table = TriangleTable()
        self._closed = False
        self._cull = cull
        scenery = scenery_items(layout) if items is None else items
        self._chunks = self._add_chunks(scenery, cull)
        self._static_ids = {car.actor_id for car in layout.parked}
        self._shown = np.ones(len(self._chunks), np.bool_)
        self._places = np.array([(c.x_m, c.y_m) for c in self._chunks]).reshape(-1, 2)
        self._ranges = np.array([(c.near_m, c.far_m) for c in self._chunks]).reshape(-1, 2)
        self._bodies = _Bodies()
        self._groups = 1

    @property
    def triangle_count(self) -> int:
        """Triangles known so far: scenery, and one mesh for every actor seen at once."""
        return len(self._table) - 1

    def render(self, camera: Camera, pose: FloatArray, actors: Sequence[Actor] = ()) -> Buffers:
        """What `camera` at `pose` (4, 4, OpenCV axes) sees. Parked cars are scenery."""
        if self._closed:
            raise WorldError("this scene is closed: make a new one")
        eye = np.asarray(pose, np.float64)[:3, 3]
        sight = self._viewshed.look(camera, pose)
        self._choose_levels(eye, sight.parts)
        to_world = self._place_actors(actors, eye, sight)
        to_camera = np.linalg.inv(np.asarray(pose, np.float64)) @ to_world
        ids = self._rasteriser.draw(camera, pose)
        return self._table.derive(ids, camera, to_camera)

    def close(self) -> None:
        """Release windows and geometry. Allowed more than once."""
        if not self._closed:
            self._rasteriser.close()
            self._closed = True

    def _add_chunks(self, items: Iterable[Item], cull: bool) -> list[_Chunk]:
        """Group scenery by place, layer and the distances it is drawn at."""
        groups: dict[tuple[int, int, Layer, float, float], list[Item]] = defaultdict(list)
        for item in items:
            x, y = item.anchor_m
            cell = (int(x // _CELL_M), int(y // _CELL_M))
            groups[(*cell, item.layer, item.near_m, item.far_m)].append(item)
        chunks, shapes, occluders = [], [], []
        for (i, j, layer, near, far), members in groups.items():
            whole = joined(member.mesh for member in members)
            first = self._table.add(whole.triangles, whole.tags, whole.instances)
            part = self._rasteriser.add(whole.triangles, first, layer)
            x, y = (i + 0.5) * _CELL_M, (j + 0.5) * _CELL_M
            chunks.append(_Chunk(part, x, y, near, far))
            shapes.append(whole.triangles)
            if cull:
                occluders += [item.occluder for item in members if item.occluder is not None]
        self._viewshed = Viewshed(shapes, occluders)
        return chunks

    def _choose_levels(self, eye: np.ndarray, wanted: np.ndarray) -> None:
        distance = np.hypot(*(self._places - eye[:2]).T)
        wanted &= (distance >= self._ranges[:, 0]) & (distance < self._ranges[:, 1])
        for index in np.flatnonzero(wanted != self._shown):
            self._rasteriser.show(self._chunks[index].part, bool(wanted[index]))
        self._shown = wanted

    def _place_actors(self, actors: Sequence[Actor], eye: np.ndarray, sight: Sight) -> np.ndarray:
        """Show and place the actors' meshes; float64 (G, 4, 4) poses of all groups."""
        moving = [
            actor
            for actor in actors
            if actor.actor_id not in self._static_ids
            and (not self._cull or sight.shows(*actor.pose[:2, 3].tolist()))
        ]
        present = {actor.actor_id for actor in moving}
        for actor_id in [key for key in self._bodies.used if key not in present]:
            name, body = self._bodies.used.pop(actor_id)
            self._show_level(body, -1)
            self._bodies.spare[name].append(body)
        placed = [(self._body(actor), actor) for actor in moving]
        poses = np.tile(np.eye(4), (self._groups, 1, 1))
        for body, actor in placed:
            poses[body.group] = actor.pose
            distance = float(np.hypot(*(poses[body.group, :2, 3] - eye[:2])))
            level = sum(distance >= far for far in body.far_m)
            self._show_level(body, level if level < len(body.parts) else -1)
            if body.shown >= 0:
                self._rasteriser.place(body.parts[body.shown], actor.pose)
        return poses

    def _body(self, actor: Actor) -> _Body:
        """The body of this actor: its own, a spare one, or a new one."""
        name = model_for(actor.tag, actor.extent_m).name
        known = self._bodies.used.get(actor.actor_id)
        if known is not None and known[0] == name:
            return known[1]
        if known is not None:
            self._show_level(known[1], -1)
            self._bodies.spare[known[0]].append(known[1])
        spare = self._bodies.spare[name]
        body = spare.pop() if spare else self._new_body(name, actor_layer(actor.tag))
        for first, count in body.ranges:
            self._table.set_instance(first, count, actor.actor_id)
        self._bodies.used[actor.actor_id] = (name, body)
        return body

    def _new_body(self, name: str, layer: Layer) -> _Body:
        parts, ranges, far = [], [], []
        for mesh, far_m in actor_levels(name):
            first = self._table.add(mesh.triangles, mesh.tags, mesh.instances, self._groups)
            part = self._rasteriser.add(mesh.triangles, first, layer)
            self._rasteriser.show(part, False)
            parts.append(part)
            ranges.append((first, len(mesh)))
            far.append(far_m)
        self._groups += 1
        return _Body(self._groups - 1, tuple(parts), tuple(far), tuple(ranges))

    def _show_level(self, body: _Body, level: int) -> None:
        if level == body.shown:
            return
        for index, part in enumerate(body.parts):
            self._rasteriser.show(part, index == level)
        body.shown = level
