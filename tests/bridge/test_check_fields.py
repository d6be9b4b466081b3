"""The world check looks at every field: planted faults in single values are found and named."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import faults
from support.faults import Fault, Frames, Playback
from support.processes import ServerProcess

from sim2street.bridge.check.run import check_world
from sim2street.bridge.errors import FrameError
from sim2street.bridge.frame import (
    Actor,
    Control,
    EgoState,
    LeadVehicle,
    LightState,
    NextLight,
    SensorFrame,
    View,
    Weather,
)
from sim2street.bridge.geometry import motion
from sim2street.bridge.labels import Tag
from sim2street.bridge.transport import ClientConfig, RemoteWorld

TICKS = 14
TICK_S = 0.1
CURVATURE_1PM = 0.02
LIGHT_X_M = 80.0
LEAD_X_M, LEAD_MPS = 25.0, 5.0


@pytest.fixture(scope="module")
def frames() -> Frames:
    """A drive in which everything is sent, also what the toy world leaves out."""
    return [*map(complete, with_motion(faults.recorded_drive(TICKS)))]


@pytest.fixture(scope="module")
def bend(frames: Frames) -> Frames:
    """The same drive along a lane that bends to the left."""
    bent, lane_rad, offset_m = [frames[0]], 0.0, frames[0].ego.lane_offset_m
    for before, now in itertools.pairwise(frames):
        moved_m = now.ego.pose[:2, 3] - before.ego.pose[:2, 3]
        after_rad = lane_rad + CURVATURE_1PM * float(moved_m[0])
        middle_rad = 0.5 * (lane_rad + after_rad)
        offset_m += float(moved_m @ [-math.sin(middle_rad), math.cos(middle_rad)])
        lane_rad = after_rad
        ego = dataclasses.replace(
            now.ego, lane_offset_m=offset_m, heading_error_rad=yaw_rad(now.ego) - lane_rad
        )
        bent.append(dataclasses.replace(now, ego=ego))
    return faults.in_ego(curvature_1pm=lambda f: CURVATURE_1PM)(bent)


def complete(frame: SensorFrame) -> SensorFrame:
    """With a light, a lead vehicle and a route ahead."""
    x_m = float(frame.ego.pose[0, 3])
    to_body = np.linalg.inv(frame.ego.pose.astype(np.float64))
    route = [[x_m + 5.0 * (n + 1), -2.0, 0.0, 1.0] for n in range(6)]
    lead_m = LEAD_X_M + LEAD_MPS * frame.time_s - x_m
    ego = dataclasses.replace(
        frame.ego,
        next_light=NextLight(LightState.RED, LIGHT_X_M - x_m),
        lead=LeadVehicle(lead_m, LEAD_MPS),
        route_ahead_m=tuple((x, y) for x, y, _, _ in (np.array(route) @ to_body.T).tolist()),
    )
    return dataclasses.replace(frame, ego=ego)


def with_motion(frames: Frames) -> Frames:
    """With exact `motion_px`, except in the first frame, before which nothing was seen."""
    moved = [frames[0]]
    for before, now in itertools.pairwise(frames):
        found = motion(now.view, before.view, now.actors, before.actors)
        view = dataclasses.replace(
            now.view,
            motion_px=(found.source_px - pixel_grid(now.view)).astype(np.float32),
            motion_from_tick=before.tick,
        )
        moved.append(dataclasses.replace(now, views={"front": view}))
    return moved


def pixel_grid(view: View) -> np.ndarray:
    u, v = np.meshgrid(np.arange(view.camera.width_px), np.arange(view.camera.height_px))
    return np.stack([u, v], axis=-1)


def yaw_rad(ego: EgoState) -> float:
    return math.atan2(ego.pose[1, 0], ego.pose[0, 0])


def codes(frames: Frames, fault: Fault) -> set[str]:
    findings = check_world(Playback(frames, fault), ticks=TICKS)
    for finding in findings:
        assert finding.message
        assert finding.hint
    return {finding.code for finding in findings}


def unchanged(frames: Frames) -> Frames:
    return frames


def scaled(name: str, factor: float) -> Fault:
    return faults.in_ego(**{name: lambda f: factor * getattr(f.ego, name)})


def ahead(name: str, **changes: Callable[[Any], float]) -> Fault:
    """Change values of `next_light` or `lead`."""
    return faults.in_ego(
        **{
            name: lambda f: dataclasses.replace(
                getattr(f.ego, name), **{k: c(getattr(f.ego, name)) for k, c in changes.items()}
            )
        }
    )


def in_motion(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    return faults.in_view(
        motion_px=lambda v: None if v.motion_px is None else change(v.motion_px).astype(np.float32)
    )


def without_depth(fault: Fault) -> Fault:
    return faults.combined(fault, faults.in_view(depth_m=lambda v: None, instances=lambda v: None))


def shuffled_ids(frames: Frames) -> Frames:
    """Numbers the actors by their place in a list whose order changes."""
    return [
        dataclasses.replace(
            f, actors=tuple(dataclasses.replace(a, actor_id=1 + (a.actor_id + f.tick) % 3)
                            for a in f.actors)
        )
        for f in frames
    ]  # fmt: skip


def own(actor: Actor) -> tuple[float, ...]:
    """The velocity in the actor's own frame."""
    return tuple((actor.pose[:3, :3].T @ np.array(actor.velocity_mps)).tolist())


EGO: dict[str, tuple[Fault, set[str]]] = {
    "nothing": (unchanged, set()),
    "yaw rate to the right": (scaled("yaw_rate_rps", -1.0), {"yaw_rate"}),
    "yaw rate in degrees": (scaled("yaw_rate_rps", 57.3), {"yaw_rate"}),
    "speed in km/h": (scaled("speed_mps", 3.6), {"speed"}),
    "heading error to the right": (scaled("heading_error_rad", -1.0), {"heading_error"}),
    "heading error in degrees": (scaled("heading_error_rad", 57.3), {"ego_range"}),
    "lane offset to the right": (scaled("lane_offset_m", -1.0), {"lane_offset"}),
    "lane offset in cm": (scaled("lane_offset_m", 100.0), {"lane_offset"}),
    "curvature as a radius": (faults.in_ego(curvature_1pm=lambda f: 50.0), {"ego_range"}),
    "speed limit in km/h": (faults.in_ego(speed_limit_mps=lambda f: 100.0), {"ego_range"}),
    "distance from the start": (
        faults.in_ego(route_distance_m=lambda f: 1000.0 - f.ego.route_distance_m),
        {"distance_ahead"},
    ),
    "route in cm": (scaled("route_distance_m", 100.0), set()),  # jumps, as with a new route
    "light in km": (ahead("next_light", distance_m=lambda a: a.distance_m / 1000), {
        "distance_ahead"
    }),
    "light behind": (ahead("next_light", distance_m=lambda a: -a.distance_m), {"ego_range"}),
    "lead behind": (ahead("lead", distance_m=lambda a: -a.distance_m), {"ego_range"}),
    "lead with relative speed": (
        faults.in_ego(lead=lambda f: dataclasses.replace(
            f.ego.lead, distance_m=f.ego.lead.distance_m + 2 * f.ego.speed_mps * f.time_s
        )),
        {"lead"},
    ),
    "route in the world": (
        faults.in_ego(route_ahead_m=lambda f: tuple(
            (300.0 + 5.0 * n, -2.0) for n in range(6)
        )),
        {"route_ahead"},
    ),
    "route every metre": (
        faults.in_ego(route_ahead_m=lambda f: tuple(
            (x / 5, y / 5) for x, y in f.ego.route_ahead_m
        )),
        {"route_ahead"},
    ),
    "route mirrored": (
        faults.in_ego(route_ahead_m=lambda f: tuple((x, -y) for x, y in f.ego.route_ahead_m)),
        {"route_ahead"},
    ),
    "too many points": (
        faults.in_ego(route_ahead_m=lambda f: f.ego.route_ahead_m * 2), {"ego_range"}
    ),
    "always colliding": (faults.in_ego(collision=lambda f: True), {"collision"}),
    "always off lane": (
        faults.in_ego(off_lane=lambda f: True, lane_offset_m=lambda f: 0.0), {"off_lane"}
    ),
    "weather in percent": (faults.in_frame(weather=lambda f: Weather(rain=80.0)), {"weather"}),
    "sun in radians above 90": (
        faults.in_frame(weather=lambda f: Weather(sun_altitude_deg=135.0)), {"weather"}
    ),
    "stamps that are times": (faults.in_frame(stamps=lambda f: {"world": -5.0}), {"stamps"}),
    "rgb in [0, 1]": (
        faults.in_view(rgb=lambda v: np.ones((32, 64, 3), np.uint8)), {"rgb_dark"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EGO)
def test_values_of_the_ego_and_the_weather(name: str, frames: Frames) -> None:
    fault, expected = EGO[name]
    assert codes(frames, fault) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (unchanged, set()),
        (scaled("curvature_1pm", -1.0), {"curvature"}),
        (scaled("heading_error_rad", -1.0), {"heading_error"}),
        (scaled("lane_offset_m", -1.0), {"lane_offset"}),
    ],
)
def test_signs_on_a_lane_that_bends(fault: Fault, expected: set[str], bend: Frames) -> None:
    assert codes(bend, fault) == expected


ACTORS: dict[str, tuple[Fault, set[str]]] = {
    "velocity in km/h": (
        faults.in_actors(velocity_mps=lambda a: tuple(3.6 * v for v in a.velocity_mps)),
        {"actor_velocity"},
    ),
    "velocity backwards": (
        faults.in_actors(velocity_mps=lambda a: tuple(-v for v in a.velocity_mps)),
        {"actor_velocity"},
    ),
    "velocity left out": (
        faults.in_actors(velocity_mps=lambda a: (0.0, 0.0, 0.0)), set()
    ),
    "a flat box": (
        faults.in_actors(extent_m=lambda a: (a.extent_m[0], a.extent_m[1], 0.0)), {"actor_extent"}
    ),
    "a box in cm": (
        faults.in_actors(extent_m=lambda a: tuple(100 * e for e in a.extent_m)), {"actor_extent"}
    ),
    "lying on its side": (
        faults.in_actors(pose=lambda a: a.pose[:, [0, 2, 1, 3]] * np.float32([1, -1, 1, 1])),
        {"actor_axes"},
    ),
    "ids by place in a list": (shuffled_ids, {"actor_ids"}),
    "instances of another numbering": (
        faults.in_view(instances=lambda v: v.instances + np.uint32(5000)), {"instances_unknown"}
    ),
    "no instances of actors": (
        faults.in_view(instances=lambda v: np.where(
            v.labels == Tag.CAR, np.uint32(0), v.instances
        )),
        {"instances_missing"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTORS)
def test_values_of_actors(name: str, frames: Frames) -> None:
    fault, expected = ACTORS[name]
    found = codes(frames, fault)
    if name == "lying on its side":
        assert expected <= found
    else:
        assert found == expected


MOTION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "forward in time": lambda m: -m,
    "y first": lambda m: m[..., ::-1],
    "upwards": lambda m: m * (1.0, -1.0),
    "fractions": lambda m: m / (64, 32),
    "nothing moves": np.zeros_like,
}


@pytest.mark.parametrize("name", MOTION)
@pytest.mark.parametrize("depth", [True, False])
def test_motion_of_the_images(name: str, depth: bool, frames: Frames) -> None:
    fault = in_motion(MOTION[name])
    expected = {"motion_px"}
    if not depth:
        fault, expected = without_depth(fault), {"motion_px", "missing_field"}
        assert codes(frames, without_depth(unchanged)) == {"missing_field"}
    found = codes(frames, fault)
    assert found == expected if depth else found >= {"missing_field"}


def test_motion_without_depth_is_compared_by_labels(frames: Frames) -> None:
    """Worlds of the first tier, for which motion_px is made."""

    def spec(spec: Any) -> Any:
        return dataclasses.replace(spec, fields=frozenset({"labels", "motion_px"}))

    def found(change: Callable[[np.ndarray], np.ndarray]) -> set[str]:
        world = Playback(frames, without_depth(in_motion(change)), spec)
        return {finding.code for finding in check_world(world, ticks=TICKS)}

    assert found(lambda m: m) == set()
    assert found(lambda m: -m) == {"motion_px"}
    assert found(lambda m: m / (64, 32)) == {"motion_px"}


@pytest.mark.parametrize(
    "from_tick", [lambda v: None, lambda v: v.motion_from_tick and v.motion_from_tick + 1]
)
def test_the_tick_that_motion_points_to(
    from_tick: Callable[[View], int | None], frames: Frames
) -> None:
    assert codes(frames, faults.in_view(motion_from_tick=from_tick)) == {"motion_from_tick"}


def test_motion_at_tick_0_may_be_anything_without_a_tick(frames: Frames) -> None:
    first = dataclasses.replace(frames[0].view, motion_px=np.zeros((32, 64, 2), np.float32))
    with_first = [dataclasses.replace(frames[0], views={"front": first}), *frames[1:]]
    assert codes(with_first, unchanged) == set()


def test_over_the_wire_a_refused_control_ends_no_episode() -> None:
    with (
        ServerProcess("world", settings={"size": [64, 32]}) as server,
        RemoteWorld(ClientConfig(endpoint=server.endpoint)) as world,
    ):
        world.reset(0)
        world.validate_controls = False
        with pytest.raises(FrameError, match="steer"):
            world.step(Control(steer=1.5))
        assert world.step(Control()).tick == 1
        assert check_world(world, ticks=12) == []
