"""NeuralRenderer: sessions, styles, temporal state and one batched forward.

A session is a style, a camera and what it rendered last. `render` turns any number of
sessions' views into pictures in one forward; a session's recurrent state is explicit
(`RenderState`): it goes in, and a new one comes out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import MAX_TAG, Actor, ByteArray, FloatArray
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleBlob,
    StyleChoice,
    out_scale,
)
from sim2street.configs import did_you_mean
from sim2street.neural_renderer.checkpoint import load_generator
from sim2street.neural_renderer.conditions.generator_input import (
    anchored_noise,
    generator_input,
    pad_to_multiple,
)
from sim2street.neural_renderer.conditions.layout import layout
from sim2street.neural_renderer.conditions.reprojection import (
    Movers,
    Reprojection,
    reproject,
    surface_points,
    visible_before,
)
from sim2street.neural_renderer.conditions.view_tensors import (
    anchors,
    as_plane,
    engine_motion,
    instance_ids,
    movers_among,
    moves_between,
    view_intrinsics,
    world_windows,
)
from sim2street.neural_renderer.networks.generator import (
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
    History,
)
from sim2street.neural_renderer.networks.motion import catmull_rom_warp
from sim2street.neural_renderer.networks.style import StyleCode, blend_styles, stack_styles
from sim2street.neural_renderer.runtimes.precision import bfloat16_may_pay, faster
from sim2street.neural_renderer.styles.files import read_styles, style_from_bytes

CUT_DISTANCE_M = 5.0
CUT_TICKS = 10
FLAT_DEPTH_M = 20.0
"""Depth assumed for noise where a view has none."""

COMPILED_STYLES = 16
"""How many batches of compiled styles are remembered."""

Part = TypeVar("Part", GeneratorInput, StyleCode, History | None)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderState:
    """What a session remembers of its last rendered view; a batch of one.

    Attributes:
        rgb: float32 (1, 3, H, W) in [-1, 1], the output itself.
        depth_m: float32 (1, H, W) or None. ids: int32 (1, H, W), `views.instance_ids`.
        pose: float32 (4, 4). actors: of that tick. age: frames since the restart.
    """

    rgb: Tensor
    depth_m: Tensor | None
    ids: Tensor
    pose: FloatArray
    actors: tuple[Actor, ...]
    tick: int
    episode: int
    age: int


@dataclass
class _Session:
    config: SessionConfig
    style: StyleCode
    state: RenderState | None = None
    picture: ByteArray | None = None


@dataclass(frozen=True)
class _Prepared:
    """One request as tensors, batch of one."""

    x: GeneratorInput
    history: History | None
    depth_m: Tensor | None
    ids: Tensor


class NeuralRenderer(Renderer):
    """Photorealistic rendering with a trained generator.

    Args:
        weights: serving checkpoint (`sim2street.neural_renderer.checkpoint`).
        styles: folder of style files made with these weights, at least one; None: every
            session brings its own style as bytes.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...
        precision: "auto" times float32 and bfloat16 at warm-up and keeps the faster, where
            bfloat16 can pay at all.
    """

    def __init__(
        self, weights: Path, styles: Path | None, device: str = "auto", precision: str = "auto"
    ) -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._device = torch.device(chosen)
        generator, self.info = load_generator(weights)
        self._generator = generator.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._timed = precision != "auto" or not bfloat16_may_pay(self._device)
        if precision == "bfloat16":
            self._generator.to(torch.bfloat16)
        self._compiled: dict[tuple[int, ...], tuple[Sequence[StyleCode], CompiledStyle]] = {}
        known = read_styles(styles, self.info.sha256) if styles is not None else {}
        self._styles = {name: code.to(self._device) for name, code in known.items()}
        self._sessions: dict[int, _Session] = {}
        self._next_session = 1
        self._warned_tags: set[int] = set()

    def styles(self) -> tuple[str, ...]:
        return tuple(self._styles)

    def open_session(self, config: SessionConfig) -> int:
        out_scale(config)
        session = self._next_session
        self._next_session += 1
        self._sessions[session] = _Session(config, self._resolve(config.style))
        return session

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._session(session).style = self._resolve(style)

    def save_session(self, session: int) -> tuple[RenderState | None, ByteArray | None]:
        known = self._session(session)
        return known.state, known.picture

    def load_session(self, session: int, saved: Any) -> None:
        known = self._session(session)
        known.state, known.picture = saved

    def close_session(self, session: int) -> None:
        self._sessions.pop(session, None)

    def close(self) -> None:
        self._sessions.clear()
        self._compiled.clear()

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        out: dict[int, ByteArray] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            session = self._session(request.session)
            if _is_same_tick(session.state, request) and session.picture is not None:
                out[index] = session.picture
            else:
                groups.setdefault(session.config.out_size_px, []).append(index)
        for indices in groups.values():
            # However clients take turns, a batch of the same sessions is one `_compile` knows.
            indices.sort(key=lambda index: requests[index].session)
            pictures = self._render_group([requests[i] for i in indices])
            out.update(zip(indices, pictures, strict=True))
        return [Rendering(out[i].copy()) for i in range(len(requests))]

    @torch.inference_mode()
    def _render_group(self, requests: Sequence[RenderRequest]) -> list[ByteArray]:
        """One forward over sessions that share an output size."""
        sessions = [self._session(request.session) for request in requests]
        prepared = [self._prepare(s, r) for s, r in zip(sessions, requests, strict=True)]
        x = _stack_inputs([p.x for p in prepared])
        history = _stack_histories([p.history for p in prepared], x)
        width_px, height_px = sessions[0].config.out_size_px
        rgb = self._forward(x, [s.style for s in sessions], history)[..., :height_px, :width_px]
        pictures = (rgb * 127.5).add_(128.0).to(torch.uint8).cpu().numpy()
        for i, (session, request) in enumerate(zip(sessions, requests, strict=True)):
            age = session.state.age + 1 if prepared[i].history and session.state else 0
            session.state = RenderState(
                rgb[i : i + 1].clone(), prepared[i].depth_m, prepared[i].ids,
                request.view.pose.copy(), tuple(_own_pose(actor) for actor in request.actors),
                request.tick, request.episode, age,
            )  # fmt: skip
            session.picture = np.stack(list(pictures[i]), axis=-1)
        return [session.picture for session in sessions if session.picture is not None]

    def _forward(
        self, x: GeneratorInput, styles: Sequence[StyleCode], history: History | None
    ) -> Tensor:
        if not self._timed:
            self._generator = faster(self._generator, partial(self._time, x, styles, history))
            self._timed = True
        style = self._compile(styles)
        rgb: Tensor = self._generator(x, style, history).rgb
        return rgb.clamp_(-1.0, 1.0)

    def _compile(self, styles: Sequence[StyleCode]) -> CompiledStyle:
        """Compiled styles of a batch, remembered: the same sessions come again each tick."""
        key = tuple(id(style) for style in styles)
        if key not in self._compiled:
            if len(self._compiled) >= COMPILED_STYLES:
                self._compiled.clear()
            stacked: StyleCode = _cast(stack_styles(styles), self._generator.dtype)
            # The styles are kept beside the result, so that no other can get their id.
            self._compiled[key] = (styles, self._generator.compile_style(stacked))
        return self._compiled[key][1]

    @staticmethod
    def _time(
        x: GeneratorInput,
        styles: Sequence[StyleCode],
        history: History | None,
        generator: FrameGenerator,
    ) -> float:
        """Seconds of one forward."""
        style = generator.compile_style(_cast(stack_styles(styles), generator.dtype))
        start_s = time.perf_counter()
        float(generator(x, style, history).rgb.sum())
        return time.perf_counter() - start_s

    def _prepare(self, session: _Session, request: RenderRequest) -> _Prepared:
        view = request.view
        if view.labels is None:
            raise RendererError("this view has no labels: ask the world for a semantic camera")
        camera = session.config.camera
        if view.labels.shape != (camera.height_px, camera.width_px):
            raise RendererError(
                f"this session's views are {camera.width_px}x{camera.height_px}, "
                f"got labels {view.labels.shape[1]}x{view.labels.shape[0]}: open another session"
            )
        self._warn_unseen(view.labels)
        scale, device = out_scale(session.config), self._device
        plane = partial(as_plane, scale=scale, device=device)
        groups = self.info.class_map.groups_from_tags(plane(view.labels), self._generator.dtype)
        layout_planes = plane(layout(view.labels, view.instances, world_windows(view)))
        depth = view.depth_m
        if depth is None:
            depth = np.full(view.labels.shape, FLAT_DEPTH_M, np.float32)
        depth_m = plane(depth)
        ids, movers = torch.zeros_like(depth_m, dtype=torch.int32), None
        if view.instances is not None:
            ids = plane(instance_ids(view.instances))
            movers = movers_among(ids, request.actors)
        intrinsics = view_intrinsics(view, scale, device)
        anchored = anchors(view, request.actors, device)
        points_m = surface_points(depth_m, intrinsics, anchored, movers)
        seed = torch.tensor([session.config.seed], device=device)
        noise = anchored_noise(points_m, depth_m, intrinsics[:, 0], seed)
        has_depth = torch.tensor([view.depth_m is not None], device=device)
        x = generator_input(
            groups, layout_planes, depth_m, intrinsics, anchored[:, 0, 2, :3], has_depth, noise
        )
        history = self._history(session, request, depth_m, ids, movers, intrinsics)
        padded = GeneratorInput(
            pad_to_multiple(x.groups), pad_to_multiple(x.layout),
            pad_to_multiple(x.geometry), x.has_depth, pad_to_multiple(x.noise),
        )  # fmt: skip
        return _Prepared(padded, history, depth_m if view.depth_m is not None else None, ids)

    def _history(
        self, session: _Session, request: RenderRequest, depth_m: Tensor, ids: Tensor,
        movers: Movers | None, intrinsics: Tensor,
    ) -> History | None:  # fmt: skip
        """The last output moved to the current view, or None after a restart or a cut."""
        state = session.state
        if state is None or request.restart or _is_cut(state, request):
            return None
        view, scale = request.view, out_scale(session.config)
        if view.motion_px is not None and view.motion_from_tick == state.tick:
            source, visible = engine_motion(view, scale, self._device)
            motion = Reprojection(source, depth_m)
        elif view.motion_px is None and view.depth_m is not None and state.depth_m is not None:
            moves = moves_between(view, request.actors, state.pose, state.actors, self._device)
            motion = reproject(depth_m, intrinsics, moves, movers)
            visible = visible_before(motion, state.depth_m, ids, state.ids)
        else:
            return None
        warped = catmull_rom_warp(state.rgb, motion.source_px).clamp_(-1.0, 1.0)
        age = torch.full((1, 1, 1, 1), min(state.age / 8.0, 1.0), device=self._device)
        valid = functional.pad(
            visible[:, None].float(),
            (0, -visible.shape[2] % 32, 0, -visible.shape[1] % 32),
        )
        return History(pad_to_multiple(warped), valid, age)

    def _session(self, session: int) -> _Session:
        if session not in self._sessions:
            raise UnknownSession(f"no session {session}: open it again")
        return self._sessions[session]

    def _resolve(self, style: StyleChoice) -> StyleCode:
        """A style by name, from bytes, or blended."""
        if isinstance(style, StyleBlob):
            code = style_from_bytes(style.data, self.info.sha256, style.name)
            return code.to(self._device)
        if isinstance(style, Mapping):
            parts = [self._resolve(name) for name in style]
            return blend_styles(parts, list(style.values()))
        name = next(iter(self._styles), style) if style == "default" else style
        if name not in self._styles:
            hint = did_you_mean(name, list(self._styles))
            raise RendererError(f"unknown style '{name}'{hint}")
        return self._styles[name]

    def _warn_unseen(self, labels: ByteArray) -> None:
        known = np.zeros(256, np.bool_)
        # Unlabelled pixels are in every data set.
        known[[0, *self.info.seen_tags, *self._warned_tags]] = True
        if known[labels].all():
            return
        for tag in np.unique(labels[~known[labels]]).tolist():
            if tag > MAX_TAG:
                raise RendererError(
                    f"labels are tags 0..{MAX_TAG}, got {tag}: map the engine's ids first"
                )
            self._warned_tags.add(tag)
            group = self.info.class_map.names[self.info.class_map.group_of[tag]]
            _log.warning("tag %d was not in the training data: painted as '%s'", tag, group)


def _cast(part: Part, dtype: torch.dtype) -> Part:
    """The same dataclass with its float tensors in `dtype`, pictures channels last."""
    if part is None:
        return part
    assert is_dataclass(part)
    tensors = (getattr(part, field.name).to(dtype) for field in fields(part))
    last = torch.channels_last
    return type(part)(*(t.contiguous(memory_format=last) if t.dim() == 4 else t for t in tensors))


def _own_pose(actor: Actor) -> Actor:
    return replace(actor, pose=actor.pose.copy())


def _is_same_tick(state: RenderState | None, request: RenderRequest) -> bool:
    return (
        state is not None
        and not request.restart
        and (state.episode, state.tick) == (request.episode, request.tick)
    )


def _is_cut(state: RenderState, request: RenderRequest) -> bool:
    jump_m = float(np.linalg.norm(request.view.pose[:3, 3] - state.pose[:3, 3]))
    ticks = request.tick - state.tick
    other = request.episode != state.episode
    return other or jump_m > CUT_DISTANCE_M or not 0 < ticks <= CUT_TICKS


def _stack_inputs(parts: Sequence[GeneratorInput]) -> GeneratorInput:
    if len(parts) == 1:
        return parts[0]
    return GeneratorInput(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("groups", "layout", "geometry", "has_depth", "noise")
        )
    )


def _stack_histories(parts: Sequence[History | None], x: GeneratorInput) -> History | None:
    """Batch of histories; a session without one gets validity 0."""
    if len(parts) == 1 or all(part is None for part in parts):
        return parts[0]
    one = x.geometry[:1, :1]
    none = History(one.expand(-1, 3, -1, -1) * 0.0, one * 0.0, one[..., :1, :1] * 0.0)
    filled = [part or none for part in parts]
    return History(
        torch.cat([p.rgb for p in filled]),
        torch.cat([p.validity for p in filled]),
        torch.cat([p.age for p in filled]),
    )
