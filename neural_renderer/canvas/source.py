"""The canvas of a view as the generator takes it, the same for training, evaluation and serving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim2street.bridge.frame import Actor, FloatArray, View, Weather
from sim2street.neural_renderer.canvas.atlas import Atlas
from sim2street.neural_renderer.canvas.parts import atlas_parts
from sim2street.neural_renderer.canvas.placement import place
from sim2street.neural_renderer.canvas.renderer import enlarged
from sim2street.neural_renderer.canvas.sampling import sample


class CanvasSource:
    """Makes the generator's canvas from the textures of an atlas.

    Attributes:
        name: of the atlas.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.name = atlas.name
        self._parts = atlas_parts(atlas)

    def planes(
        self,
        view: View,
        seed: int,
        actors: Sequence[Actor] = (),
        weather: Weather | None = None,
        scale: int = 1,
    ) -> FloatArray:
        """RGB in [-1, 1] times coverage, and coverage in [0, 1]: float32 (4, H, W).

        Args:
            view: with labels and depth.
            seed: another one chooses other textures everywhere.
            actors: of the same frame; vehicles cast contact shadows.
            weather: sun and clouds; None: the default.
            scale: size of the image over the size of the view.
        """
        surfaces = place(enlarged(view, scale), self._parts, seed, actors, weather)
        canvas = sample(surfaces, self._parts.packed)
        planes = np.empty((4, *canvas.coverage.shape), np.float32)
        rgb = canvas.rgb.transpose(2, 0, 1)
        np.multiply(rgb * np.float32(2.0) - np.float32(1.0), canvas.coverage, out=planes[:3])
        planes[3] = canvas.coverage
        return planes
