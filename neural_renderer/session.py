"""NeuralRenderer: sessions, styles, temporal state and one batched forward pass.

A session is a style, a camera and the last frame that it rendered. `render` turns views of any
number of sessions into images in one forward pass. The recurrent state is explicit: a
`RenderState` goes in, a new one comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sim2street.bridge.errors import RendererError, UnknownSession
from sim2street.bridge.frame import Actor, ByteArray, check_actor_ids
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
    out_scale,
)
from sim2street.neural_renderer.batching import stack_histories, stack_inputs
from sim2street.neural_renderer.canvas.atlas import load_atlas
from sim2street.neural_renderer.canvas.source import CanvasSource
from sim2street.neural_renderer.checkpoint import load_generator
from sim2street.neural_renderer.conditions.history import (
    RenderState,
    history_for,
    is_cut,
    is_same_tick,
)
from sim2street.neural_renderer.conditions.unseen_tags import UnseenTags
from sim2street.neural_renderer.conditions.view_input import ViewInput, view_input
from sim2street.neural_renderer.networks.interface import (
    GeneratorInput,
    GeneratorOutput,
    History,
)
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.runtimes.devices import chosen_device
from sim2street.neural_renderer.runtimes.forks import prepare_for_forks
from sim2street.neural_renderer.runtimes.precision import chosen_dtype
from sim2street.neural_renderer.style_book import StyleBook


@dataclass
class _Session:
    config: SessionConfig
    style: StyleCode
    state: RenderState | None = None
    image: ByteArray | None = None


class NeuralRenderer(Renderer):
    """Photorealistic rendering with a trained generator.

    Args:
        weights: serving checkpoint (`sim2street.neural_renderer.checkpoint`).
        styles: folders of style files made with these weights; without one, every session brings
            its own style as bytes.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...; see `devices.py`.
        precision: "float32", "bfloat16", or "auto": the faster one on this kind of processor.
        atlas: textures of the canvas, for weights that use one; None: the shipped ones.
    """

    def __init__(
        self,
        weights: Path,
        styles: Sequence[Path] | Path | None,
        device: str = "auto",
        precision: str = "auto",
        atlas: Path | None = None,
    ) -> None:
        self._device = chosen_device(device)
        prepare_for_forks(self._device)
        dtype = chosen_dtype(precision, self._device)
        generator, self.info = load_generator(weights)
        self._generator = generator.to(self._device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        folders = [styles] if isinstance(styles, Path) else styles or []
        self._styles = StyleBook(self._generator, self.info, folders, self._device)
        self._unseen = UnseenTags(self.info.seen_tags, self.info.class_map)
        self._canvas = CanvasSource(load_atlas(atlas)) if self.info.canvas else None
        self.uses_surfaces = self._canvas is not None
        self._sessions: dict[int, _Session] = {}
        self._next_session = 1

    def styles(self) -> tuple[str, ...]:
        return self._styles.names

    def open_session(self, config: SessionConfig) -> int:
        out_scale(config)
        session = self._next_session
        self._next_session += 1
        self._sessions[session] = _Session(config, self._styles.resolve(config.style))
        return session

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._session(session).style = self._styles.resolve(style)

    def save_session(self, session: int) -> tuple[RenderState | None, ByteArray | None]:
        kept = self._session(session)
        return kept.state, kept.image

    def load_session(self, session: int, saved: Any) -> None:
        restored = self._session(session)
        if not (isinstance(saved, tuple) and saved and isinstance(saved[0], RenderState | None)):
            raise RendererError("this state was not saved by a neural renderer")
        restored.state, restored.image = saved

    def close_session(self, session: int) -> None:
        self._sessions.pop(session, None)

    def close(self) -> None:
        self._sessions.clear()
        self._styles.clear_cache()

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        out: dict[int, ByteArray] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            session = self._session(request.session)
            if is_same_tick(session.state, request) and session.image is not None:
                out[index] = session.image
            else:
                groups.setdefault(session.config.out_size_px, []).append(index)
        for indices in groups.values():
            # Sorted, so that the same sessions always have the same key in the cache of styles.
            indices.sort(key=lambda index: requests[index].session)
            images = self._render_group([requests[i] for i in indices])
            out.update(zip(indices, images, strict=True))
        return [Rendering(out[i].copy()) for i in range(len(requests))]

    @torch.inference_mode()
    def _render_group(self, requests: Sequence[RenderRequest]) -> list[ByteArray]:
        """One forward pass for sessions that share an output size."""
        sessions = [self._session(request.session) for request in requests]
        views = [self._view_input(s, r) for s, r in zip(sessions, requests, strict=True)]
        histories = [
            self._history(s, r, v) for s, r, v in zip(sessions, requests, views, strict=True)
        ]
        x = stack_inputs([view.x for view in views])
        width_px, height_px = sessions[0].config.out_size_px
        out = self._forward(x, [s.style for s in sessions], stack_histories(histories, x))
        rgb = out.rgb.clamp(-1.0, 1.0)[..., :height_px, :width_px]
        painted = out.painted.clamp(-1.0, 1.0)[..., :height_px, :width_px]
        images = (rgb * 127.5).add_(128.0).to(torch.uint8).cpu().numpy()
        for i, (session, request) in enumerate(zip(sessions, requests, strict=True)):
            age = session.state.age + 1 if histories[i] and session.state else 0
            session.state = RenderState(
                rgb=painted[i : i + 1].clone(),
                depth_m=views[i].depth_m,
                horizon=views[i].horizon,
                ids=views[i].ids,
                pose=request.view.pose.copy(),
                actors=tuple(_with_own_pose(actor) for actor in request.actors),
                tick=request.tick,
                episode=request.episode,
                age=age,
            )
            session.image = np.stack(list(images[i]), axis=-1)
        return [session.image for session in sessions if session.image is not None]

    def _view_input(self, session: _Session, request: RenderRequest) -> ViewInput:
        view, config = request.view, session.config
        if view.labels is not None:
            expected = (config.camera.height_px, config.camera.width_px)
            if view.labels.shape != expected:
                raise RendererError(
                    f"this session's views are {expected[1]}x{expected[0]}, got labels "
                    f"{view.labels.shape[1]}x{view.labels.shape[0]}: open another session"
                )
            self._unseen.check(view.labels)
        check_actor_ids(request.actors)
        # One horizon for a whole drive: a new estimate for each frame would make it flicker.
        before = session.state if _continues(session.state, request) else None
        return view_input(
            view,
            request.actors,
            self.info.class_map,
            out_scale(config),
            config.seed,
            self._device,
            self._generator.dtype,
            before.horizon if before else None,
            self._canvas,
            request.weather,
        )

    def _history(
        self, session: _Session, request: RenderRequest, view: ViewInput
    ) -> History | None:
        """The last output moved to the current view, or None after a restart or a cut."""
        if session.state is None or not _continues(session.state, request):
            return None
        return history_for(session.state, request, view, out_scale(session.config))

    def _forward(
        self, x: GeneratorInput, styles: Sequence[StyleCode], history: History | None
    ) -> GeneratorOutput:
        out: GeneratorOutput = self._generator(x, self._styles.compiled(styles), history)
        return out

    def _session(self, session: int) -> _Session:
        if session not in self._sessions:
            raise UnknownSession(f"no session {session}: open it again")
        return self._sessions[session]


def _continues(state: RenderState | None, request: RenderRequest) -> bool:
    """Whether the request follows the session's last view without a restart or a cut."""
    return state is not None and not request.restart and not is_cut(state, request)


def _with_own_pose(actor: Actor) -> Actor:
    """A copy whose pose the caller cannot change any more."""
    return replace(actor, pose=actor.pose.copy())
