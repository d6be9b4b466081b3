"""What a frame costs, and how fast generators render, each beside the others in the same run.

Contestants take turns, a few frames each, so that a busy moment of the machine hits all of
them; what counts is the median over all turns. Cost does not depend on the weights, so
untrained ones will do.
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
from sim2street.neural_renderer.conditions.generator_input import ClassMap
from sim2street.neural_renderer.networks.baselines import ImageUnet, build_frame_generator
from sim2street.neural_renderer.networks.generator import (
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
from sim2street.neural_renderer.styles.files import blob, compile_style, style_to_bytes

FRAMES_A_TURN = 4
STEP_M = 0.4
PLACES = 6

Frame = Callable[[], None]
"""Renders one more frame."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Median and fastest frame in seconds, how many were timed, each turn's median."""

    median_s: float
    fastest_s: float
    frames: int
    turns_s: tuple[float, ...]

    @property
    def frames_per_s(self) -> float:
        """By the median."""
        return 1.0 / self.median_s

    def times_as_fast_as(self, other: Timing) -> float:
        """Turn by turn, the median of it: what disturbs both at once does not count."""
        turns = zip(self.turns_s, other.turns_s, strict=True)
        return float(np.median([others_s / own_s for own_s, others_s in turns]))


def frame_gmac(kind: str, size: str, history: bool = False) -> float:
    """GMAC of a 512x256 frame in a compiled style, counted on tensors without content."""
    groups = len(ClassMap.default().names)
    with torch.device("meta"), torch.no_grad():
        generator = build_frame_generator(kind, size, groups).eval()
        plane, picture = torch.empty(1, 1, 256, 512), torch.empty(1, 3, 256, 512)
        number = torch.empty(1, 1, 1, 1)
        labels, layout, geometry = (
            torch.empty(1, c, 256, 512) for c in (groups, LAYOUT_CHANNELS, GEOMETRY_CHANNELS)
        )
        x = GeneratorInput(labels, layout, geometry, number, picture)
        code = StyleCode(
            torch.empty(1, groups, CLASS_CHANNELS), torch.empty(1, CODE_CHANNELS),
            torch.empty(1, 1024, KEY_CHANNELS), torch.empty(1, 1024, VALUE_CHANNELS),
            torch.empty(1, 1024), torch.empty(1, groups, COLOUR_CHANNELS),
        )  # fmt: skip
        style = generator.compile_style(code)
        with FlopCounterMode(display=False) as counter:
            generator(x, style, History(picture, plane, number) if history else None)
    return float(counter.get_total_flops()) / 2e9


def time_in_turns(
    contestants: Mapping[str, Frame], turns: int, report: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Warm every contestant up by a turn, then let them take `turns` turns each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, frame in contestants.items():
            for _ in range(FRAMES_A_TURN):
                started_s = time.perf_counter()
                frame()
                if turn:
                    seconds[name].append(time.perf_counter() - started_s)
            report()
    return {name: _timing(taken) for name, taken in seconds.items()}


def _timing(taken_s: list[float]) -> Timing:
    turns_s = np.median(np.reshape(taken_s, (-1, FRAMES_A_TURN)), axis=1)
    return Timing(float(np.median(taken_s)), min(taken_s), len(taken_s), tuple(turns_s.tolist()))


def renderer_frames(
    size: str, precision: str, size_px: tuple[int, int], device: str
) -> tuple[Frame, NeuralRenderer]:
    """An untrained renderer driving to and fro along a street; close it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "untrained.safetensors"
        class_map = ClassMap.default()
        torch.manual_seed(0)
        untrained = build_frame_generator("few-shot", size, len(class_map.names))
        save_generator(weights, untrained, CheckpointInfo(size, 0, class_map, tuple(range(29)), ""))
        generator, info = load_generator(weights)
        renderer = NeuralRenderer(weights, None, device, precision)
    width, height = size_px
    tags = torch.zeros(29, height, width, dtype=torch.uint8)
    tags[Tag.ROAD] = 1
    exemplars = [torch.rand(3, height, width) * 2.0 - 1.0 for _ in range(4)]
    code = compile_style(generator, class_map, exemplars, [tags] * 4)
    style = blob(style_to_bytes(code, "any", info.sha256), "any")
    camera = Camera.from_fov(width, height, 62.0)
    session = renderer.open_session(SessionConfig(style, camera, size_px))
    way = [street_view(camera, place) for place in range(PLACES)]
    there_and_back = way + way[-2:0:-1]  # made beforehand: a world's work is not the renderer's
    tick = 0

    def frame() -> None:
        nonlocal tick
        view = there_and_back[tick % len(there_and_back)]
        renderer.render([RenderRequest(session, view, tick, 0)])
        tick += 1

    return frame, renderer


def unet_frames(dtype: torch.dtype, size_px: tuple[int, int], device: str) -> Frame:
    """The image-to-image U-Net on one picture again and again."""
    net = ImageUnet().to(device, dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    picture = torch.rand(1, 3, size_px[1], size_px[0], device=device, dtype=dtype)
    picture = picture.contiguous(memory_format=torch.channels_last)

    def frame() -> None:
        with torch.inference_mode():
            net(picture).float().cpu()

    return frame


def street_view(camera: Camera, place: int) -> View:
    """A straight street from the place-th stop along it: labels and exact depth."""
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
    pose[0, 3] = STEP_M * place
    return View(camera, pose, labels, depth_m.astype(np.float32))
