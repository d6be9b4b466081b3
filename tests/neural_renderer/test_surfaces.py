"""The loss terms for single surfaces, on synthetic images."""

import pytest
import torch
from torch import Tensor

from sim2street.neural_renderer.training import surfaces
from sim2street.neural_renderer.training.config import LossWeights
from sim2street.neural_renderer.training.surfaces import surface_losses


def test_windows_must_be_darker_than_their_wall_but_not_black() -> None:
    building, windows = torch.zeros(2, 1, 1, 64, 64)
    building[:, :, 8:] = 1.0
    windows[..., 20:30, 20:28] = windows[..., 40:50, 44:52] = 1.0

    def penalty(shade: float) -> float:
        rgb = torch.full((1, 3, 64, 64), 0.2).where(windows < 0.5, 2.0 * 0.6 * (1.0 - shade) - 1.0)
        return float(surfaces.window_darkness(rgb, building, windows))

    assert penalty(0.25) == pytest.approx(0.0, abs=0.02)
    assert penalty(0.0) == pytest.approx(0.15, abs=0.02)
    assert penalty(0.6) > 0.1
    nowhere = torch.zeros(1, 1, 64, 64)
    assert float(surfaces.window_darkness(torch.zeros(1, 3, 64, 64), building, nowhere)) == 0.0
    rgb = torch.full((1, 3, 64, 64), 0.2, requires_grad=True)
    surfaces.window_darkness(rgb, building, windows).backward()
    assert rgb.grad is not None
    pane = windows[0, 0] > 0.5
    assert float(rgb.grad[0, :, pane].sum()) > 0.0  # a step down the slope darkens the panes


def test_a_car_has_one_colour_but_may_have_lamps() -> None:
    body = torch.zeros(1, 1, 64, 64)
    body[..., 10:54, 10:54] = 1.0
    plain = torch.zeros(1, 3, 64, 64)
    plain[:, :, 32:] += 0.5  # light falls on it from above
    plain[:, 1, :10] = 1.0  # what is beside it has colours of its own
    plain[..., 14:26, 14:50] -= 0.8  # panes are darker, and of no other colour
    lamps, red_panes, striped = plain.clone(), plain.clone(), plain.clone().requires_grad_(True)
    lamps[:, 0, 40:43, 12:16] = lamps[:, 0, 40:43, 48:52] = 1.0
    red_panes[:, 0, 14:26, 14:50] += 0.6
    with torch.no_grad():
        striped[:, 0, 28:50:6] += 0.6
    assert float(surfaces.colour_variation(plain, body)) == pytest.approx(0.0, abs=1e-6)
    assert float(surfaces.colour_variation(lamps, body)) < 0.005
    assert float(surfaces.colour_variation(red_panes, body)) > 0.01
    uneven = surfaces.colour_variation(striped, body)
    assert float(uneven.detach()) > 0.008
    uneven.backward()
    assert striped.grad is not None
    assert float(striped.grad[0, 0, 40, 30]) > 0.0  # less red in a stripe is better
    assert float(surfaces.colour_variation(striped.detach(), torch.zeros_like(body))) == 0.0


def test_fine_variation_penalises_lumps_on_a_road_more_than_a_shadow() -> None:
    road = torch.zeros(1, 1, 64, 64)
    road[..., 20:, :] = 1.0
    shadow = torch.zeros(1, 3, 64, 64)
    shadow[..., 30:40, :] -= 0.2  # rows of it, and a kerb beside the road
    shadow[..., :20, :] = 0.9
    lumps = shadow.clone().requires_grad_(True)
    with torch.no_grad():
        lumps[..., 24:64:6, ::6] += 0.7
    assert float(surfaces.road_fine_variation(torch.zeros_like(shadow), road)) == 0.0
    lumpy = surfaces.road_fine_variation(lumps, road)
    assert float(lumpy.detach()) > 3.0 * float(surfaces.road_fine_variation(shadow, road))
    lumpy.backward()
    assert lumps.grad is not None
    assert float(lumps.grad[0, :, 48, 30].sum()) > 0.0  # a darker lump is better
    assert not lumps.grad[..., :20, :].any()
    assert float(surfaces.road_fine_variation(lumps.detach(), torch.zeros_like(road))) == 0.0


def test_coarse_variation_penalises_patches_but_not_grain() -> None:
    road = torch.ones(1, 1, 96, 96)
    grain = torch.zeros(1, 3, 96, 96)
    grain[..., ::4] += 0.2  # finer than lumps, which have a term of their own
    patch = torch.zeros(1, 3, 96, 96)
    patch[..., 30:60, 30:60] += 0.2
    patch.requires_grad_(True)
    assert float(surfaces.road_coarse_variation(grain, road)) == 0.0
    patchy = surfaces.road_coarse_variation(patch, road)
    assert float(patchy.detach()) > 0.005
    assert float(patchy.detach()) > 3.0 * float(surfaces.road_fine_variation(patch.detach(), road))
    patchy.backward()
    assert patch.grad is not None
    assert float(patch.grad[0, :, 45, 45].sum()) > 0.0  # a darker patch is better
    assert float(surfaces.road_coarse_variation(patch.detach(), torch.zeros_like(road))) == 0.0


def test_people_must_not_be_too_dark_or_too_bright() -> None:
    people = torch.zeros(2, 1, 32, 32)
    people[0, :, 10:20, 10:20] = 1.0
    people[1, :, 2:4, 2:4] = 1.0  # too few pixels to tell

    def penalty(share: float) -> float:
        street = torch.full((2, 3, 32, 32), 0.5)
        inside = 0.5 * share * 924 / (1024 - 100 * share)  # a share of the whole picture's mean
        rgb = street.where(people < 0.5, inside) * 2.0 - 1.0
        return float(surfaces.relative_brightness(rgb, people, (0.45, 0.78)))

    assert penalty(0.6) == 0.0
    assert penalty(0.25) == pytest.approx(0.2, abs=0.01)
    assert penalty(1.08) == pytest.approx(0.3, abs=0.01)
    assert (
        float(surfaces.relative_brightness(torch.zeros(2, 3, 32, 32), 0.0 * people, (0.45, 0.78)))
        == 0.0
    )
    dark = torch.full((2, 3, 32, 32), -0.9).where(people > 0.5, 0.5).requires_grad_(True)
    surfaces.relative_brightness(dark, people, (0.45, 0.78)).backward()
    assert dark.grad is not None
    assert float(dark.grad[0, :, 15, 15].max()) < 0.0  # brighter people are better
    assert not dark.grad[0, :, 0, 0].any()  # and not a darker street


def test_brightness_of_people_counts_only_without_a_target() -> None:
    groups, rgb = torch.zeros(1, 4, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    groups[:, 0, 8:24, 8:24] = 1.0
    rgb[..., 8:24, 8:24] = -1.0
    shown = ("person", "sign", "building", "car"), rgb, groups, torch.zeros(1, 1, 32, 32)
    weights = LossWeights(windows=0.0, paint=0.0, tone=2.0)
    assert surface_losses(*shown, weights, paired=True) == {}
    assert float(surface_losses(*shown, weights, paired=False)["g_tone"]) > 0.5


def facade(ledge: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """A wall with two rows of dark panes under a gentle light, and a ledge between the rows."""
    wall, windows = torch.zeros(2, 1, 1, 64, 64)
    wall[..., 8:, :] = 1.0
    windows[..., 14:24, 6::14] = windows[..., 14:24, 7::14] = windows[..., 14:24, 8::14] = 1.0
    windows[..., 46:56, 6::14] = windows[..., 46:56, 7::14] = windows[..., 46:56, 8::14] = 1.0
    rgb = torch.linspace(-0.1, 0.1, 64)[:, None].expand(1, 3, 64, 64).clone()
    rgb = rgb.where(windows < 0.5, -0.8)
    rgb[..., :8, :] = torch.tensor([-0.2, 0.4, 0.9])[:, None, None]  # the sky has its own colour
    rgb[..., 30:40, :] += torch.tensor(ledge)[:, None, None]
    return rgb, wall, windows


def test_facades_may_have_windows_but_no_ledges() -> None:
    assert float(surfaces.facade_variation(*facade((0.0, 0.0, 0.0)))) == 0.0
    assert float(surfaces.facade_variation(*facade((0.5, 0.5, 0.5)))) > 0.01, "a pale one"
    assert float(surfaces.facade_variation(*facade((0.2, -0.1, -0.1)))) > 0.005, "a red one"
    rgb, wall, windows = facade((0.0, 0.0, 0.0))
    rgb[:, 0] += 0.6 * windows[:, 0]
    red = float(surfaces.facade_variation(rgb, wall, windows))
    assert red > 0.005, "red windows"
    loose = (1.0, 1.0)
    assert red > float(surfaces.facade_variation(rgb, wall, windows, loose)), "in the mean too"
    rgb, wall, windows = facade((0.0, 0.0, 0.0))
    rgb[:, 0, 14:24, 6:9] += 0.6  # one of eight: too little to move the facade's mean
    assert float(surfaces.facade_variation(rgb, wall, windows, loose)) > 0.002, "one red window"
    rgb, wall, windows = facade((0.5, 0.5, 0.5))
    rgb.requires_grad_(True)
    surfaces.facade_variation(rgb, wall, windows).backward()
    assert rgb.grad is not None
    assert float(rgb.grad[0, :, 35, 30].sum()) > 0.0  # a darker ledge is better
    assert not rgb.grad[..., :8, :].any()  # and not another sky
    nowhere = torch.zeros_like(wall)
    assert float(surfaces.facade_variation(rgb.detach(), nowhere, windows)) == 0.0


def test_a_car_may_shine_but_not_like_chrome() -> None:
    body, windows = torch.zeros(2, 1, 1, 64, 64)
    body[..., 8:56, :] = 1.0
    windows[..., 12:24, 8:56] = 1.0
    shiny = torch.linspace(0.4, -0.4, 64)[:, None].expand(1, 3, 64, 64).clone()
    shiny = shiny.where(windows < 0.5, -1.0)
    chrome = shiny.clone()
    chrome[..., 28:52:4, :] += 0.6
    assert float(surfaces.car_brightness_variation(shiny, body, windows)) == 0.0
    assert float(surfaces.car_brightness_variation(chrome, body, windows)) > 0.02
    assert float(surfaces.car_brightness_variation(chrome, torch.zeros_like(body), windows)) == 0.0


def test_facades_and_car_brightness_count_only_without_a_target() -> None:
    names = ("building", "car", "sign", "truck", "road", "person")
    rgb, wall, windows = facade((0.5, 0.5, 0.5))
    rgb[..., :8:4, :] += 0.8  # a car in place of the sky, like chrome
    groups = torch.cat([wall, 1.0 - wall, *4 * [torch.zeros_like(wall)]], dim=1)
    weights = LossWeights(windows=0.0, tone=0.0, paint=2.0, walls=3.0)
    paired = surface_losses(names, rgb, groups, windows, weights)
    assert set(paired) == {"g_paint"}
    unpaired = surface_losses(names, rgb, groups, windows, weights, paired=False)
    assert float(unpaired["g_paint"]) > float(paired["g_paint"])
    assert float(unpaired["g_walls"]) == pytest.approx(
        3.0 * float(surfaces.facade_variation(rgb, wall, windows))
    )
