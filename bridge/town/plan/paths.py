"""Many polylines in flat arrays, for vectorised lookups of poses along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim2street.bridge.town.plan.layout import Points
from sim2street.bridge.town.plan.polyline import Floats, arc_lengths, heading_slopes, headings

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PathSet:
    """P paths of equally spaced points, one after the other in the same arrays.

    Attributes:
        first: int64 (P,), index of each path's first point.
        count: int64 (P,), number of its points.
        length_m, spacing_m: float64 (P,).
        x_m, y_m, heading_rad, curvature_1pm: float64, one value per point. Headings are
            continuous within a path, so they may exceed pi.
    """

    first: Ints
    count: Ints
    length_m: Floats
    spacing_m: Floats
    x_m: Floats
    y_m: Floats
    heading_rad: Floats
    curvature_1pm: Floats

    @classmethod
    def of(cls, lines: Sequence[Points]) -> PathSet:
        """A PathSet of lines (N, 2) of equally spaced points."""
        count = np.array([len(line) for line in lines], np.int64)
        lengths = [arc_lengths(line) for line in lines]
        headings_rad = [headings(line) for line in lines]
        curvatures = [heading_slopes(*pair) for pair in zip(headings_rad, lengths, strict=True)]
        length = np.array([along[-1] for along in lengths])
        points = np.concatenate(lines)
        return cls(
            first=np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64),
            count=count,
            length_m=length,
            spacing_m=length / (count - 1),
            x_m=np.ascontiguousarray(points[:, 0]),
            y_m=np.ascontiguousarray(points[:, 1]),
            heading_rad=np.concatenate(headings_rad),
            curvature_1pm=np.concatenate(curvatures),
        )

    def locate(self, path: Ints, s_m: Floats) -> tuple[Ints, Floats]:
        """Index of the last point before `s_m` along each path, and the share of the next step.

        Args:
            path: int64 (K,). s_m: float64 (K,); clipped to the path.
        """
        steps = s_m / self.spacing_m[path]
        whole = np.maximum(np.minimum(steps.astype(np.int64), self.count[path] - 2), 0)
        return self.first[path] + whole, np.maximum(np.minimum(steps - whole, 1.0), 0.0)

    def poses(self, path: Ints, s_m: Floats) -> tuple[Floats, Floats, Floats]:
        """x, y and heading, each (K,), at `s_m` along each path."""
        at, share = self.locate(path, s_m)
        rest = 1.0 - share
        after = at + 1
        return (
            self.x_m[at] * rest + self.x_m[after] * share,
            self.y_m[at] * rest + self.y_m[after] * share,
            self.heading_rad[at] * rest + self.heading_rad[after] * share,
        )
