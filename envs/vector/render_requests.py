"""Render requests through shared memory: views and actors as arrays, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim2street.bridge.frame import Actor, View
from sim2street.bridge.renderer import RenderRequest
from sim2street.envs.vector.messages import PackedRequest
from sim2street.envs.vector.shared_memory import (
    Array,
    ArrayLocation,
    SharedBlock,
    locate_arrays,
    next_location,
)

VIEW_ARRAYS = ("labels", "depth_m", "instances", "motion_px", "rgb")
"""Fields of View that are arrays of pixels."""

_SURFACES = "surfaces."
"""Prefix of the names of the arrays of `View.surfaces`."""

_UINT8 = np.dtype(np.uint8)


def pack_requests(
    requests: Sequence[RenderRequest], sizes_px: Sequence[tuple[int, int]]
) -> tuple[list[PackedRequest], int]:
    """Choose a location for each array of the requests.

    Args:
        sizes_px: (width, height) of the image to render for each request.

    Returns:
        The requests with their locations, and the bytes that the block needs.
    """
    packed: list[PackedRequest] = []
    end = 0
    for request, (width_px, height_px) in zip(requests, sizes_px, strict=True):
        arrays = locate_arrays(_view_arrays(request), end)
        end = max((location.end for location in arrays.values()), default=end)
        actors = locate_arrays(actor_arrays(request.actors), end)
        end = max(location.end for location in actors.values())
        rgb = next_location(end, (height_px, width_px, 3), _UINT8)
        end = rgb.end
        view = _replace_arrays(request.view, dict.fromkeys(arrays))
        without_arrays = dataclasses.replace(request, view=view, actors=())
        packed.append(PackedRequest(without_arrays, arrays, actors, rgb))
    return packed, end


def write_request(block: SharedBlock, request: RenderRequest, packed: PackedRequest) -> None:
    """Copy the arrays of a request to their locations."""
    for arrays, locations in (
        (_view_arrays(request), packed.arrays),
        (actor_arrays(request.actors), packed.actors),
    ):
        for name, array in arrays.items():
            block.array(locations[name])[...] = array


def read_request(block: SharedBlock, packed: PackedRequest) -> RenderRequest:
    """The request as it was written.

    The arrays of its view are the shared memory itself: valid until the reply is sent.
    """
    arrays: dict[str, Any] = {
        name: block.array(location) for name, location in packed.arrays.items()
    }
    view = _replace_arrays(packed.request.view, arrays)
    return dataclasses.replace(packed.request, view=view, actors=_actors(block, packed.actors))


def actor_arrays(actors: Sequence[Actor]) -> dict[str, Array]:
    """All fields of n actors as arrays, in dtypes that keep every value exactly."""
    n = len(actors)
    return {
        "ids_and_tags": np.array([(a.actor_id, a.tag) for a in actors], np.int64).reshape(n, 2),
        "poses": np.array([a.pose for a in actors], np.float32).reshape(n, 4, 4),
        "extents_and_velocities": np.array(
            [(*a.extent_m, *a.velocity_mps) for a in actors], np.float64
        ).reshape(n, 6),
    }


def _view_arrays(request: RenderRequest) -> dict[str, Array]:
    view = request.view
    arrays = {name: getattr(view, name) for name in VIEW_ARRAYS}
    if view.surfaces is not None:
        for field in dataclasses.fields(view.surfaces):
            arrays[_SURFACES + field.name] = getattr(view.surfaces, field.name)
    return {name: array for name, array in arrays.items() if array is not None}


def _replace_arrays(view: View, arrays: Mapping[str, Any]) -> View:
    """The view with other arrays, named as by `_view_arrays`."""
    own = {name: array for name, array in arrays.items() if not name.startswith(_SURFACES)}
    if view.surfaces is not None:
        of_surfaces = {name: array for name, array in arrays.items() if name not in own}
        own["surfaces"] = dataclasses.replace(
            view.surfaces, **{n.removeprefix(_SURFACES): a for n, a in of_surfaces.items()}
        )
    return dataclasses.replace(view, **own)


def _actors(block: SharedBlock, locations: Mapping[str, ArrayLocation]) -> tuple[Actor, ...]:
    ids_and_tags = block.array(locations["ids_and_tags"]).tolist()
    # A renderer keeps the poses for the next frame, when this memory is overwritten.
    poses = block.array(locations["poses"]).copy()
    numbers = block.array(locations["extents_and_velocities"]).tolist()
    return tuple(
        Actor(actor_id, tag, pose, tuple(six[:3]), tuple(six[3:]))
        for (actor_id, tag), pose, six in zip(ids_and_tags, poses, numbers, strict=True)
    )
