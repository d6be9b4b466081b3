"""Weather on a finished picture: fog by distance, wet roads, rain, clouds, dusk and night."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from support.flat_atlas import flat_atlas
from test_placement import DISTANCE_M, wall_view

from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import FloatArray, View, Weather
from sim2street.bridge.labels import Tag
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.bridge.surfaces import SurfaceKind, VehicleSide, vehicle_material
from sim2street.bridge.town.weather import PRESETS
from sim2street.neural_renderer.canvas import weather_effects as effects
from sim2street.neural_renderer.canvas.parts import atlas_parts
from sim2street.neural_renderer.canvas.placement import place
from sim2street.neural_renderer.canvas.renderer import CanvasRenderer
from sim2street.neural_renderer.canvas.weather_effects import emission_of, weather_effects

DAY, NIGHT = Weather(), Weather(sun_altitude_deg=-30.0)


def preset(name: str) -> Weather:
    chosen = PRESETS[name]
    sun_deg = (chosen.sun_low_deg + chosen.sun_high_deg) / 2
    return Weather(sun_deg, chosen.cloudiness, chosen.rain, chosen.fog, chosen.wetness)


def picture(view: View) -> FloatArray:
    """A red wall under a blue sky on a dark road."""
    assert view.labels is not None
    rgb = np.full((*view.labels.shape, 3), 0.3, np.float32)
    rgb[view.labels == Tag.BUILDING] = (0.6, 0.2, 0.1)
    rgb[view.labels == Tag.SKY] = (0.4, 0.6, 0.9)
    return rgb


@pytest.fixture
def view() -> View:
    return wall_view(9.0, 6.0)


def linear(rgb: FloatArray) -> FloatArray:
    return np.asarray(rgb**effects.GAMMA, np.float32)


def test_fair_daylight_leaves_the_picture_as_it_is(view: View) -> None:
    rgb = picture(view)
    assert weather_effects(rgb, view, DAY) is rgb


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_a_picture_and_the_same_again(view: View, name: str) -> None:
    rgb = picture(view)
    before = rgb.copy()
    one, two = (weather_effects(rgb, view, preset(name), 4, 2) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == rgb.shape
    assert 0.0 <= one.min() <= one.max() <= 1.0
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(rgb, before)


def test_fog_follows_koschmieders_law_in_linear_light(view: View) -> None:
    """The contrast between two colours at one distance falls to exp(-extinction x distance)."""
    fog = Weather(fog=0.6)
    visibility_m = effects.CLEAR_VISIBILITY_M * (
        effects.DENSE_VISIBILITY_M / effects.CLEAR_VISIBILITY_M
    ) ** np.float64(0.6)
    red, green = picture(view), picture(view)
    green[view.labels == Tag.BUILDING] = (0.1, 0.6, 0.2)
    centre = view.labels.shape[0] // 2, view.labels.shape[1] // 2
    contrasts = []
    for distance_m in (DISTANCE_M, 4 * DISTANCE_M):
        depth_m = np.where(view.labels == Tag.BUILDING, distance_m, view.depth_m)
        far = dataclasses.replace(view, depth_m=depth_m.astype(np.float32))
        a, b = (linear(weather_effects(rgb, far, fog))[centre] for rgb in (red, green))
        contrasts.append((a - b)[0])
    expected = np.exp(-effects.KOSCHMIEDER / visibility_m * 3 * DISTANCE_M)
    assert contrasts[1] / contrasts[0] == pytest.approx(expected, rel=0.01)


def test_far_things_and_sky_take_on_one_colour_in_fog(view: View) -> None:
    depth_m = np.where(view.labels == Tag.BUILDING, 900.0, view.depth_m).astype(np.float32)
    far = dataclasses.replace(view, depth_m=depth_m)
    rgb = weather_effects(picture(far), far, preset("fog"))
    wall, sky = rgb[view.labels == Tag.BUILDING], rgb[60, view.labels[60] == Tag.SKY]
    np.testing.assert_allclose(wall.mean(axis=0), sky.mean(axis=0), atol=0.08)


def test_wet_roads_are_darker_near_and_mirror_the_sky_far_away(view: View) -> None:
    labels = np.where(view.labels == Tag.BUILDING, Tag.SKY, view.labels)
    labels[65:] = Tag.ROAD
    y = np.arange(len(labels))[:, None] - view.camera.cy_px
    depth_m = np.where(y > 0, 1.5 * view.camera.fy_px / np.maximum(y, 1e-3), 1000.0)
    depth_m = np.broadcast_to(np.minimum(depth_m, 1000.0), labels.shape).astype(np.float32)
    plain = View(view.camera, view.pose, labels.astype(np.uint8), depth_m)
    rgb = picture(plain)
    rgb[labels == Tag.ROAD] = 0.5
    dry, wet = (weather_effects(rgb, plain, Weather(20, 0.9, wetness=w)) for w in (0.0, 1.0))
    assert wet[-8:, 100:156].mean() < 0.98 * dry[-8:, 100:156].mean()
    assert wet[68:72].mean() > 1.15 * dry[68:72].mean()
    np.testing.assert_array_equal(wet[:60], dry[:60])


def test_the_road_mirrors_a_wall_where_it_stands(view: View) -> None:
    wet = weather_effects(picture(view), view, Weather(20, 0.9, wetness=1.0))
    foot = int(np.flatnonzero((view.labels == Tag.BUILDING).any(axis=1))[-1]) + 4
    redness = wet[foot, :, 0] - wet[foot, :, 2]
    middle = view.labels.shape[1] // 2
    assert redness[middle - 5 : middle + 5].min() > redness[:10].max() + 0.02


def test_rain_streaks_are_the_same_for_a_tick_and_others_for_the_next(view: View) -> None:
    rain = dataclasses.replace(preset("rain"), wetness=0.0)
    rgb = np.full_like(picture(view), 0.1)
    first, again, later = (weather_effects(rgb, view, rain, tick, 3) for tick in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).max() > 0.05
    assert np.abs(first - later).mean() < 0.03  # thin


def test_clouds_make_the_sky_grey(view: View) -> None:
    sky = view.labels == Tag.SKY
    rgb = weather_effects(picture(view), view, Weather(40.0, cloudiness=1.0))
    assert np.ptp(rgb[sky].mean(axis=0)) < 0.05


def test_it_gets_darker_with_the_sun_and_the_evening_sky_is_warm(view: View) -> None:
    suns_deg = (30.0, 8.0, 2.0, -3.0, -30.0)
    rgbs = [weather_effects(picture(view), view, Weather(sun, 0.1)) for sun in suns_deg]
    sky = [rgb[view.labels == Tag.SKY].mean() for rgb in rgbs]
    assert sky[1:] == sorted(sky[1:], reverse=True)  # a low sun first makes the sky paler
    road = [rgb[-1].mean() for rgb in rgbs]
    assert road[0] > road[1] > road[2] > road[4]
    low = rgbs[2][62][view.labels[62] == Tag.SKY].mean(axis=0)
    assert low[0] > low[2] + 0.05


def test_at_night_ground_is_lit_and_high_walls_are_not(view: View) -> None:
    rgb = weather_effects(np.full_like(picture(view), 0.5), view, NIGHT)
    tall = wall_view(9.0, 30.0)
    high = weather_effects(np.full_like(rgb, 0.5), tall, NIGHT)[0, 128]
    assert rgb[-1].mean() > 2.0 * high.mean()
    assert rgb[-1, :, 0].mean() > rgb[-1, :, 2].mean()  # warm light


def test_some_rooms_are_lit_and_stay_lit_when_the_camera_moves() -> None:
    parts = atlas_parts(flat_atlas())
    view = wall_view(9.0, 13.5)
    lit = np.zeros(view.labels.shape, bool)
    dark = lit.copy()
    for seed in range(6):
        surfaces = place(view, parts, seed)
        light = emission_of(view, surfaces, parts, seed)
        assert light is not None
        assert light.shape == (3, *view.labels.shape)
        assert not light[:, ~surfaces.window].any()
        np.testing.assert_array_equal(light, emission_of(view, surfaces, parts, seed))
        lit |= light.any(axis=0)
        dark |= surfaces.window & ~light.any(axis=0)
    assert lit.any()
    assert dark.any()
    plain = dataclasses.replace(view, surfaces=None)
    assert emission_of(plain, place(plain, parts, 0), parts, 0) is None


def test_lamps_shine_at_night_only(view: View) -> None:
    rgb = np.full_like(picture(view), 0.1)
    light = np.zeros((3, *view.labels.shape), np.float32)
    light[:, 100, 128] = (0.9, 0.05, 0.05)
    for weather, shines in ((NIGHT, True), (preset("cloudy"), False)):
        with_lamp, without = (weather_effects(rgb, view, weather, 0, 0, e) for e in (light, None))
        assert (with_lamp[100, 128, 0] > without[100, 128, 0] + 0.3) == shines


def test_vehicles_have_white_lamps_in_front_and_red_ones_behind(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = atlas_parts(flat_atlas())
    assert view.surfaces is not None
    monkeypatch.setattr(
        effects, "parts_at", lambda parts, piece, x, y: np.full(len(piece), effects.Part.LAMP)
    )
    colours = {}
    for side in (VehicleSide.FRONT, VehicleSide.BACK, VehicleSide.LEFT):
        car = dataclasses.replace(
            view.surfaces,
            kind=np.array([SurfaceKind.VEHICLE], np.uint8),
            material=np.array([vehicle_material(3, side)], np.uint8),
        )
        surfaces = place(view, parts, 0)
        light = emission_of(dataclasses.replace(view, surfaces=car), surfaces, parts, 0)
        assert light is not None
        colours[side] = light.reshape(3, -1).max(axis=1)
    assert colours[VehicleSide.FRONT].min() > 1.0
    assert colours[VehicleSide.BACK][0] > 10 * colours[VehicleSide.BACK][1]
    assert not colours[VehicleSide.LEFT].any()


def canvas_picture(weather: Weather | None, tick: int = 0, scale: int = 1) -> np.ndarray:
    view = wall_view(9.0, 6.0)
    size = view.camera.width_px * scale, view.camera.height_px * scale
    with CanvasRenderer(flat_atlas()) as renderer:
        session = renderer.open_session(SessionConfig("flat", view.camera, size, 1))
        request = RenderRequest(session, view, tick, 0, weather=weather)
        return renderer.render([request])[0].rgb


def test_the_canvas_shows_the_weather_of_the_request() -> None:
    plain = canvas_picture(None)
    np.testing.assert_array_equal(canvas_picture(DAY), plain)
    pictures = [canvas_picture(preset(name)) for name in ("rain", "fog", "dusk", "night")]
    for one in pictures:
        assert np.abs(one.astype(int) - plain).mean() > 8
    assert pictures[3].mean() < pictures[2].mean() < plain.mean()
    assert canvas_picture(preset("rain"), scale=2).shape == (256, 512, 3)


def test_the_canvas_refuses_impossible_weather() -> None:
    with pytest.raises(FrameError, match=r"weather\.fog must be in \[0, 1\], got 70"):
        canvas_picture(Weather(fog=70.0))


def test_a_camera_that_looks_up_or_down_or_is_rolled_gets_weather(view: View) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    for rotation in (turn, np.eye(3), np.diag((1.0, -1.0, -1.0))):
        pose = view.pose.copy()
        pose[:3, :3] = rotation
        odd = dataclasses.replace(view, pose=pose)
        for name in PRESETS:
            assert np.isfinite(weather_effects(picture(odd), odd, preset(name))).all()


def test_it_takes_a_few_milliseconds(view: View) -> None:
    """Measured: below 6 ms for 512 x 256 on two cores. This catches a tenfold slowdown only."""
    rgb = picture(view)
    times_s = []
    for _ in range(5):
        start_s = time.perf_counter()
        weather_effects(rgb, view, preset("rain"))
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < 0.05
