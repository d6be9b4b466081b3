"""Views with texture coordinates travel through shared memory, not through the pipe."""

from __future__ import annotations

import pickle

import numpy as np

from sim2street.bridge.frame import Camera, View
from sim2street.bridge.renderer import RenderRequest
from sim2street.bridge.surfaces import SURFACE_FIELDS, Surfaces
from sim2street.envs.vector.render_requests import pack_requests, read_request, write_request
from sim2street.envs.vector.shared_memory import SharedBlock


def test_all_arrays_of_a_view_travel_through_shared_memory() -> None:
    camera = Camera.from_fov(32, 16, 60.0)
    size = (16, 32)
    surfaces = Surfaces(
        np.arange(512, dtype=np.uint16).reshape(size) % 3,
        np.random.default_rng(1).random((*size, 2), np.float32),
        np.array([1, 3], np.uint8),
        np.array([7, 2**31], np.uint32),
        np.ones((2, 2), np.float32),
        np.array([2, 40], np.uint8),
    )
    pose = np.eye(4, dtype=np.float32)
    for chosen in (surfaces, None):
        view = View(camera, pose, np.ones(size, np.uint8), surfaces=chosen)
        request = RenderRequest(1, view, 2, 3)
        (packed,), size_bytes = pack_requests([request], [(32, 16)])
        assert len(pickle.dumps(packed)) < 3000
        block = SharedBlock.create(size_bytes)
        try:
            write_request(block, request, packed)
            back = read_request(block, packed).view
            assert np.array_equal(back.labels, view.labels)
            assert back.depth_m is None
            assert (back.surfaces is None) == (chosen is None)
            if back.surfaces is not None:
                for name in SURFACE_FIELDS:
                    assert np.array_equal(getattr(back.surfaces, name), getattr(surfaces, name))
            del back
        finally:
            block.remove_name()
            block.close()
