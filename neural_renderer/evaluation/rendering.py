"""Rendering scenes with a checkpoint, in the styles of their drives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sim2street.bridge.datasets.files import evenly_spaced
from sim2street.bridge.frame import ByteArray, View
from sim2street.bridge.renderer import RenderRequest, SessionConfig, StyleBlob
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import CheckpointInfo, load_generator
from sim2street.neural_renderer.data.prepare import PreparedPhoto
from sim2street.neural_renderer.evaluation.scenes import Clip, still_from_photo
from sim2street.neural_renderer.networks.style import StyleCode
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.styles.files import style_blob, style_to_bytes
from sim2street.neural_renderer.styles.make import StyleFit, compile_style

MIN_FRAME_DISTANCE = 60
"""Exemplars differ from the rendered photograph by at least this many frame numbers (at 30 Hz)."""


class CheckpointRenderer:
    """Makes styles from photographs and renders views with one checkpoint.

    Args:
        weights: serving checkpoint.
        on_image: called after each rendered image.
    """

    def __init__(
        self,
        weights: Path,
        device: str = "cpu",
        precision: str = "float32",
        on_image: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_image = on_image
        self._generator, self.info = load_generator(weights)
        self._renderer = NeuralRenderer(weights, None, device, precision)

    @property
    def styled(self) -> bool:
        """Whether the weights use styles."""
        return self._generator.styled

    def style(
        self,
        photos: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        name: str,
        fit: StyleFit | None = None,
    ) -> StyleBlob:
        """The style of these exemplars, as it is sent to a renderer."""
        code = self.style_code(photos, size_px, fit)
        return style_blob(style_to_bytes(code, name, self.info.sha256), name)

    def style_code(
        self,
        photos: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        fit: StyleFit | None = None,
    ) -> StyleCode:
        """The style of these exemplars, optimised by `fit` if it is given."""
        stills = [still_from_photo(photo, size_px) for photo in photos]
        rgb, tags = [s.rgb for s in stills], [s.tags for s in stills]
        with torch.inference_mode():
            return compile_style(self._generator, self.info.class_map, rgb, tags, fit)

    def still(self, view: View, style: StyleBlob, seed: int = 0) -> ByteArray:
        """Render a single view: uint8 (H, W, 3)."""
        session = self._session(view, style, seed)
        try:
            return self._render(RenderRequest(session, view, 0, 0))
        finally:
            self._renderer.close_session(session)

    def clip(self, clip: Clip, style: StyleBlob, history: bool = True) -> list[ByteArray]:
        """Render all frames of a clip; without `history`, each one independently."""
        session = self._session(clip.frames[0].view, style, seed=0)
        try:
            return [
                self._render(RenderRequest(session, f.view, tick, 0, f.actors, restart=not history))
                for tick, f in enumerate(clip.frames)
            ]
        finally:
            self._renderer.close_session(session)

    def close(self) -> None:
        """Release the renderer."""
        self._renderer.close()

    def _render(self, request: RenderRequest) -> ByteArray:
        (rendering,) = self._renderer.render([request])
        self._on_image()
        return rendering.rgb

    def _session(self, view: View, style: StyleBlob, seed: int) -> int:
        size = (view.camera.width_px, view.camera.height_px)
        return self._renderer.open_session(SessionConfig(style, view.camera, size, seed))


class DriveStyles:
    """The styles of drives, made from their photographs and cached.

    Args:
        gallery: photographs of all drives.
        size_px: (width, height) of exemplars.
        exemplars: number of photographs per style.
        fit: optimises each style on its exemplars.
    """

    def __init__(
        self,
        renderer: CheckpointRenderer,
        gallery: Sequence[PreparedPhoto],
        size_px: tuple[int, int],
        exemplars: int,
        fit: StyleFit | None = None,
    ) -> None:
        self._renderer, self._size_px, self._exemplars = renderer, size_px, exemplars
        self._fit = fit
        self._made: dict[tuple[str, tuple[int, ...]], StyleBlob] = {}
        self.drives: dict[str, list[PreparedPhoto]] = defaultdict(list)
        for photo in gallery:
            self.drives[photo.drive].append(photo)

    def exemplars(self, drive: str, frame: int | None = None) -> list[PreparedPhoto]:
        """Evenly spaced photographs of a drive, none of them close to `frame`; may be empty."""
        photos = sorted(self.drives.get(drive, []), key=lambda photo: photo.frame)
        if frame is not None:
            photos = [p for p in photos if abs(p.frame - frame) >= MIN_FRAME_DISTANCE]
        return evenly_spaced(photos, self._exemplars)

    def style(self, drive: str, frame: int | None = None) -> StyleBlob | None:
        """The style of a drive, or None if there are no exemplars for it."""
        photos = self.exemplars(drive, frame)
        if not photos:
            return None
        key = (drive, tuple(photo.frame for photo in photos))
        if key not in self._made:
            self._made[key] = self._renderer.style(photos, self._size_px, drive, self._fit)
        return self._made[key]

    def any_style(self) -> StyleBlob:
        """The style of the drive with the most photographs."""
        drive = max(self.drives, key=lambda name: len(self.drives[name]), default="")
        style = self.style(drive)
        if style is None:
            raise ConfigError(
                "an evaluation needs at least one photograph to take a style from: check `sources` "
                "and `styles` of the evaluation config"
            )
        return style


def refuse_loss_networks(info: CheckpointInfo, networks: dict[str, str]) -> None:
    """Check that no scoring network was used in a training loss of the checkpoint.

    Args:
        networks: sha256 of the file of each network, by command-line option.

    Raises:
        ConfigError: a network was used in a loss, so its score would be biased.
    """
    for name, digest in networks.items():
        if digest in info.loss_networks:
            raise ConfigError(
                f"{name} was in a loss of these weights, so its score would be biased: give "
                "another network, or leave the option out"
            )
