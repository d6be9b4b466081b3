"""Terms for how surfaces look: windows, paint, roads, facades, people, beside photographs.

Labels say what a thing is and nothing of what is likely on it. Where no target picture does
either, a generator paints what discriminators let pass: ledges, lumps, chrome. Each term is what
a surface exceeds a bound by that was measured in photographs, and zero within.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FEWEST_PX = 40
"""Below which the mean of a thing says little."""

WINDOW_SHADE, PANE_SHADE = (0.14, 0.40), (0.35, 0.65)
"""How much darker windows are than their wall and a vehicle's panes than its body, as a share of
red, green and blue each: about the middle half of what is found in CamVid, IDD and BDD."""

CAR_UNREST, SIGN_UNREST = 0.014, 0.021
"""How far the colour of a car's body or a sign strays from its mean in a square of
`WALL_REACH_PX`, less its brightness: a quarter of them exceeds it in photographs."""

ROAD_UNREST, CAR_LUMPS, LUMP_PX = 0.014, 0.041, 9
"""How far the brightness of a road and of a near car's body strays from its mean in a square of so
many pixels: a quarter of the near road exceeds it in photographs of CamVid and BDD, and half of
the cars, which mirror their street and have grilles and lamps."""

ROAD_PATCHES, PATCH_PX = 0.010, 51
"""How far the brightness of a road, averaged over `LUMP_PX`, strays from its mean in a square of so
many pixels: a third of the road in photographs is more even than that. The rest has shadows,
patches and dirt, whose causes no label tells."""

WALL_COLOUR_UNREST, WALL_UNREST = 0.009, 0.066
"""How far the colour, less its brightness, and the brightness of a facade stray from their mean in
a square of `WALL_REACH_PX`, the latter without windows that were found: half of it exceeds them
in photographs of CamVid, IDD and BDD, which have doors, shop fronts and signs."""

PANE_COLOUR = 0.025
"""How far the colour of a pixel of a window, less its brightness, is from its facade's mean: nine
tenths of those found in photographs are nearer."""

PERSON_TONE, SIGN_TONE = (0.45, 0.78), (0.63, 1.11)
"""Mean brightness of people and of signs as a share of their picture's: the middle half of
photographs of CamVid, IDD and BDD."""

WALL_REACH_PX, PANE_PX = 25, 5
"""Sides of the squares over which a window's wall and a window itself are averaged."""


def window_shade(
    rgb: Tensor, wall: Tensor, windows: Tensor, bounds: tuple[float, float] = WINDOW_SHADE
) -> Tensor:
    """How far windows are from being as much darker than what they are in as windows are.

    Without it, nothing but the features of single photographs asks for windows: `small` had
    not taken them up after 1,450 steps, and `tiny` painted them too dark, and red in the town.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. wall, windows: (B, 1, H, W), 0 or 1.
        bounds: least and most that windows in this kind of wall are darker.
    """
    light = rgb * 0.5 + 0.5
    panes = windows.to(rgb) * wall.to(rgb)
    around = _mean_over(light, wall.to(rgb) - panes, WALL_REACH_PX)
    inside = _mean_over(light, panes, PANE_PX)
    shade = (around - inside) / around.clamp_min(0.1)
    least, most = bounds
    amiss = functional.relu(least - shade) + functional.relu(shade - most)
    return _mean_where(amiss.mean(dim=1, keepdim=True), panes)


def uneven_paint(rgb: Tensor, things: Tensor, bound: float = CAR_UNREST) -> Tensor:
    """How much more the colour of painted things changes from place to place than in photographs.

    A car is painted in one colour. To a segmentation head lamps and plates are what tells a
    car, and a generator that is asked for cars that are read as cars paints many. Panes are
    of no other colour; left out, they turned red.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. things: (B, 1, H, W), 0 or 1.
        bound: on how far the colour strays, as a share of white.
    """
    colour = rgb * 0.5 + 0.5 - _brightness(rgb)
    return _unrest(colour, things.to(rgb), WALL_REACH_PX, bound)


def lumpy_paint(rgb: Tensor, body: Tensor, windows: Tensor, bound: float = CAR_LUMPS) -> Tensor:
    """How much more a car's brightness changes from pixel to pixel than in half of photographs.

    Very near cars, larger than photographs show them, were painted like chrome.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. body, windows: (B, 1, H, W), 0 or 1.
        bound: on how far brightness strays from its mean in a square of `LUMP_PX`, as a
            share of white.
    """
    paint = body.to(rgb) * (1.0 - windows.to(rgb))
    return _unrest(_brightness(rgb), paint, LUMP_PX, bound)


def lumpy_ground(rgb: Tensor, ground: Tensor, bound: float = ROAD_UNREST) -> Tensor:
    """How much more the brightness of a road changes from pixel to pixel than in photographs.

    Shadows may lie on a road, lumps of earth not: `small` painted them in the town where no
    target says otherwise, and its discriminators did not mind.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. ground: (B, 1, H, W), 0 or 1; two pixels along its
            border do not count.
        bound: on how far brightness strays from its mean in a square of `LUMP_PX`, as a
            share of white.
    """
    return _unrest(_brightness(rgb), _inner(ground.to(rgb)), LUMP_PX, bound)


def patchy_ground(rgb: Tensor, ground: Tensor, bound: float = ROAD_PATCHES) -> Tensor:
    """How much more a road has patches than in a third of photographs.

    `small` painted pale foam and dark bands across near roads, larger than lumps.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. ground: (B, 1, H, W), 0 or 1; two pixels along its
            border do not count.
        bound: on how far brightness over `LUMP_PX` strays from its mean in a square of
            `PATCH_PX`, as a share of white.
    """
    inner = _inner(ground.to(rgb))
    return _unrest(_mean_over(_brightness(rgb), inner, LUMP_PX), inner, PATCH_PX, bound)


def restless_walls(
    rgb: Tensor,
    wall: Tensor,
    windows: Tensor,
    bounds: tuple[float, float] = (WALL_COLOUR_UNREST, WALL_UNREST),
) -> Tensor:
    """How much more facades change between their windows than half of those in photographs.

    Streets of photographs have shop fronts with signs some three metres up. Where labels know
    none, a generator that is told of height painted what is likely theirs: pale ledges along
    plain houses, in the town with red, green or violet below. Windows count by their colour,
    or it moves into them (those of `tiny` turned red), not by their brightness; pixel by
    pixel too, since little red is enough for a red window and too little for a facade's mean.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. wall, windows: (B, 1, H, W), 0 or 1.
        bounds: on how far colour and brightness stray, as shares of white.
    """
    whole = wall.to(rgb)
    plain = whole * (1.0 - windows.to(rgb))
    bright = _brightness(rgb)
    tint = rgb * 0.5 + 0.5 - bright
    stray = _stray(tint, whole, WALL_REACH_PX)
    gaudy = _mean_where(functional.relu(stray - PANE_COLOUR), whole - plain)
    colour = _beyond(stray, whole, bounds[0])
    return gaudy + colour + _unrest(bright, plain, WALL_REACH_PX, bounds[1])


def out_of_tone(rgb: Tensor, things: Tensor, bounds: tuple[float, float]) -> Tensor:
    """How far small things are from being as bright, beside their picture, as in photographs.

    A segmentation head takes any dark figure for a person, and few pixels of a photograph say
    otherwise: people were painted at 0.37 of their picture's brightness instead of 0.58.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. things: (B, 1, H, W), 0 or 1.
        bounds: least and most mean brightness as a share of the picture's.
    """
    light = _brightness(rgb)
    things = things.to(light)
    pixels = things.sum(dim=(1, 2, 3))
    inside = (light * things).sum(dim=(1, 2, 3)) / pixels.clamp_min(1.0)
    share = inside / light.mean(dim=(1, 2, 3)).detach().clamp_min(0.05)
    least, most = bounds
    amiss = functional.relu(least - share) + functional.relu(share - most)
    shown = (pixels >= FEWEST_PX).to(light)
    return (amiss * shown).sum() / shown.sum().clamp_min(1.0)


def _inner(mask: Tensor) -> Tensor:
    """Without two pixels along its border."""
    return 1.0 - functional.max_pool2d(1.0 - mask, 5, stride=1, padding=2)


def _brightness(rgb: Tensor) -> Tensor:
    """Of rgb (B, 3, H, W) in [-1, 1], as a share of white: (B, 1, H, W)."""
    return (rgb * 0.5 + 0.5).mean(dim=1, keepdim=True)


def _unrest(x: Tensor, mask: Tensor, side_px: int, bound: float) -> Tensor:
    """How far x (B, C, H, W) strays from its mean over `side_px`, beyond `bound`, where masked."""
    return _beyond(_stray(x, mask, side_px), mask, bound)


def _stray(x: Tensor, mask: Tensor, side_px: int) -> Tensor:
    """Each pixel's distance from the masked mean over `side_px` around it: (B, 1, H, W)."""
    return (x - _mean_over(x, mask, side_px)).abs().mean(dim=1, keepdim=True)


def _beyond(stray: Tensor, mask: Tensor, bound: float) -> Tensor:
    """How far the mean of `stray` around a pixel exceeds `bound`, where masked."""
    return _mean_where(functional.relu(_mean_over(stray, mask, WALL_REACH_PX) - bound), mask)


def _mean_where(x: Tensor, mask: Tensor) -> Tensor:
    """Of x (B, 1, H, W) where masked; 0 where nothing is."""
    return (x * mask).sum() / mask.sum().clamp_min(1.0)


def _mean_over(x: Tensor, mask: Tensor, side_px: int) -> Tensor:
    """Mean of what is masked in the square around each pixel; what is there, where nothing is.

    x (B, C, H, W), mask (B, 1, H, W).
    """
    sums, share = (_box_mean(each, side_px) for each in (x * mask, mask))
    return torch.where(share > 0.01, sums / share.clamp_min(0.01), x)


def _box_mean(x: Tensor, side_px: int) -> Tensor:
    """Mean over the square around each pixel, zeros beyond the frame; `side_px` is odd.

    Columns, then rows: a square of 25 at once made a third of a training step on a CPU.
    """
    reach = side_px // 2
    columns = functional.avg_pool2d(x, (side_px, 1), stride=1, padding=(reach, 0))
    return functional.avg_pool2d(columns, (1, side_px), stride=1, padding=(0, reach))
