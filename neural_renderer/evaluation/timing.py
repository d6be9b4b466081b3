"""Cost of a frame in GMAC, and rendering speed of several networks in one run.

The networks take turns of a few frames each, so that a busy moment of the machine slows all of
them, and the result is the median over all turns. Speed does not depend on the values of weights,
so untrained networks are timed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from sim2street.bridge.frame import SKY_DEPTH_M, Camera, View
from sim2street.bridge.geometry import CAMERA_HEIGHT_M, level_pose
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.neural_renderer.checkpoint import CheckpointInfo, load_generator, save_generator
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.baselines import ImageUnet
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.networks.interface import (
    GEOMETRY_CHANNELS,
    LAYOUT_CHANNELS,
    GeneratorInput,
    History,
)
from sim2street.neural_renderer.networks.style import (
    CLASS_CHANNELS,
    CODE_CHANNELS,
    COLOUR_CHANNELS,
    KEY_CHANNELS,
    VALUE_CHANNELS,
    StyleCode,
)
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.styles.files import style_blob, style_to_bytes
from sim2street.neural_renderer.styles.make import compile_style

FRAMES_PER_TURN = 4
STEP_M = 0.4
"""Distance between the viewpoints of the benchmark."""
VIEWPOINTS = 6

RenderFrame = Callable[[], None]
"""Renders the next frame."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time per frame of one network.

    Attributes:
        median_s: median over all frames.
        fastest_s: the fastest frame.
        frames: number of timed frames.
        turns_s: median of each turn.
    """

    median_s: float
    fastest_s: float
    frames: int
    turns_s: tuple[float, ...]

    @property
    def frames_per_s(self) -> float:
        """Frames per second, from the median."""
        return 1.0 / self.median_s

    def speedup_over(self, other: Timing) -> float:
        """Median over turns of the other's time divided by the own time.

        Compared turn by turn, so that disturbances that slow both cancel.
        """
        turns = zip(self.turns_s, other.turns_s, strict=True)
        return float(np.median([other_s / own_s for own_s, other_s in turns]))


def frame_gmac(kind: str, size: str, history: bool = False) -> float:
    """GMAC (10^9 multiply-adds) of a 512x256 frame in a compiled style, counted on meta tensors."""
    names = ClassMap.default().names
    groups = len(names)
    with torch.device("meta"), torch.no_grad():
        generator = build_frame_generator(kind, size, names).eval()
        plane, image = torch.empty(1, 1, 256, 512), torch.empty(1, 3, 256, 512)
        scalar = torch.empty(1, 1, 1, 1)
        labels, layout, geometry = (
            torch.empty(1, c, 256, 512) for c in (groups, LAYOUT_CHANNELS, GEOMETRY_CHANNELS)
        )
        x = GeneratorInput(labels, layout, geometry, scalar, image)
        code = StyleCode(
            torch.empty(1, groups, CLASS_CHANNELS), torch.empty(1, CODE_CHANNELS),
            torch.empty(1, 1024, KEY_CHANNELS), torch.empty(1, 1024, VALUE_CHANNELS),
            torch.empty(1, 1024), torch.empty(1, groups, COLOUR_CHANNELS),
        )  # fmt: skip
        style = generator.compile_style(code)
        with FlopCounterMode(display=False) as counter:
            generator(x, style, History(image, plane, scalar) if history else None)
    return float(counter.get_total_flops()) / 2e9


def time_in_turns(
    networks: Mapping[str, RenderFrame], turns: int, report: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Time `turns` turns of each network, after one turn of warm-up.

    Args:
        networks: function that renders the next frame, by name.
        report: called after each turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(turns + 1):
        for name, render_frame in networks.items():
            for _ in range(FRAMES_PER_TURN):
                started_s = time.perf_counter()
                render_frame()
                if turn:
                    seconds[name].append(time.perf_counter() - started_s)
            report()
    return {name: _timing(taken) for name, taken in seconds.items()}


def _timing(taken_s: list[float]) -> Timing:
    turns_s = np.median(np.reshape(taken_s, (-1, FRAMES_PER_TURN)), axis=1)
    return Timing(float(np.median(taken_s)), min(taken_s), len(taken_s), tuple(turns_s.tolist()))


def renderer_frames(
    size: str, precision: str, size_px: tuple[int, int], device: str
) -> tuple[RenderFrame, NeuralRenderer]:
    """An untrained renderer that moves back and forth along a street; close it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "untrained.safetensors"
        class_map = ClassMap.default()
        torch.manual_seed(0)
        untrained = build_frame_generator("few-shot", size, class_map.names)
        save_generator(weights, untrained, CheckpointInfo(size, 0, class_map, tuple(range(29)), ""))
        generator, info = load_generator(weights)
        renderer = NeuralRenderer(weights, None, device, precision)
    width, height = size_px
    tags = torch.zeros(29, height, width, dtype=torch.uint8)
    tags[Tag.ROAD] = 1
    exemplars = [torch.rand(3, height, width) * 2.0 - 1.0 for _ in range(4)]
    code = compile_style(generator, class_map, exemplars, [tags] * 4)
    style = style_blob(style_to_bytes(code, "any", info.sha256), "any")
    camera = Camera.from_fov(width, height, 62.0)
    session = renderer.open_session(SessionConfig(style, camera, size_px))
    # Made beforehand, because a renderer does not make views.
    views = [street_view(camera, viewpoint) for viewpoint in range(VIEWPOINTS)]
    views += views[-2:0:-1]
    tick = 0

    def render_frame() -> None:
        nonlocal tick
        renderer.render([RenderRequest(session, views[tick % len(views)], tick, 0)])
        tick += 1

    return render_frame, renderer


def unet_frames(dtype: torch.dtype, size_px: tuple[int, int], device: str) -> RenderFrame:
    """The image-to-image U-Net on one image again and again."""
    net = ImageUnet().to(device, dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    image = torch.rand(1, 3, size_px[1], size_px[0], device=device, dtype=dtype)
    image = image.contiguous(memory_format=torch.channels_last)

    def render_frame() -> None:
        with torch.inference_mode():
            net(image).float().cpu()

    return render_frame


def street_view(camera: Camera, viewpoint: int) -> View:
    """A straight street with walls, seen from a numbered viewpoint: labels and exact depth."""
    height, width = camera.height_px, camera.width_px
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    below = np.maximum(rows - camera.cy_px, 1e-3)
    ground_m = np.minimum(CAMERA_HEIGHT_M * camera.fy_px / below, SKY_DEPTH_M)
    beside = np.abs(columns - camera.cx_px) / camera.fx_px
    wall_m = np.minimum(12.0 / np.maximum(beside, 1e-3), SKY_DEPTH_M)
    wall_top = camera.cy_px - 9.0 * camera.fy_px / wall_m
    labels = np.full((height, width), Tag.SKY, np.uint8)
    depth_m = np.full((height, width), SKY_DEPTH_M, np.float32)
    wall = (rows > wall_top) & (wall_m < 200.0)
    labels[wall], depth_m[wall] = Tag.BUILDING, wall_m[wall]
    ground = (rows > camera.cy_px) & (ground_m < depth_m)
    labels[ground] = np.where(beside * ground_m < 5.0, Tag.ROAD, Tag.SIDEWALK)[ground]
    depth_m[ground] = ground_m[ground]
    pose = level_pose()
    pose[0, 3] = STEP_M * viewpoint
    return View(camera, pose, labels, depth_m.astype(np.float32))
