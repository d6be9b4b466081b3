"""The observation `hazards`, for actors placed by hand around an ego that drives along +x."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim2street.bridge.frame import Actor, EgoState, SensorFrame
from sim2street.bridge.hazards import FRONT_M
from sim2street.bridge.labels import Tag
from sim2street.envs.hazards import HAZARD_FIELDS, HAZARDS, hazards_ahead, hazards_vector
from sim2street.envs.state import VECTOR_OBSERVATIONS

CAR, PERSON = (2.2, 0.9, 0.75), (0.3, 0.3, 0.9)


def frame(*actors: Actor, **ego) -> SensorFrame:
    pose = np.eye(4, dtype=np.float32)
    return SensorFrame(3, 0, 0.6, EgoState(pose=pose, speed_mps=8.0, **ego), tuple(actors))


def actor(number: int, x: float, y: float, vx: float = 0.0, vy: float = 0.0, tag=Tag.CAR) -> Actor:
    pose = np.eye(4, dtype=np.float32)
    turn = math.atan2(vy, vx)
    pose[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    pose[:2, 3] = x, y
    extent = PERSON if tag == Tag.PEDESTRIAN else CAR
    return Actor(number, int(tag), pose, extent, (vx, vy, 0.0))


def places(seen: SensorFrame) -> list[dict[str, float]]:
    """Field -> value, for each hazard of the observation."""
    values = hazards_vector(seen).reshape(HAZARDS, -1)
    names = [name.partition(": ")[2] for name in HAZARD_FIELDS[: values.shape[1]]]
    return [dict(zip(names, row.tolist(), strict=True)) for row in values]


def test_a_car_ahead_field_by_field() -> None:
    first, *others = places(frame(actor(1, 20.0, 0.4, vx=4.0)))
    assert first["a car, truck or bus (0 or 1)"] == 1.0
    assert first["a pedestrian, rider, bicycle or motorcycle (0 or 1)"] == 0.0
    near_end_m = 20.0 - 2.2 - FRONT_M
    assert first["distance along the path / 50 m"] == pytest.approx(near_end_m / 50, abs=1e-3)
    assert first["offset to the left of the path / 10 m"] == pytest.approx(0.04, abs=1e-3)
    assert first["speed along the path / 20 m/s"] == pytest.approx(0.2, abs=1e-3)
    assert first["speed to the left / 5 m/s"] == pytest.approx(0.0, abs=1e-3)
    assert 1.8 / 5 < first["offset from which it is out of the way / 5 m"] < 2.5 / 5
    for empty in others:
        assert empty.pop("distance along the path / 50 m") == 1.0
        assert set(empty.values()) == {0.0}


def test_a_pedestrian_who_steps_out_is_told_before_reaching_the_path() -> None:
    walking = actor(2, 15.0, -5.0, vy=1.4, tag=Tag.PEDESTRIAN)
    first = places(frame(walking))[0]
    assert first["a pedestrian, rider, bicycle or motorcycle (0 or 1)"] == 1.0
    assert first["offset to the left of the path / 10 m"] == pytest.approx(-0.5, abs=1e-3)
    assert first["speed to the left / 5 m/s"] == pytest.approx(0.28, abs=1e-3)


def test_crossing_traffic_is_told_and_the_nearest_comes_first() -> None:
    crossing = actor(3, 25.0, 30.0, vy=-9.0)
    ahead, nearer = actor(4, 40.0, 0.0), actor(5, 12.0, 0.0)
    found = hazards_ahead(frame(ahead, crossing, nearer))
    assert [round(hazard.distance_m + FRONT_M) for hazard in found] == [10, 24, 38]
    assert found[1].left_mps == pytest.approx(-9.0, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [
        actor(6, 15.0, 3.5, vx=-9.0),  # oncoming, in its own lane
        actor(6, 15.0, -2.8),  # parked beside the lane
        actor(6, 15.0, -4.0, vx=1.4, tag=Tag.PEDESTRIAN),  # walks along the pavement
        actor(6, 15.0, 4.0, vy=1.4, tag=Tag.PEDESTRIAN),  # has crossed
        actor(6, -9.0, 0.0, vx=9.0),  # behind
        actor(6, 70.0, 0.0),  # far away
    ],
)
def test_who_is_not_in_the_way_is_not_told(other: Actor) -> None:
    assert hazards_ahead(frame(other)) == ()


def test_the_path_is_the_route() -> None:
    """A car straight ahead is no hazard for an ego that turns off, one on the route is."""
    bend = tuple((20.0 * math.sin(s / 20.0), 20.0 - 20.0 * math.cos(s / 20.0)) for s in
                 (5.0, 10.0, 15.0, 20.0, 25.0, 30.0))  # fmt: skip
    on_route = actor(7, *bend[5])
    straight_on = actor(8, 30.0, 0.0)
    (found,) = hazards_ahead(frame(on_route, straight_on, route_ahead_m=bend))
    assert abs(found.left_m) < 0.5
    assert found.distance_m == pytest.approx(30.0 - 2.2 - FRONT_M, abs=1.5)


def test_only_the_nearest_fit_and_all_values_are_in_the_space() -> None:
    queue = [actor(10 + k, 9.0 + 6.0 * k, 0.0, vx=-30.0) for k in range(HAZARDS + 2)]
    seen = frame(*reversed(queue))
    assert len(hazards_ahead(seen)) == HAZARDS
    values = hazards_vector(seen)
    assert values.dtype == np.float32
    assert values.shape == (len(VECTOR_OBSERVATIONS["hazards"].fields),)
    assert np.abs(values).max() <= 1.0
