"""Renders scenes as a session would, in styles of their own drives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sim2street.bridge.frame import ByteArray, View
from sim2street.bridge.renderer import RenderRequest, SessionConfig, StyleBlob
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import CheckpointInfo, load_generator
from sim2street.neural_renderer.data.photos import spread
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.scenes import Clip, still_of
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.styles.files import StyleFit, blob, compile_style, style_to_bytes

FRAMES_APART = 60
"""Exemplars are at least so many frame numbers (30 Hz) from the frame they are for."""


class Painter:
    """A checkpoint at work: styles out of photographs, pictures out of views."""

    def __init__(
        self,
        weights: Path,
        device: str = "cpu",
        precision: str = "float32",
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_picture` is called after each rendered picture."""
        self._on_picture = on_picture
        self._generator, self.info = load_generator(weights)
        self._renderer = NeuralRenderer(weights, None, device, precision)

    @property
    def styled(self) -> bool:
        """Whether exemplars matter to these weights."""
        return self._generator.styled

    def style(
        self,
        photos: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        name: str,
        fit: StyleFit | None = None,
    ) -> StyleBlob:
        """The style of these exemplars, as it travels."""
        code = self.style_code(photos, size_px, fit)
        return blob(style_to_bytes(code, name, self.info.sha256), name)

    def style_code(
        self,
        photos: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        fit: StyleFit | None = None,
    ) -> StyleCode:
        """The style of these exemplars; with `fit`, fitted to them."""
        stills = [still_of(photo, size_px) for photo in photos]
        rgb, tags = [s.rgb for s in stills], [s.tags for s in stills]
        with torch.inference_mode():
            return compile_style(self._generator, self.info.class_map, rgb, tags, fit)

    def still(self, view: View, style: StyleBlob, seed: int = 0) -> ByteArray:
        """One view on its own: uint8 (H, W, 3)."""
        session = self._session(view, style, seed)
        try:
            return self._render(RenderRequest(session, view, 0, 0))
        finally:
            self._renderer.close_session(session)

    def clip(self, clip: Clip, style: StyleBlob, history: bool = True) -> list[ByteArray]:
        """All frames of a clip; without `history` each one on its own."""
        session = self._session(clip.moments[0].view, style, seed=0)
        try:
            return [
                self._render(RenderRequest(session, m.view, tick, 0, m.actors, restart=not history))
                for tick, m in enumerate(clip.moments)
            ]
        finally:
            self._renderer.close_session(session)

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    def _render(self, request: RenderRequest) -> ByteArray:
        (rendering,) = self._renderer.render([request])
        self._on_picture()
        return rendering.rgb

    def _session(self, view: View, style: StyleBlob, seed: int) -> int:
        size = (view.camera.width_px, view.camera.height_px)
        return self._renderer.open_session(SessionConfig(style, view.camera, size, seed))


class StyleBook:
    """Which photographs show the style of a drive; styles are made once each."""

    def __init__(
        self,
        painter: Painter,
        gallery: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        exemplars: int,
        fit: StyleFit | None = None,
    ) -> None:
        self._painter, self._size_px, self._exemplars = painter, size_px, exemplars
        self._fit = fit
        self._made: dict[tuple[str, tuple[int, ...]], StyleBlob] = {}
        self.drives: dict[str, list[PreparedPhoto]] = defaultdict(list)
        for photo in gallery:
            self.drives[photo.drive].append(photo)

    def exemplars(self, drive: str, frame: int | None = None) -> list[PreparedPhoto]:
        """K photographs of a drive, spread over it, none beside `frame`; may be empty."""
        photos = sorted(self.drives.get(drive, []), key=lambda photo: photo.frame)
        if frame is not None:
            photos = [p for p in photos if abs(p.frame - frame) >= FRAMES_APART]
        return spread(photos, self._exemplars)

    def style(self, drive: str, frame: int | None = None) -> StyleBlob | None:
        """The style of a drive, or None where no photograph may show it."""
        photos = self.exemplars(drive, frame)
        if not photos:
            return None
        key = (drive, tuple(photo.frame for photo in photos))
        if key not in self._made:
            self._made[key] = self._painter.style(photos, self._size_px, drive, self._fit)
        return self._made[key]

    def any_style(self) -> StyleBlob:
        """Of the drive with most photographs."""
        drive = max(self.drives, key=lambda name: len(self.drives[name]), default="")
        style = self.style(drive)
        if style is None:
            raise ConfigError("an evaluation needs at least one photograph to take a style from")
        return style


def checked(info: CheckpointInfo, networks: dict[str, str]) -> None:
    """Refuse to score with a network that was in one of the checkpoint's losses.

    networks: name to sha256 of its file.
    """
    for name, digest in networks.items():
        if digest in info.loss_networks:
            raise ConfigError(
                f"{name} was in a loss of these weights: a network used in a loss never scores; "
                "give another one, or leave it out"
            )
