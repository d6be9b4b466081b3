"""Intrinsics of a pinhole camera. Import `Camera` from `sim2street.bridge.frame`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim2street.bridge.errors import FrameError


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics of a pinhole camera, in pixels of the label image."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    @classmethod
    def from_fov(cls, width_px: int, height_px: int, fov_deg: float) -> Camera:
        """A camera with square pixels, a centred principal point and a horizontal field of view.

        The principal point is `(size - 1) / 2`, because coordinate 0 is a pixel's centre.

        Raises:
            FrameError: `fov_deg` is outside [1, 170].
        """
        if not 1.0 <= fov_deg <= 170.0:
            raise FrameError(f"camera fov_deg must be in [1, 170], got {fov_deg}")
        focal_px = width_px / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        return cls(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        return math.degrees(2.0 * math.atan(self.width_px / (2.0 * self.fx_px)))

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The same camera at another resolution."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        # Half a pixel is added and removed because coordinate 0 is a pixel's centre.
        cx_px, cy_px = (self.cx_px + 0.5) * sx - 0.5, (self.cy_px + 0.5) * sy - 0.5
        return Camera(width_px, height_px, self.fx_px * sx, self.fy_px * sy, cx_px, cy_px)

    def validate(self) -> None:
        """Raise FrameError unless sizes and focal lengths are positive and all numbers finite."""
        values = (self.fx_px, self.fy_px, self.cx_px, self.cy_px)
        if self.width_px < 1 or self.height_px < 1 or not all(map(math.isfinite, values)):
            raise FrameError(f"camera: sizes must be positive and intrinsics finite, got {self}")
        if self.fx_px <= 0 or self.fy_px <= 0:
            raise FrameError(f"camera: focal lengths must be positive, got {self}")
