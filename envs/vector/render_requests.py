"""Requests to render, through shared memory: views and actors as arrays, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim2street.bridge.frame import Actor
from sim2street.bridge.renderer import RenderRequest
from sim2street.envs.vector.messages import PackedRequest
from sim2street.envs.vector.shared_memory import Block, Place, place_after, places_for

VIEW_ARRAYS = ("labels", "depth_m", "instances", "motion_px", "rgb")

_BYTE = np.dtype(np.uint8)


def bytes_needed(
    requests: Sequence[RenderRequest], sizes_px: Sequence[tuple[int, int]]
) -> tuple[list[PackedRequest], int]:
    """Where each array of the requests goes, and how large the block has to be.

    Args:
        sizes_px: (width, height) of the pictures to come.
    """
    packed: list[PackedRequest] = []
    end = 0
    for request, (width_px, height_px) in zip(requests, sizes_px, strict=True):
        arrays = places_for(_view_arrays(request), end)
        end = max((place.end for place in arrays.values()), default=end)
        actors = places_for(_actor_arrays(request.actors), end)
        end = max(place.end for place in actors.values())
        rgb = place_after(end, (height_px, width_px, 3), _BYTE)
        end = rgb.end
        nothing: dict[str, Any] = dict.fromkeys(VIEW_ARRAYS)
        bare = dataclasses.replace(request.view, **nothing)
        stripped = dataclasses.replace(request, view=bare, actors=())
        packed.append(PackedRequest(stripped, arrays, actors, rgb))
    return packed, end


def write_request(block: Block, request: RenderRequest, packed: PackedRequest) -> None:
    """Copy a request's arrays to their places."""
    sources = (_view_arrays(request), packed.arrays), (_actor_arrays(request.actors), packed.actors)
    for arrays, places in sources:
        for name, array in arrays.items():
            block.array(places[name])[...] = array


def read_request(block: Block, packed: PackedRequest) -> RenderRequest:
    """The request; its view's arrays are windows on the block, good until it is answered."""
    arrays: dict[str, Any] = {n: block.array(place) for n, place in packed.arrays.items()}
    view = dataclasses.replace(packed.request.view, **arrays)
    return dataclasses.replace(packed.request, view=view, actors=_actors(block, packed.actors))


def _view_arrays(request: RenderRequest) -> dict[str, np.ndarray]:
    named = {name: getattr(request.view, name) for name in VIEW_ARRAYS}
    return {name: array for name, array in named.items() if array is not None}


def _actor_arrays(actors: Sequence[Actor]) -> dict[str, np.ndarray]:
    """Every field of n actors as one array; numbers keep all their digits."""
    n = len(actors)
    return {
        "ids_and_tags": np.array([(a.actor_id, a.tag) for a in actors], np.int64).reshape(n, 2),
        "poses": np.array([a.pose for a in actors], np.float32).reshape(n, 4, 4),
        "extents_and_velocities": np.array(
            [(*a.extent_m, *a.velocity_mps) for a in actors], np.float64
        ).reshape(n, 6),
    }


def _actors(block: Block, places: Mapping[str, Place]) -> tuple[Actor, ...]:
    who = block.array(places["ids_and_tags"]).tolist()
    poses = block.array(places["poses"]).copy()  # renderers remember where actors were
    numbers = block.array(places["extents_and_velocities"]).tolist()
    return tuple(
        Actor(actor_id, tag, pose, tuple(six[:3]), tuple(six[3:]))
        for (actor_id, tag), pose, six in zip(who, poses, numbers, strict=True)
    )
