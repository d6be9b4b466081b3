"""Warns of labels that the training data did not have."""

from __future__ import annotations

import logging

import numpy as np

from sim2street.bridge.errors import RendererError
from sim2street.bridge.frame import MAX_TAG, ByteArray
from sim2street.neural_renderer.conditions.class_map import ClassMap

_log = logging.getLogger(__name__)


class UnseenTags:
    """Logs one warning for each tag that does not occur in the training data.

    Args:
        seen: tags of the training data.
    """

    def __init__(self, seen: tuple[int, ...], class_map: ClassMap) -> None:
        self._class_map = class_map
        self._known = np.zeros(256, np.bool_)
        self._known[[0, *seen]] = True  # every data set has unlabelled pixels (tag 0)

    def check(self, labels: ByteArray) -> None:
        """Warn of new tags in uint8 (H, W). Raises RendererError for numbers that are no tags."""
        if self._known[labels].all():
            return
        for tag in np.unique(labels[~self._known[labels]]).tolist():
            if tag > MAX_TAG:
                raise RendererError(
                    f"labels are tags 0..{MAX_TAG}, got {tag}: map the engine's ids first"
                )
            self._known[tag] = True
            group = self._class_map.names[self._class_map.group_of[tag]]
            _log.warning("tag %d does not occur in the training data: rendered as '%s'", tag, group)
