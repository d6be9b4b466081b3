"""Progress of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationProgress:
    """Callbacks that report progress.

    Attributes:
        stage: called when a stage begins, with its name and the number of images that it renders
            (0: none).
        advance: called after each rendered image.
    """

    stage: Callable[[str, int], None] = lambda name, images: None
    advance: Callable[[], None] = lambda: None
