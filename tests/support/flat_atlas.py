"""An atlas of plain colours: a piece is recognised by its colour."""

import numpy as np

from sim2street.neural_renderer.canvas.atlas import Atlas, Part, Texture

BAY_M, STOREY_M, GROUND_M, CORNICE_M, PX_PER_M = 3.0, 3.0, 3.5, 0.5, 16.0

GROUND_COLOUR, STOREY_COLOUR, TOP_COLOUR, BLANK_COLOUR = (
    (200, 0, 0),
    (0, 200, 0),
    (0, 0, 200),
    (90, 90, 90),
)


def plain(name: str, group: str, colour: tuple[int, int, int]) -> Texture:
    image = np.zeros((32, 32, 4), np.uint8)
    image[..., :3], image[..., 3] = colour, 255
    return Texture(name, group, image, PX_PER_M, (True, True))


def facade(name: str = "facade", material: str = "brick") -> Texture:
    """Bays of one colour each, with a pane in the middle of the upper-floor bay."""
    bay, storey, ground = (round(size * PX_PER_M) for size in (BAY_M, STOREY_M, GROUND_M))
    image = np.zeros((64, 4 * 64, 4), np.uint8)
    image[..., 3] = 255
    for k, colour in enumerate((GROUND_COLOUR, STOREY_COLOUR, TOP_COLOUR, BLANK_COLOUR)):
        image[:, 64 * k : 64 * (k + 1), :3] = colour
    parts = np.zeros(image.shape[:2], np.uint8)
    parts[storey // 4 : storey // 2, 64 + bay // 4 : 64 + bay * 3 // 4] = Part.PANE
    meta = {
        "ground": [[0, 0, bay, ground]],
        "storey": [[64, 0, bay, storey]],
        "top": [128, 0, 32, round(CORNICE_M * PX_PER_M)],
        "blank": [192, 0, 32, 32],
        "panes": [],
        "bay_m": BAY_M,
        "storey_m": STOREY_M,
        "ground_m": GROUND_M,
        "cornice_m": CORNICE_M,
        "material": material,
    }
    return Texture(name, "facade", image, PX_PER_M, (False, False), meta, parts)


def flat_atlas() -> Atlas:
    textures = [
        facade(),
        plain("asphalt", "asphalt", (70, 70, 70)),
        plain("paving", "paving", (150, 140, 130)),
        plain("grass", "grass", (60, 110, 40)),
        plain("leaves", "foliage", (40, 90, 30)),
        plain("cloth", "person_cloth", (128, 128, 128)),
        plain("tiles", "roof", (140, 60, 40)),
        plain("clouds", "sky", (170, 200, 240)),
    ]
    return Atlas("flat", textures)
