"""Render modes of the envs: the camera image, labels, depth and image side by side, a window."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sim2street.bridge.frame import ByteArray, FloatArray, View
from sim2street.bridge.palette import paint_labels
from sim2street.configs import ConfigError, did_you_mean

RENDER_MODES = ("rgb_array", "human", "side_by_side")

WHITE_DEPTH_M = 4.0
"""Depth up to which `paint_depth` is white."""


def check_render_mode(render_mode: str | None) -> None:
    """Raise ConfigError where an env has no such render mode."""
    if render_mode is None or render_mode in RENDER_MODES:
        return
    if render_mode.removesuffix("_list") in RENDER_MODES:
        single = render_mode.removesuffix("_list")
        raise ConfigError(
            f"render_mode '{render_mode}': frames are collected by a wrapper. Make the env with "
            f"gymnasium.make(id, render_mode='{render_mode}'), or wrap one with the render_mode "
            f"'{single}' in gymnasium.wrappers.RenderCollection"
        )
    raise ConfigError(
        f"unknown render_mode '{render_mode}'{did_you_mean(render_mode, list(RENDER_MODES))}"
    )


def camera_image(view: View) -> ByteArray:
    """The rgb image of a view, or its labels in palette colours if it has none.

    uint8 (H, W, 3), a new array.
    """
    return view.rgb.copy() if view.rgb is not None else paint_labels(view)


def side_by_side(view: View) -> ByteArray:
    """uint8 (H, 3 W, 3): labels, depth and rgb at the size of rgb; what is missing is black."""
    camera = view.camera
    rgb = view.rgb
    scale = 1 if rgb is None else rgb.shape[0] // camera.height_px
    black = np.zeros((camera.height_px * scale, camera.width_px * scale, 3), np.uint8)
    panels = [black, black, black if rgb is None else rgb]
    if view.labels is not None:
        panels[0] = _enlarged(paint_labels(view), scale)
    if view.depth_m is not None:
        panels[1] = _enlarged(paint_depth(view.depth_m), scale)
    return np.concatenate(panels, axis=1)


def paint_depth(depth_m: FloatArray) -> ByteArray:
    """uint8 (H, W, 3): grey in proportion to inverse depth, white at 4 m and nearer."""
    inverse = WHITE_DEPTH_M / np.maximum(depth_m, WHITE_DEPTH_M)
    grey = np.clip(255.0 * inverse, 0.0, 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


class Window:
    """A window on the desktop that shows images. It opens with the first one."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._pygame: Any = None
        self._surface: Any = None

    def show(self, image: ByteArray, fps: int) -> None:
        """Show uint8 (H, W, 3), at most `fps` times a second.

        Raises:
            ConfigError: pygame is not installed, or no window can be opened.
        """
        if self._pygame is None:
            self._open()
        pygame = self._pygame
        height, width = image.shape[:2]
        if self._surface is None or self._surface.get_size() != (width, height):
            self._surface = pygame.display.set_mode((width, height))
        pygame.event.pump()  # without it, the desktop reports the window as frozen
        pygame.surfarray.blit_array(self._surface, image.swapaxes(0, 1))
        pygame.display.flip()
        self._clock.tick(fps)

    def close(self) -> None:
        """Close the window. May be called more than once."""
        if self._pygame is not None:
            self._pygame.display.quit()
            self._pygame = self._surface = None

    def _open(self) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ModuleNotFoundError as error:
            raise ConfigError(
                'render_mode "human" needs pygame: pip install "sim2street[human]"'
            ) from error
        try:
            pygame.display.init()
        except pygame.error as error:
            raise ConfigError(
                f'render_mode "human" cannot open a window here ({error}): use "rgb_array", or '
                "set SDL_VIDEODRIVER=dummy to run without a display"
            ) from error
        pygame.display.set_caption(self._title)
        self._clock = pygame.time.Clock()
        self._pygame = pygame


def _enlarged(image: ByteArray, scale: int) -> ByteArray:
    return image.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else image
