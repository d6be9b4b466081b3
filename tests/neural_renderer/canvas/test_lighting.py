"""Light on the canvas: sunny and shaded walls, clouds, contact shadows."""

import dataclasses

import numpy as np
from test_placement import wall_view

from sim2street.bridge.frame import Actor, Weather
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.labels import Tag
from sim2street.neural_renderer.canvas.lighting import Light, contact_shadow, light_factor, light_of

CLEAR, OVERCAST = Weather(cloudiness=0.0), Weather(cloudiness=1.0)


def sun_from(direction: tuple[float, float, float]) -> Light:
    unit = np.array(direction, np.float32)
    return Light(unit / np.linalg.norm(unit), 0.6, 0.4)


def wall_brightness(light: Light) -> float:
    """Of a wall whose normal is -x: the camera looks along x."""
    view = wall_view(9.0, 6.0)
    surface = view.labels.astype(np.int32)
    points = np.zeros((3, *view.labels.shape), np.float32)
    factor = light_factor(view, surface, points, (), light)
    wall = factor[view.labels == Tag.BUILDING]
    assert np.ptp(wall) < 1e-6  # a flat wall has one brightness
    return float(wall[0])


def test_walls_that_face_the_sun_are_brighter() -> None:
    towards, away, along = (
        wall_brightness(sun_from(d)) for d in ((-1, 0, 1), (1, 0, 1), (0, 1, 1))
    )
    assert towards > 1.2 * away
    assert away == along  # both get no sun


def test_clouds_take_the_difference_away() -> None:
    sunny, grey = light_of(CLEAR, 1), light_of(OVERCAST, 1)
    assert sunny.sun > 0.5
    assert grey.sun < 0.01
    np.testing.assert_allclose((sunny.sun + sunny.sky, grey.sun + grey.sky), 1.0)


def test_the_seed_turns_the_sun_and_the_same_seed_does_not() -> None:
    one, two = light_of(CLEAR, 1).direction, light_of(CLEAR, 2).direction
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(one, light_of(CLEAR, 1).direction)
    np.testing.assert_allclose(np.linalg.norm(one), 1.0, rtol=1e-6)


def car(x_m: float, tag: int = Tag.CAR) -> Actor:
    pose = np.eye(4, dtype=np.float32)
    pose[0, 3] = x_m
    return Actor(7, tag, pose, (2.2, 0.9, 0.7))


def test_ground_is_dark_below_a_vehicle_and_bright_beside_it() -> None:
    y = np.array([0.0, 0.8, 1.0, 1.5, 4.0], np.float32)
    points = np.stack([np.full(5, 10.0, np.float32), y, np.zeros(5, np.float32)])
    light = contact_shadow(points, [car(10.0)], level_pose())
    assert light[0] == light[1] < 0.6
    assert (np.diff(light[1:]) > 0).all()
    assert light[-1] > 0.99


def test_only_near_vehicles_cast_contact_shadows() -> None:
    points = np.array([[90.0], [0.0], [0.0]], np.float32)
    assert contact_shadow(points, [car(90.0)], level_pose())[0] == 1.0
    points = np.array([[10.0], [0.0], [0.0]], np.float32)
    assert contact_shadow(points, [car(10.0, Tag.PEDESTRIAN)], level_pose())[0] == 1.0


def test_the_canvas_takes_the_weather() -> None:
    from support.flat_atlas import flat_atlas

    from sim2street.neural_renderer.canvas.parts import atlas_parts
    from sim2street.neural_renderer.canvas.placement import place

    parts = atlas_parts(flat_atlas())
    view = dataclasses.replace(wall_view(9.0, 6.0), surfaces=None)
    tints = [place(view, parts, 1, (), weather).tint for weather in (CLEAR, OVERCAST)]
    wall = view.labels == Tag.BUILDING
    assert not np.allclose(tints[0][:, wall], tints[1][:, wall])
