"""Edges between things: what tells a network where one facade ends and the next begins."""

from __future__ import annotations

import numpy as np

from bridge.frame import ByteArray, IdArray
from bridge.labels import Tag


def boundaries(labels: ByteArray, instances: IdArray | ByteArray | None = None) -> ByteArray:
    """Uint8 (H, W): 1 where the pixel to the right or below belongs to something else.

    "Something else" is another tag or another instance; road markings count as road, for
    they have a plane of their own. The same rule serves photographs (with facades found in
    the picture) and simulators (with instances).
    """
    surfaces = np.where(labels == Tag.ROAD_LINES, np.uint8(Tag.ROAD), labels)
    things = [surfaces] if instances is None else [surfaces, instances]
    edges = np.zeros(labels.shape, np.bool_)
    for thing in things:
        edges[:, :-1] |= thing[:, :-1] != thing[:, 1:]
        edges[:-1] |= thing[:-1] != thing[1:]
    return edges.view(np.uint8)
