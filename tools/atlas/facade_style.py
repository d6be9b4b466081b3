"""How a facade is described."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facade:
    """How one facade looks. Colours are '#rrggbb', lengths metres.

    Attributes:
        name: of the texture, without 'facade_'.
        material: as in `Surfaces.material`: plaster, brick, stone, shop, concrete, wood.
        tile, tile_m, colour, light, contrast, keep: the wall, see `tiles.Recipe`.
        loose: the tile has no pattern and is laid in random pieces.
        windows: models, one per storey bay in turn. window_m: width and height.
        sill_m: height of the sill above its floor. per_bay: windows beside each other.
        frame, door, trim, plinth: colours of window frames, door leaf, stone trim, plinth.
        doors: models of doors.
        ground: kinds of ground bays: door, window, shop, garage, office.
        lintel: none, flat, brick, key, arch, hood. surround: none, band, stone.
        cornice: gutter, dentils, plain, wood.
        band: '', 'ground' (a string course above the ground floor) or 'floor' (on each floor).
        shutters: colour or ''. balcony: '', 'rail', 'french'.
        mirror: share of the street that panes reflect. dirt: strength of stains.
        era: old, modern.
        shop: paint of the first shop front.
        chroma: factor on the wall's saturation.
        flowers, plants: boxes on sills, bushes at the foot of the wall.
    """

    name: str
    material: str
    tile: str
    tile_m: float
    colour: str
    light: float
    contrast: float = 1.0
    keep: float = 0.3
    loose: bool = True
    windows: tuple[str, ...] = ("window_2x3_regular",)
    window_m: tuple[float, float] = (1.05, 1.6)
    sill_m: float = 0.85
    per_bay: int = 1
    frame: str = "#dddad2"
    door: str = "#3c2f28"
    trim: str = "#c9c4b8"
    plinth: str = "#77746f"
    plinth_m: float = 0.35
    doors: tuple[str, ...] = ("exterior-door-02",)
    ground: tuple[str, ...] = ("door", "window", "window")
    lintel: str = "none"
    surround: str = "band"
    cornice: str = "gutter"
    band: str = ""
    shutters: str = ""
    balcony: str = ""
    rusticated: bool = False
    canopy: bool = False
    recess_m: float = 0.12
    mirror: float = 0.22
    dirt: float = 0.07
    bay_m: float = 2.5
    storey_m: float = 2.9
    ground_m: float = 3.2
    cornice_m: float = 0.5
    era: str = "old"
    shop: str = "#2f4a3f"
    chroma: float = 0.78
    flowers: bool = False
    plants: bool = False
