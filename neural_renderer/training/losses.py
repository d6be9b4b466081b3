"""Losses: pure functions of pictures, labels and judgements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from neural_renderer.networks.discriminators import Judgement

FEWEST_AREA, FEWEST_PX = 0.005, 40
"""Share of a picture below which a group's statistics say little, and pixels below which its
mean does."""


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
many pixels: a third of the near road in photographs is more even than that. The rest has shadows,
patches and dirt, whose causes no label tells."""

WALL_COLOUR_UNREST, WALL_UNREST = 0.009, 0.066
"""How far the colour, less its brightness, and the brightness of a facade stray from their mean in
a square of `WALL_REACH_PX`, the latter without windows that were found: half of it exceeds them
in photographs of CamVid, IDD and BDD, which have doors, shop fronts and signs."""

PERSON_TONE, SIGN_TONE = (0.45, 0.78), (0.63, 1.11)
"""Mean brightness of people and of signs as a share of their picture's: the middle half of
photographs of CamVid, IDD and BDD."""

WALL_REACH_PX, PANE_PX = 25, 5
"""Sides of the squares over which a window's wall and a window itself are averaged."""


def hinge_discriminator(real: Judgement, fake: Judgement) -> Tensor:
    """Hinge loss over all scales (Lim & Ye, 2017; Miyato et al., ICLR 2018)."""
    losses = [
        functional.relu(1.0 - r.float()).mean() + functional.relu(1.0 + f.float()).mean()
        for r, f in zip(real.scores, fake.scores, strict=True)
    ]
    return torch.stack(losses).mean()


def hinge_generator(fake: Judgement) -> Tensor:
    """The generator's side of the hinge loss."""
    return -torch.stack([f.float().mean() for f in fake.scores]).mean()


def shrunken_labels(groups: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Labels at a feature map's resolution: soft multi-hot (B, G, h, w)."""
    return functional.interpolate(groups.float(), size=tuple(size), mode="area")


def class_weights(targets: Tensor) -> Tensor:
    """Rare classes count more (OASIS, eq. 1): inverse frequency per batch, at most 10."""
    share = targets.mean(dim=(0, 2, 3))
    present = (share > 1e-5).float()
    weight = present / (share.clamp_min(1e-5) * present.sum().clamp_min(1.0))
    return weight.clamp_max(10.0)


def segmentation_real(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy against *sets* of allowed classes, weighted by class.

    A pixel whose label is a set (several groups at 1) is right with any of them. Pixels
    without a label (all zeros) do not count.

    Args:
        logits: (B, G + 1, h, w). targets: (B, G, h, w) soft multi-hot. weights: (G,).
    """
    log_p = functional.log_softmax(logits, dim=1)[:, :-1]
    peak = targets.amax(dim=1, keepdim=True)
    allowed = torch.where(peak > 0.05, targets / peak.clamp_min(1e-3), torch.zeros_like(targets))
    log_allowed = torch.logsumexp(log_p + allowed.clamp_min(1e-8).log(), dim=1)
    pixel_weight = (targets * weights[:, None, None]).sum(dim=1)
    return -(log_allowed * pixel_weight).sum() / pixel_weight.sum().clamp_min(1.0)


def segmentation_fake(logits: Tensor) -> Tensor:
    """Every pixel of a generated picture is class "fake"."""
    return -functional.log_softmax(logits, dim=1)[:, -1].mean()


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
    return (amiss.mean(dim=1, keepdim=True) * panes).sum() / panes.sum().clamp_min(1.0)


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

    Shadows and patches may lie on a road, lumps of earth not: `small` painted them in the town
    where no target says otherwise, and its discriminators did not mind.

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
    or it moves into them (those of `tiny` turned red), not by their brightness.

    Args:
        rgb: (B, 3, H, W) in [-1, 1]. wall, windows: (B, 1, H, W), 0 or 1.
        bounds: on how far colour and brightness stray, as shares of white.
    """
    whole = wall.to(rgb)
    plain = whole * (1.0 - windows.to(rgb))
    bright = _brightness(rgb)
    colour = _unrest(rgb * 0.5 + 0.5 - bright, whole, WALL_REACH_PX, bounds[0])
    return colour + _unrest(bright, plain, WALL_REACH_PX, bounds[1])


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
    stray = (x - _mean_over(x, mask, side_px)).abs().mean(dim=1, keepdim=True)
    amiss = functional.relu(_mean_over(stray, mask, WALL_REACH_PX) - bound)
    return (amiss * mask).sum() / mask.sum().clamp_min(1.0)


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


def label_mix(real: Tensor, fake: Tensor, targets: Tensor, pick: Tensor) -> tuple[Tensor, Tensor]:
    """LabelMix (OASIS, eq. 4): real where `pick`ed classes are, fake elsewhere.

    Args:
        pick: bool (G,), the classes shown from the real picture.

    Returns:
        the mixed pictures and the mask (B, 1, H, W) of real pixels.
    """
    mask = (targets * pick[:, None, None]).amax(dim=1, keepdim=True)
    mask = (functional.interpolate(mask, size=real.shape[-2:]) > 0.5).to(real.dtype)
    return mask * real + (1.0 - mask) * fake, mask


def perceptual(fake: Sequence[Tensor], real: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Relative L1 between feature maps: each tap is measured in units of its own mean."""
    total = torch.zeros((), device=fake[0].device)
    for f, r, weight in zip(fake, real, weights, strict=True):
        scale = r.float().abs().mean().clamp_min(1e-4)
        total = total + weight * (f.float() - r.float()).abs().mean() / scale
    return total


def region_statistics(
    fake: Sequence[Tensor],
    fake_groups: Tensor,
    like: Sequence[Tensor],
    like_groups: Tensor,
    weights: Sequence[float],
    one_sided: bool = False,
) -> Tensor:
    """How far the look of each label group is from that group's in other pictures.

    L1 between mean and deviation of every channel inside a group, in units of the other
    pictures' mean deviation: the style statistics of Huang & Belongie (ICCV 2017, eq. 13)
    within regions (Gatys et al., CVPR 2017, section 4). No pixel has a counterpart. A group
    counts by the root of its area, where both show enough of it.

    Args:
        fake: feature maps (B, C, h, w) a tap. fake_groups: (B, G, H, W) multi-hot.
        like: maps of K pictures each (B * K, C, h', w'). like_groups: (B, K, G, H', W').
        weights: one a tap.
        one_sided: less deviation than in the other pictures is fine. Theirs is that of K streets
            at once: a road with shadows, houses with shop fronts, cars of many colours. One
            plain street has nothing real to meet it with.
    """
    k = like_groups.shape[1]
    total = torch.zeros((), device=fake_groups.device)
    for f, other, weight in zip(fake, like, weights, strict=True):
        mean, deviation, area = _group_moments(f.float(), fake_groups, 1)
        wanted_mean, wanted_deviation, wanted_area = _group_moments(
            other.float(), like_groups.flatten(0, 1), k
        )
        present = ((area > FEWEST_AREA) & (wanted_area > FEWEST_AREA)).float() * area.sqrt()
        scale = wanted_deviation.mean(dim=2).clamp_min(1e-2)
        excess = deviation - wanted_deviation
        excess = functional.relu(excess) if one_sided else excess.abs()
        gap = ((mean - wanted_mean).abs() + excess).mean(dim=2)
        total = total + weight * (gap / scale * present).sum() / present.sum().clamp_min(1e-3)
    return total


def _group_moments(x: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation (B, G, C) of every group over K pictures each, its area (B, G).

    x: (B * K, C, h, w). groups: (B * K, G, H, W).
    """
    masks = shrunken_labels(groups, x.shape[-2:])
    pixels = masks.sum(dim=(2, 3)).unflatten(0, (-1, k)).sum(dim=1)[..., None]
    sums = [
        torch.einsum("nchw,nghw->ngc", moment, masks).unflatten(0, (-1, k)).sum(dim=1)
        for moment in (x, x.square())
    ]
    mean, square = (s / pixels.clamp_min(1e-3) for s in sums)
    deviation = (square - mean.square()).clamp_min(1e-4).sqrt()
    return mean, deviation, pixels[..., 0] / (k * masks.shape[-2] * masks.shape[-1])


def feature_matching(fake: Judgement, real: Judgement) -> Tensor:
    """L1 between a discriminator's hidden maps (pix2pixHD, eq. 4), averaged over layers."""
    losses = [
        (f.float() - r.detach().float()).abs().mean()
        for f, r in zip(fake.features, real.features, strict=True)
    ]
    return torch.stack(losses).mean()


def coarse_colour(fake: Tensor, real: Tensor, valid: Tensor, factor: int = 8) -> Tensor:
    """L1 on pictures shrunk by `factor`, where labels are known: tone without texture."""
    weight = functional.avg_pool2d(valid, factor)
    difference = (functional.avg_pool2d(fake, factor) - functional.avg_pool2d(real, factor)).abs()
    return (difference * weight).sum() / (3.0 * weight.sum()).clamp_min(1.0)


def temporal(current: Tensor, warped: Tensor, validity: Tensor) -> Tensor:
    """L1 between a frame and its predecessor moved exactly, on non-disoccluded pixels."""
    difference = (current - warped).abs() * validity
    return difference.sum() / (3.0 * validity.sum()).clamp_min(1.0)


def r1_penalty(scores: Tensor, rgb: Tensor) -> Tensor:
    """Squared gradient at real pictures (Mescheder et al., ICML 2018); rgb needs grad.

    Of the mean score of each picture: the sum over patches would weigh so much that the
    discriminator goes blind.
    """
    per_picture = scores.float().mean(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(per_picture.sum(), rgb, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


def diff_augment(pictures: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Brightness, saturation and contrast drawn once per sample, applied to all alike.

    DiffAugment (Zhao et al., NeurIPS 2020) without cut-out, and with a translation by one
    pixel at most: more would move pictures away from their labels, none would let strided
    features teach a lattice of their own phase. Each picture (B, 3, H, W).
    """
    b, device = pictures[0].shape[0], pictures[0].device

    def draw(low: float, high: float) -> Tensor:
        values = torch.rand(b, 1, 1, 1, generator=generator) * (high - low) + low
        return values.to(device)

    # Gentle, or nobody tells the generator that its blacks are grey.
    brightness, saturation, contrast = draw(-0.1, 0.1), draw(0.7, 1.3), draw(0.85, 1.15)

    def change(x: Tensor) -> Tensor:
        x = x + brightness
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation
        centre = x.mean(dim=(1, 2, 3), keepdim=True)
        return centre + (x - centre) * contrast

    dx, dy = torch.randint(0, 2, (2,), generator=generator).tolist()
    return [
        functional.pad(change(x)[..., dy:, dx:], (0, dx, 0, dy), mode="replicate") for x in pictures
    ]
