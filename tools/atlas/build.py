"""Builds the free atlas: `python -m tools.atlas.build --data DATA --out free.atlas`.

The sources are CC0, CC BY, MIT or BSD; `neural_renderer/canvas/atlases/CREDITS.md` names them.
The same data and seed give the same textures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sim2street.neural_renderer.canvas.atlas import Atlas, Texture, atlas_to_bytes
from tools.atlas.cars import drawn_cars
from tools.atlas.facades import all_facades
from tools.atlas.foliage import all_foliage, greens
from tools.atlas.images import Random
from tools.atlas.kit import Kit
from tools.atlas.signs import all_cloth, all_fences, all_signs
from tools.atlas.skies import all_skies
from tools.atlas.tiles import Tiles, all_tiles
from tools.atlas.vehicles import rendered_vehicles

LICENCE = "CC BY 4.0; sources and credits in CREDITS.md"


def steps(data: Path) -> dict[str, Callable[[Random], Iterator[Texture]]]:
    """Name of a part of the atlas -> what makes its textures."""
    tiles = Tiles(data / "ambientcg_tiles128")
    leaves = greens(data, np.random.default_rng(0))
    kit = Kit(data / "models_sweethome3d", data / "hdri_polyhaven_cc0/city.jpg", leaves)
    return {
        "tiles": lambda random: all_tiles(tiles, random),
        "facades": lambda random: all_facades(kit, tiles, random),
        "cars": lambda random: drawn_cars(data, random),
        "vehicles": lambda random: rendered_vehicles(data),
        "foliage": lambda random: all_foliage(data, random),
        "signs": all_signs,
        "fences": lambda random: all_fences(tiles, random),
        "skies": lambda random: all_skies(data),
        "cloth": all_cloth,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shippable sources")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    textures: list[Texture] = []
    for number, (name, make) in enumerate(steps(options.data).items()):
        start = time.monotonic()
        made = list(make(np.random.default_rng([options.seed, number])))
        texels = sum(texture.image.size // 4 for texture in made)
        print(
            f"{name}: {len(made)} textures, {texels / 1e6:.2f} Mtexel, "
            f"{time.monotonic() - start:.0f} s"
        )
        textures += made
    data = atlas_to_bytes(Atlas("free", textures, LICENCE))
    options.out.write_bytes(data)
    total = sum(texture.image.size for texture in textures)
    print(
        f"{options.out}: {len(data) / 2**20:.1f} MiB, "
        f"{total * 4 / 3 / 2**20:.1f} MiB with mip levels"
    )


if __name__ == "__main__":
    main()
