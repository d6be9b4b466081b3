"""What the modules that fill a town with scenery share and update one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim2street.bridge.town.plan.layout import FIRST_SCENERY_ID
from sim2street.bridge.town.plan.plots import FreeGround


@dataclass(slots=True)
class BuildState:
    """Random generator, free ground and the next unused instance id of a town being built.

    Attributes:
        surface_seed: the town's seed where its meshes get texture coordinates, else None.
    """

    rng: np.random.Generator
    ground: FreeGround
    surface_seed: int | None = None
    next_id: int = FIRST_SCENERY_ID

    def new_id(self) -> int:
        """An instance id that no other scenery has."""
        self.next_id += 1
        return self.next_id - 1
