"""The world check: every planted fault is found, and correct worlds have no findings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from straight_road import StraightRoadWorld
from support import faults
from support.faults import Fault, Frames, Playback
from support.processes import ServerProcess
from support.toy_world import ToyWorld

from sim2street.bridge.check.findings import Finding
from sim2street.bridge.check.run import check_world
from sim2street.bridge.errors import WorldError
from sim2street.bridge.frame import EGO_UNKNOWN, POSE_UNKNOWN, Camera, Control, SensorFrame
from sim2street.bridge.labels import Tag
from sim2street.bridge.transport import ClientConfig, RemoteWorld

TICKS = 14
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
BODY = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
Y_MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
X_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def frames() -> Frames:
    return faults.recorded_drive(TICKS)


def relabel(old: int, new: int) -> Fault:
    return faults.in_view(
        labels=lambda v: np.where(v.labels == old, np.uint8(new), v.labels).astype(np.uint8)
    )


def shaken(frames: Frames) -> Frames:
    rng = np.random.default_rng(0)
    noise = [np.pad(rng.normal(0, 0.5, (3, 1)), ((0, 1), (3, 0))) for _ in frames]
    return [
        faults.changed_pose(lambda pose, by=by: pose + by)([frame])[0]
        for frame, by in zip(frames, noise, strict=True)
    ]


late_pose = faults.delayed_in_views("pose")

PLANTED: dict[str, tuple[Fault, set[str]]] = {
    "unknown labels": (relabel(Tag.TERRAIN, 31), {"labels_unknown"}),
    "train ids": (
        faults.in_view(labels=lambda v: (v.labels - 1).astype(np.uint8)),
        {"labels_instances_mixed", "labels_depth_mixed"},
    ),
    "no labels": (faults.in_view(labels=lambda v: None), {"missing_field", "no_labels"}),
    "no depth": (faults.in_view(depth_m=lambda v: None), {"missing_field"}),
    "wrong dtype": (
        faults.in_view(instances=lambda v: v.instances.astype(np.int32)), {"invalid"}
    ),
    "another camera": (faults.in_view(camera=lambda v: Camera.from_fov(64, 32, 71.0)), {"camera"}),
    "a view renamed": (faults.in_frame(views=lambda f: {"rear": f.view}), {"views"}),
    "bottom-up": (
        faults.in_view(
            labels=lambda v: v.labels[::-1], depth_m=lambda v: v.depth_m[::-1],
            instances=lambda v: v.instances[::-1],
        ),
        {"upside_down"},
    ),
    "mirrored": (
        faults.in_view(
            labels=lambda v: v.labels[:, ::-1], depth_m=lambda v: v.depth_m[:, ::-1],
            instances=lambda v: v.instances[:, ::-1],
        ),
        {"left_right_swapped"},
    ),
    "infinite sky": (
        faults.in_view(depth_m=lambda v: np.where(v.depth_m >= 1000, np.inf, v.depth_m)),
        {"depth_finite"},
    ),
    "sky at zero": (
        faults.in_view(
            depth_m=lambda v: np.where(v.depth_m >= 1000, 0, v.depth_m).astype(np.float32)
        ),
        {"sky_depth"},
    ),
    "negative depth": (faults.in_view(depth_m=lambda v: -v.depth_m), {"depth_range"}),
    "z-buffer": (faults.in_view(depth_m=lambda v: v.depth_m / 1000), {"depth_normalised"}),
    "Euclidean depth": (faults.in_view(depth_m=faults.euclidean_depth), {"depth_euclidean"}),
    "depth in cm": (faults.scaled_depth(100.0), {"depth_centimetres", "depth_range"}),
    "positions in cm": (
        faults.combined(
            faults.changed_pose(lambda p: p * np.array([[1, 1, 1, 100]] * 3 + [[1, 1, 1, 1]])),
            faults.in_ego(
                pose=lambda f: (f.ego.pose * np.array([[1, 1, 1, 100]] * 3 + [[1] * 4])).astype(
                    np.float32
                )
            ),
        ),
        {"positions_centimetres", "velocity"},
    ),
    "OpenGL axes": (faults.changed_pose(lambda p: p @ OPENGL), {"axes_opengl"}),
    "body axes": (faults.changed_pose(lambda p: p @ BODY), {"axes_body"}),
    "left-handed camera": (
        faults.changed_pose(lambda p: p @ X_MIRROR), {"pose_left_handed", "left_right_swapped"}
    ),
    "left-handed world": (
        faults.combined(
            faults.changed_pose(lambda p: Y_MIRROR @ p @ X_MIRROR),
            faults.in_ego(
                pose=lambda f: (Y_MIRROR @ f.ego.pose @ Y_MIRROR).astype(np.float32),
                velocity_mps=lambda f: tuple(np.array(f.ego.velocity_mps) * [1, -1, 1]),
            ),
        ),
        {"left_right_swapped", "steer_sign"},
    ),
    "y of the position": (
        faults.changed_pose(lambda p: p * np.array([[1] * 4, [1, 1, 1, -1], [1] * 4, [1] * 4])),
        {"position_mirrored"},
    ),
    "world to camera": (faults.changed_pose(np.linalg.inv), {"pose_inverted"}),
    "column-major": (faults.changed_pose(np.transpose), {"pose_transposed"}),
    "scaled rotation": (
        faults.changed_pose(lambda p: p * np.array([[2, 2, 2, 1]] * 3 + [[1] * 4])), {"pose"}
    ),
    "transposed rotation": (
        faults.changed_pose(lambda p: np.block([[p[:3, :3].T, p[:3, 3:]], [p[3:]]])),
        {"rotation_transposed"},
    ),
    "poses lag": (late_pose, {"poses_lag"}),
    "the ego lags": (
        faults.delayed(
            lambda now, before: dataclasses.replace(
                now, ego=dataclasses.replace(now.ego, pose=before.ego.pose)
            )
        ),
        {"ego_lags"},
    ),
    "ego and cameras lag": (
        faults.combined(
            late_pose,
            faults.delayed(
                lambda now, before: dataclasses.replace(
                    now, ego=dataclasses.replace(now.ego, pose=before.ego.pose)
                )
            ),
        ),
        {"poses_lag"},
    ),
    "images lag": (faults.delayed_in_views("labels", "depth_m", "instances"), {"images_lag"}),
    "actors lag": (
        faults.delayed(lambda now, before: dataclasses.replace(now, actors=before.actors)),
        {"actors_lag"},
    ),
    "vertical field of view": (
        faults.in_view(camera=lambda v: _refocused(v.camera, 0.5)),
        {"camera", "fov_vertical"},
    ),
    "shaken poses": (shaken, {"views_disagree", "mount"}),
    "boxes of full size": (
        faults.in_actors(extent_m=lambda a: tuple(2 * e for e in a.extent_m)), {"extent_full"}
    ),
    "small boxes": (
        faults.in_actors(extent_m=lambda a: tuple(e / 2 for e in a.extent_m)), {"extent_small"}
    ),
    "actor origin at the centre": (
        faults.in_actors(pose=lambda a: _raised(a.pose, a.extent_m[2])), {"actor_origin"}
    ),
    "actors elsewhere": (
        faults.in_actors(pose=lambda a: _raised(a.pose, 20.0)), {"actor_boxes"}
    ),
    "two actors of one id": (faults.in_actors(actor_id=lambda a: 1), {"actor_ids"}),
    "another tag": (faults.in_actors(tag=lambda a: int(Tag.BUS)), {"labels_instances_mixed"}),
    "speed in km/h": (
        faults.in_ego(velocity_mps=lambda f: tuple(3.6 * v for v in f.ego.velocity_mps)),
        {"velocity"},
    ),
    "velocity in the body frame": (
        faults.in_ego(velocity_mps=lambda f: (0.0, f.ego.speed_mps, 0.0)), {"velocity"}
    ),
    "ego looks sideways": (
        faults.in_ego(pose=lambda f: f.ego.pose[:, [1, 0, 2, 3]] * np.float32([1, -1, 1, 1])),
        {"ego_axes"},
    ),
    "y up": (faults.in_ego(pose=lambda f: f.ego.pose[[0, 2, 1, 3]]), {"ego_axes"}),
    "ticks skip": (faults.in_frame(tick=lambda f: 2 * f.tick), {"tick_order", "time"}),
    "reset gives tick 1": (faults.in_frame(tick=lambda f: f.tick + 1), {"first_tick", "time"}),
    "one episode for ever": (faults.in_frame(episode=lambda f: 7), {"episode"}),
    "wall-clock time": (faults.in_frame(time_s=lambda f: 1.7e9 + f.time_s), {"time"}),
}  # fmt: skip


def _refocused(camera: Camera, factor: float) -> Camera:
    return dataclasses.replace(camera, fx_px=camera.fx_px * factor, fy_px=camera.fy_px * factor)


def _raised(pose: np.ndarray, height_m: float) -> np.ndarray:
    raised = pose.copy()
    raised[2, 3] += height_m
    return raised


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def test_a_correct_world_has_no_findings(frames: Frames) -> None:
    assert check_world(Playback(frames), ticks=TICKS) == []


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("name", PLANTED)
def test_planted_faults_are_explained(name: str, frames: Frames) -> None:
    fault, expected = PLANTED[name]
    findings = check_world(Playback(frames, fault), ticks=TICKS)
    assert codes(findings) == expected, findings
    for finding in findings:
        assert finding.message
        assert finding.hint


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            faults.combined(faults.changed_pose(lambda p: p @ OPENGL), late_pose),
            {"axes_opengl", "poses_lag"},
        ),
        (
            faults.combined(
                faults.changed_pose(lambda p: p @ BODY),
                faults.in_view(depth_m=faults.euclidean_depth),
            ),
            {"axes_body", "depth_euclidean"},
        ),
    ],
)
def test_two_mistakes_at_once_are_both_named(
    fault: Fault, expected: set[str], frames: Frames
) -> None:
    assert codes(check_world(Playback(frames, fault), ticks=TICKS)) == expected


def test_messages_say_what_was_observed(frames: Frames) -> None:
    found = only(check_world(Playback(frames, PLANTED["unknown labels"][0]), ticks=TICKS))
    assert found.message.startswith("front: labels unknown: 31 (seen ")
    found = only(check_world(Playback(frames, PLANTED["Euclidean depth"][0]), ticks=TICKS))
    assert "depth looks Euclidean" in found.message
    found = only(check_world(Playback(frames, PLANTED["OpenGL axes"][0]), ticks=TICKS))
    assert "axes flipped" in found.message
    found = only(check_world(Playback(frames, PLANTED["poses lag"][0]), ticks=TICKS))
    assert "poses lag one tick" in found.message


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tick_s": 50.0}, "tick_s"),
        ({"taxonomy": "cityscapes"}, "taxonomy"),
        ({"fields": frozenset({"labels", "depth"})}, "spec_fields"),
        ({"cameras": {"front": Camera(64, 32, 0.0, 1.0, 0.0, 0.0)}}, "camera"),
    ],
)
def test_specs_are_checked(changes: dict[str, object], code: str, frames: Frames) -> None:
    world = Playback(frames, spec=lambda spec: dataclasses.replace(spec, **changes))
    assert code in codes(check_world(world, ticks=TICKS))


def test_lower_tiers_give_warnings_not_errors(frames: Frames) -> None:
    flags = (POSE_UNKNOWN, EGO_UNKNOWN)
    plain = faults.combined(
        faults.in_view(depth_m=lambda v: None, instances=lambda v: None,
                       pose=lambda v: np.eye(4, dtype=np.float32)),
        faults.in_frame(flags=lambda f: flags, actors=lambda f: ()),
    )  # fmt: skip
    world = Playback(
        frames, plain, lambda spec: dataclasses.replace(spec, fields=frozenset({"labels"}))
    )
    findings = check_world(world, ticks=TICKS)
    assert codes(findings) == {"no_pose", "no_ego"}
    assert {finding.severity for finding in findings} == {"warning"}


class FaultyWorld(ToyWorld):
    """A world with a fault that cannot be planted into recorded frames."""

    def __init__(self, fault: str) -> None:
        super().__init__(16, 8)
        self.fault = fault
        self.last: SensorFrame | None = None

    def step(self, control: Control) -> SensorFrame:
        if self.fault == "clips":
            control = Control(max(-1.0, min(1.0, control.steer)), min(1.0, control.throttle))
        if self.fault == "counts":
            self._tick += not -1.0 <= control.steer <= 1.0
        control.validate()
        if self.fault == "fails" and self._tick == 5:
            raise WorldError("the engine ran out of road")
        if self.fault == "stands":
            control = Control(brake=1.0)
            self._speed_mps = 0.0
        if self.fault == "random":
            self._y_m += float(np.random.default_rng().uniform(0, 0.01))
        if self.fault == "steers left":
            control = dataclasses.replace(control, steer=-control.steer)
        frame = super().step(control)
        if self.fault == "reuses" and self.last is not None:
            self.last.view.labels[:] = frame.view.labels
        self.last = frame
        return frame

    def repeat(self) -> SensorFrame:
        assert self.last is not None
        return self.step(Control()) if self.fault == "retries" else self.last


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("none", None),
        ("fails", "world_error"),
        ("stands", "stands_still"),
        ("random", "determinism"),
        ("retries", "retry"),
        ("steers left", "steer_sign"),
        ("clips", "control_range"),
    ],
)
def test_faults_of_running_worlds(fault: str, code: str | None) -> None:
    world = FaultyWorld(fault)
    world.open()
    found = codes(check_world(world, ticks=12))
    assert found == ({code} if code else set())


def test_arrays_that_change_after_they_were_returned_are_found() -> None:
    world = FaultyWorld("reuses")
    world.open()
    assert "reused_arrays" in codes(check_world(world, ticks=12))


def test_a_straight_road_without_buildings_passes() -> None:
    with StraightRoadWorld() as world:
        assert check_world(world) == []


def test_a_served_world_passes_over_the_wire() -> None:
    with (
        ServerProcess("world", settings={"size": [64, 32]}) as server,
        RemoteWorld(ClientConfig(endpoint=server.endpoint)) as world,
    ):
        assert check_world(world, ticks=12) == []
