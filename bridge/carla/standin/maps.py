"""Names of the stand-in's maps: its own, and those of CARLA's towns that stand for them."""

from __future__ import annotations

import re

from sim2street.bridge.carla.standin.simulation import MAP_FOLDER, TOWN_PREFIX
from sim2street.bridge.errors import WorldError

_LISTED = 20
"""How many of the stand-in's towns are listed. Any other number can be loaded as well."""

_OWN = re.compile(rf"{TOWN_PREFIX}(\d{{1,6}})")
_CARLAS = re.compile(r"Town(0[1-7]|1[0-5])(HD)?(_Opt)?")
_CARLA_TOWNS = [
    *(f"Town{number:02d}" for number in (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 15)),
    "Town10HD",
]


def available_maps() -> list[str]:
    """Names that `town_number` knows, with their folder."""
    names = [f"{TOWN_PREFIX}{number}" for number in range(_LISTED)] + _CARLA_TOWNS
    return [f"/Game/{MAP_FOLDER}/{name}" for name in sorted(names)]


def town_number(name: str, current: int) -> int:
    """Number of the embedded town that a map's name stands for; `current` for an empty name.

    CARLA's Town03 stands for the embedded town 3, which is another one.

    Raises:
        WorldError: there is no map of this name.
    """
    if not name:
        return current
    found = _OWN.fullmatch(name.rsplit("/", 1)[-1]) or _CARLAS.fullmatch(name.rsplit("/", 1)[-1])
    if found is None:
        raise WorldError(
            f"map '{name}' not found: the stand-in has {TOWN_PREFIX}0, {TOWN_PREFIX}1, ..., and "
            "Town01 to Town15, which stand for its own towns of these numbers"
        )
    return int(found[1])
