"""Loss terms against visual faults of single surfaces: windows, cars, roads, facades, people.

A label map says where a car is, not how it is painted. Where a generated image has no target image,
the discriminators alone do not stop the generator from painting ledges on plain houses, lumps on
roads or chrome on cars. Each term here measures one property of one kind of surface (how much its
colour varies, how dark its windows are) and is zero as long as the property stays within bounds
that were measured in street photographs (CamVid, IDD, BDD). Outside the bounds it grows linearly.

All terms take images (B, 3, H, W) in [-1, 1] and masks (B, 1, H, W) of 0 and 1, and return a
scalar. Brightness and colour are shares of white, in [0, 1]. Lengths are pixels of the training
image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sim2street.neural_renderer.training.config import LossWeights

MIN_OBJECT_PX = 40
"""Objects with fewer pixels in an image are left out of `relative_brightness`."""

FACADE_WINDOW_DARKNESS, VEHICLE_WINDOW_DARKNESS = (0.14, 0.40), (0.35, 0.65)
"""Bounds of (wall - window) / wall, and of the same of a vehicle's body and windows, in each of
red, green and blue: about the middle half of photographs."""

CAR_COLOUR_BOUND, SIGN_COLOUR_BOUND = 0.014, 0.021
"""Bounds of the colour's local deviation (colour minus brightness, squares of `NEIGHBOURHOOD_PX`)
on cars and signs: a quarter of them exceeds it in photographs."""

FINE_PX, ROAD_FINE_BOUND, CAR_FINE_BOUND = 9, 0.014, 0.041
"""Side of the squares for fine brightness variation, and its bounds on roads (exceeded by a
quarter of the near road in photographs) and on cars (exceeded by half of the cars, which reflect
the street and have grilles and lamps)."""

COARSE_PX, ROAD_COARSE_BOUND = 51, 0.010
"""Side of the squares for coarse brightness variation, and its bound on roads: a third of the road
in photographs is more even. The rest has shadows, patches and dirt, which no label explains."""

FACADE_COLOUR_BOUND, FACADE_BRIGHTNESS_BOUND = 0.009, 0.066
"""Bounds of a facade's local deviation in colour and in brightness (squares of
`NEIGHBOURHOOD_PX`): half of the facades in photographs exceed them, because of doors, shop fronts
and signs."""

WINDOW_COLOUR_BOUND = 0.025
"""Bound of how far a single window pixel's colour is from its facade's local mean: nine tenths of
the window pixels in photographs are nearer."""

PERSON_BRIGHTNESS, SIGN_BRIGHTNESS = (0.45, 0.78), (0.63, 1.11)
"""Bounds of the mean brightness of people and of signs divided by their image's mean brightness:
the middle half of photographs."""

NEIGHBOURHOOD_PX, WINDOW_PX = 25, 5
"""Sides of the squares over which a surface around a pixel and a window itself are averaged."""


def surface_losses(
    names: Sequence[str],
    fake: Tensor,
    groups: Tensor,
    windows: Tensor,
    weights: LossWeights,
    paired: bool = True,
) -> dict[str, Tensor]:
    """All surface terms of the generator's loss, by name and weighted.

    Some apply only to images without a target: photographs rightly contain what these terms
    penalise (shadows, shop fronts, reflections), and a target shows best where.

    Args:
        names: of the label groups.
        fake: generated images (B, 3, H, W) in [-1, 1].
        groups: their label groups (B, G, H, W).
        windows: (B, 1, H, W), windows in the generator's input.
        weights: `windows`, `paint`, `ground`, `walls` and `tone` count.
        paired: there is a target.
    """
    fake = fake.float()

    def mask(*members: str) -> Tensor:
        return groups[:, [names.index(name) for name in members]].amax(dim=1, keepdim=True)

    terms = {}
    if weights.windows:
        facade, vehicle = mask("building"), mask("car", "truck")
        of_facades = window_darkness(fake, facade, windows)
        terms["g_windows"] = weights.windows * of_facades
        of_vehicles = window_darkness(fake, vehicle, windows, VEHICLE_WINDOW_DARKNESS)
        terms["g_vehicle_windows"] = weights.windows * of_vehicles
    if weights.paint:
        cars = colour_variation(fake, mask("car"))
        signs = colour_variation(fake, mask("sign"), SIGN_COLOUR_BOUND)
        if not paired:
            cars = cars + car_brightness_variation(fake, mask("car"), windows)
        terms["g_paint"] = weights.paint * (cars + signs)
    if weights.ground and not paired:
        road = mask("road")
        variation = road_fine_variation(fake, road) + road_coarse_variation(fake, road)
        terms["g_ground"] = weights.ground * variation
    if weights.walls and not paired:
        terms["g_walls"] = weights.walls * facade_variation(fake, mask("building"), windows)
    if weights.tone and not paired:
        people = relative_brightness(fake, mask("person"), PERSON_BRIGHTNESS)
        signs = relative_brightness(fake, mask("sign"), SIGN_BRIGHTNESS)
        terms["g_tone"] = weights.tone * (people + signs)
    return terms


def window_darkness(
    rgb: Tensor,
    wall: Tensor,
    windows: Tensor,
    bounds: tuple[float, float] = FACADE_WINDOW_DARKNESS,
) -> Tensor:
    """Penalise windows that are not darker than the surface around them, or too much darker.

    Without it the generator ignores the window plane of its input or paints windows black or red.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        wall: mask of what the windows are in, windows included.
        windows: mask of the windows in the generator's input.
        bounds: least and most of (wall - window) / wall, per colour channel.
    """
    light = rgb * 0.5 + 0.5
    panes = windows.to(rgb) * wall.to(rgb)
    around = _local_mean(light, wall.to(rgb) - panes, NEIGHBOURHOOD_PX)
    inside = _local_mean(light, panes, WINDOW_PX)
    darkness = (around - inside) / around.clamp_min(0.1)
    return _masked_mean(_outside(darkness, bounds).mean(dim=1, keepdim=True), panes)


def colour_variation(rgb: Tensor, mask: Tensor, bound: float = CAR_COLOUR_BOUND) -> Tensor:
    """Penalise cars and signs whose colour changes from place to place.

    The segmentation head recognises cars by lamps and plates, so that a generator rewarded by it
    alone paints too many of them. Windows belong to the mask: left out, they turn red.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        mask: the surface.
        bound: on the local deviation of colour minus brightness.
    """
    colour = rgb * 0.5 + 0.5 - _brightness(rgb)
    return _variation(colour, mask.to(rgb), NEIGHBOURHOOD_PX, bound)


def car_brightness_variation(
    rgb: Tensor, car: Tensor, windows: Tensor, bound: float = CAR_FINE_BOUND
) -> Tensor:
    """Penalise car bodies whose brightness changes from pixel to pixel, like chrome.

    This happens on cars nearer than any in the training photographs.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        car, windows: masks; windows are left out.
        bound: on the local deviation of brightness within `FINE_PX`.
    """
    body = car.to(rgb) * (1.0 - windows.to(rgb))
    return _variation(_brightness(rgb), body, FINE_PX, bound)


def road_fine_variation(rgb: Tensor, road: Tensor, bound: float = ROAD_FINE_BOUND) -> Tensor:
    """Penalise roads whose brightness changes within a few pixels, like lumps of earth.

    Shadows, which change brightness only along their outline, cost little.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        road: mask; two pixels along its border do not count.
        bound: on the local deviation of brightness within `FINE_PX`.
    """
    return _variation(_brightness(rgb), _eroded(road.to(rgb)), FINE_PX, bound)


def road_coarse_variation(rgb: Tensor, road: Tensor, bound: float = ROAD_COARSE_BOUND) -> Tensor:
    """Penalise roads with pale or dark patches larger than `road_fine_variation` sees.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        road: mask; two pixels along its border do not count.
        bound: on the deviation within `COARSE_PX` of brightness averaged over `FINE_PX`.
    """
    inner = _eroded(road.to(rgb))
    return _variation(_local_mean(_brightness(rgb), inner, FINE_PX), inner, COARSE_PX, bound)


def facade_variation(
    rgb: Tensor,
    facade: Tensor,
    windows: Tensor,
    bounds: tuple[float, float] = (FACADE_COLOUR_BOUND, FACADE_BRIGHTNESS_BOUND),
) -> Tensor:
    """Penalise facades whose colour or brightness changes between their windows.

    Streets in photographs have shop fronts about three metres up, and a generator that knows
    heights paints ledges and coloured bands there on any house. Window pixels count for colour
    (left out, they take up the red that is pushed off the walls) but not for brightness. They
    count once more one by one, because a single red window is too small to change its facade's
    mean.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        facade, windows: masks; the facade includes its windows.
        bounds: on the local deviation of colour and of brightness.
    """
    whole = facade.to(rgb)
    wall = whole * (1.0 - windows.to(rgb))
    brightness = _brightness(rgb)
    colour = rgb * 0.5 + 0.5 - brightness
    deviation = _local_deviation(colour, whole, NEIGHBOURHOOD_PX)
    of_windows = _masked_mean(functional.relu(deviation - WINDOW_COLOUR_BOUND), whole - wall)
    of_colour = _excess(deviation, whole, bounds[0])
    return of_windows + of_colour + _variation(brightness, wall, NEIGHBOURHOOD_PX, bounds[1])


def relative_brightness(rgb: Tensor, mask: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Penalise people and signs that are too dark or too bright for their image.

    The segmentation head takes any dark figure for a person, so that a generator rewarded by it
    alone paints silhouettes. Gradients reach the masked pixels only.

    Args:
        rgb: (B, 3, H, W) in [-1, 1].
        mask: the objects; images with fewer than `MIN_OBJECT_PX` of them do not count.
        bounds: least and most mean brightness, divided by the whole image's.
    """
    brightness = _brightness(rgb)
    mask = mask.to(brightness)
    pixels = mask.sum(dim=(1, 2, 3))
    inside = (brightness * mask).sum(dim=(1, 2, 3)) / pixels.clamp_min(1.0)
    ratio = inside / brightness.mean(dim=(1, 2, 3)).detach().clamp_min(0.05)
    counts = (pixels >= MIN_OBJECT_PX).to(brightness)
    return (_outside(ratio, bounds) * counts).sum() / counts.sum().clamp_min(1.0)


def _outside(value: Tensor, bounds: tuple[float, float]) -> Tensor:
    """How far each value lies outside of the bounds; 0 within."""
    least, most = bounds
    return functional.relu(least - value) + functional.relu(value - most)


def _eroded(mask: Tensor) -> Tensor:
    """The mask without two pixels along its border."""
    return 1.0 - functional.max_pool2d(1.0 - mask, 5, stride=1, padding=2)


def _brightness(rgb: Tensor) -> Tensor:
    """Mean of the channels as a share of white: (B, 3, H, W) in [-1, 1] to (B, 1, H, W)."""
    return (rgb * 0.5 + 0.5).mean(dim=1, keepdim=True)


def _variation(x: Tensor, mask: Tensor, side_px: int, bound: float) -> Tensor:
    """How far the local deviation of x (B, C, H, W) within `side_px` exceeds `bound`."""
    return _excess(_local_deviation(x, mask, side_px), mask, bound)


def _local_deviation(x: Tensor, mask: Tensor, side_px: int) -> Tensor:
    """Distance of each pixel from the masked mean of the square around it: (B, 1, H, W)."""
    return (x - _local_mean(x, mask, side_px)).abs().mean(dim=1, keepdim=True)


def _excess(deviation: Tensor, mask: Tensor, bound: float) -> Tensor:
    """Masked mean of what the deviation, averaged over `NEIGHBOURHOOD_PX`, exceeds `bound` by."""
    local = _local_mean(deviation, mask, NEIGHBOURHOOD_PX)
    return _masked_mean(functional.relu(local - bound), mask)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x (B, 1, H, W) over the mask; 0 for an empty mask."""
    return (x * mask).sum() / mask.sum().clamp_min(1.0)


def _local_mean(x: Tensor, mask: Tensor, side_px: int) -> Tensor:
    """Masked mean over the square around each pixel; x itself where the mask is (nearly) empty.

    x (B, C, H, W), mask (B, 1, H, W).
    """
    sums, share = (_box_mean(each, side_px) for each in (x * mask, mask))
    return torch.where(share > 0.01, sums / share.clamp_min(0.01), x)


def _box_mean(x: Tensor, side_px: int) -> Tensor:
    """Mean over the square around each pixel, zeros beyond the image; `side_px` is odd.

    Columns first, then rows: many times faster on a CPU than one pass with a 25x25 kernel.
    """
    reach = side_px // 2
    columns = functional.avg_pool2d(x, (side_px, 1), stride=1, padding=(reach, 0))
    return functional.avg_pool2d(columns, (1, side_px), stride=1, padding=(0, reach))
