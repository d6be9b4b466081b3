"""Still images of label maps: a session for each, rendered in one batch, closed again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from sim2street.bridge.errors import FrameError, RendererError
from sim2street.bridge.frame import ByteArray, Camera, FloatArray, View
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.render_request import (
    DEFAULT_STYLE,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleBlob,
    StyleChoice,
)

STILL_FOV_DEG = 62.0
"""Horizontal field of view, if the caller does not know it."""


class StillImages(ABC):
    """Base class of renderers: renders label maps without a world, by means of sessions."""

    @abstractmethod
    def open_session(self, config: SessionConfig) -> int:
        """See `Renderer`."""

    @abstractmethod
    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        """See `Renderer`."""

    @abstractmethod
    def close_session(self, session: int) -> None:
        """See `Renderer`."""

    def render_labels(
        self,
        labels: ByteArray,
        style: StyleChoice | Sequence[StyleChoice] = DEFAULT_STYLE,
        *,
        depth_m: FloatArray | None = None,
        scale: int = 1,
        seed: int = 0,
        fov_deg: float = STILL_FOV_DEG,
    ) -> ByteArray:
        """Render label maps as still images; no world, camera or pose is needed.

        Args:
            labels: uint8 (H, W), tags 0..28, or a batch of N of them, (N, H, W).
            style: one style for all, or N styles, one per label map. With a single label map and
                N styles, the map is rendered once in each style.
            depth_m: float32, of the shape of `labels`: depth in metres, if known.
            scale: size of the images over the size of the labels.
            seed: another one gives other random detail.
            fov_deg: horizontal field of view of the camera.

        Returns:
            uint8 (scale * H, scale * W, 3), or (N, scale * H, scale * W, 3) for a batch of label
            maps or several styles.

        Raises:
            RendererError: wrong shape or dtype, a tag above 28, or an unknown style.
        """
        stills = still_views(labels, depth_m, fov_deg)
        styles = [style] if isinstance(style, str | StyleBlob | Mapping) else list(style)
        count = max(len(stills), len(styles))
        if len(stills) not in (1, count) or len(styles) not in (1, count) or not styles:
            raise RendererError(
                f"expected one style or one per label map, got {len(styles)} styles "
                f"and {len(stills)} label maps"
            )
        views, styles = stills * (count // len(stills)), styles * (count // len(styles))
        camera = views[0].camera
        size_px = (camera.width_px * scale, camera.height_px * scale)
        sessions: list[int] = []
        try:
            for each in styles:
                sessions.append(self.open_session(SessionConfig(each, camera, size_px, seed)))
            pairs = zip(sessions, views, strict=True)
            made = self.render([RenderRequest(session, view, 0, 0) for session, view in pairs])
        finally:
            for session in sessions:
                self.close_session(session)
        alone = labels.ndim == 2 and isinstance(style, str | StyleBlob | Mapping)
        return made[0].rgb if alone else np.stack([rendering.rgb for rendering in made])


def still_views(labels: ByteArray, depth_m: FloatArray | None, fov_deg: float) -> list[View]:
    """Views of label maps, uint8 (H, W) or (N, H, W), from a level camera; checked."""
    if labels.dtype != np.uint8 or labels.ndim not in (2, 3) or not labels.size:
        raise RendererError(
            f"labels: expected uint8 (H, W) or (N, H, W), got {labels.dtype} {labels.shape}"
        )
    if depth_m is not None and depth_m.shape != labels.shape:
        raise RendererError(f"depth_m: expected the labels' {labels.shape}, got {depth_m.shape}")
    camera = Camera.from_fov(labels.shape[-1], labels.shape[-2], fov_deg)
    maps = labels.reshape(-1, *labels.shape[-2:])
    depths = [None] * len(maps) if depth_m is None else list(depth_m.reshape(maps.shape))
    views = [
        View(camera, level_pose(), np.ascontiguousarray(each), depth)
        for each, depth in zip(maps, depths, strict=True)
    ]
    try:
        for view in views:
            view.validate()
    except FrameError as error:
        raise RendererError(str(error)) from error
    return views
