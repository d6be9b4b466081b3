"""An orthographic z-buffer renderer for sheets of textures, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tools.atlas.models import Array, Model

Floats = npt.NDArray[np.float32]


@dataclass
class Buffers:
    """What each pixel of an orthographic view sees.

    Attributes:
        triangle: int (H, W), index of the triangle, -1 where there is none.
        depth: float (H, W), distance towards the eye in model units; -inf where there is none.
        normal: float (H, W, 3) in view axes: right, up, towards the eye; turned to the eye.
        uv: float (H, W, 2).
        material: int (H, W), -1 where there is none.
    """

    triangle: npt.NDArray[np.int64]
    depth: Array
    normal: Array
    uv: Array
    material: npt.NDArray[np.int64]


VIEWS: dict[str, Array] = {
    # Rows: right, up, towards the eye, in model axes x = forward, y = left, z = up.
    "side": np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
    "front": np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]),
    "back": np.array([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]]),
    "top": np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]),
}
"""Left side with the front at the left, front, back, and top with the front upwards."""


def render(model: Model, axes: Array, px: tuple[int, int]) -> Buffers:
    """Renders a model so that its bounds fill `px` (width, height)."""
    turned = model.turned(axes)
    low, high = turned.bounds()
    scale = np.array([px[0], px[1]]) / (high - low)[:2]
    screen = (turned.corners[..., :2] - low[:2]) * scale
    screen[..., 1] = px[1] - screen[..., 1]
    triangle = np.full((px[1], px[0]), -1, dtype=np.int64)
    depth = np.full((px[1], px[0]), -np.inf)
    weights = np.zeros((px[1], px[0], 3))
    _fill(screen, turned.corners[..., 2], triangle, depth, weights)
    safe = np.maximum(triangle, 0)
    normal = (turned.normals[safe] * weights[..., None]).sum(2)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    normal *= np.where(normal[..., 2:] < 0, -1.0, 1.0)
    uv = (turned.uv[safe] * weights[..., None]).sum(2)
    material = np.where(triangle >= 0, turned.material[safe], -1)
    return Buffers(triangle, depth, normal, uv, material)


def _fill(
    screen: Array,
    height: Array,
    triangle: npt.NDArray[np.int64],
    depth: Array,
    weights: Array,
) -> None:
    """Writes the triangles into the buffers; the nearest one wins."""
    rows, columns = triangle.shape
    first = np.ceil(screen.min(1) - 0.5).astype(int)
    last = np.floor(screen.max(1) - 0.5).astype(int)
    first = np.maximum(first, 0)
    last = np.minimum(last, [columns - 1, rows - 1])
    a, b, c = screen[:, 0], screen[:, 1], screen[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    visible = (first <= last).all(1) & (np.abs(area) > 1e-9)
    for t in np.flatnonzero(visible):
        x = np.arange(first[t, 0], last[t, 0] + 1) + 0.5
        y = (np.arange(first[t, 1], last[t, 1] + 1) + 0.5)[:, None]
        p, q, r = a[t], b[t], c[t]
        w1 = ((x - p[0]) * (r[1] - p[1]) - (y - p[1]) * (r[0] - p[0])) / area[t]
        w2 = ((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])) / area[t]
        w0 = 1 - w1 - w2
        z = w0 * height[t, 0] + w1 * height[t, 1] + w2 * height[t, 2]
        window = (slice(first[t, 1], last[t, 1] + 1), slice(first[t, 0], last[t, 0] + 1))
        near = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (z > depth[window])
        if near.any():
            depth[window][near] = z[near]
            triangle[window][near] = t
            weights[window][near] = np.stack([w0, w1, w2], axis=2)[near]
