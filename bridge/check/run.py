"""Drives a world for a few ticks and explains what is wrong with it.

The checks: spec and single frames (`check.frames`), depth, poses and images of different ticks
(`check.motion`), ego and cameras (`check.state`, `check.ego_values`), actors (`check.actors`,
`check.actor_motion`), an engine's own motion (`check.image_motion`), and here ticks, times,
controls out of range, repeatability and reuse of memory.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from sim2street.bridge.check.actor_motion import check_actor_motion
from sim2street.bridge.check.actors import check_actors
from sim2street.bridge.check.ego_values import check_ego_values
from sim2street.bridge.check.findings import Finding
from sim2street.bridge.check.frames import check_frame, check_spec
from sim2street.bridge.check.image_motion import check_image_motion
from sim2street.bridge.check.motion import check_motion
from sim2street.bridge.check.state import check_state
from sim2street.bridge.errors import FrameError, ProtocolError, WorldError
from sim2street.bridge.frame import SKY_DEPTH_M, Control, SensorFrame
from sim2street.bridge.world import World

_SYMPTOMS = {"mount", "views_disagree"}
"""Codes of findings that do not name a cause; dropped if another error is found."""

_STEERING = (0.25, 0.25, 0.0, -0.25, -0.25, 0.0)
_THROTTLE = 0.7

_OUT_OF_RANGE = (
    Control(steer=1.5),
    Control(steer=-1.5),
    Control(throttle=-0.5),
    Control(brake=2.0),
)


@runtime_checkable
class _ValidatingWorld(Protocol):
    """A world that validates frames and controls, which the check switches off to try bad ones."""

    validate_frames: bool
    validate_controls: bool


@runtime_checkable
class _RepeatingWorld(Protocol):
    """A world behind a socket, whose last request can be sent again."""

    def repeat(self) -> SensorFrame:
        """Send the last request again and return the answer."""


@dataclass(frozen=True, slots=True)
class _Received:
    """A frame, and a copy of the bytes of its arrays from when it was received."""

    frame: SensorFrame
    arrays: Mapping[str, bytes]


def check_world(world: World, seed: int = 0, ticks: int = 20) -> list[Finding]:
    """Check an opened world against the contract.

    The world is reset twice with `seed` and driven for `ticks` ticks each time. It accelerates
    and weaves, because poses that lag do not show in a constant motion.

    Returns:
        One finding per fault, errors first; [] if there are none.
    """
    if isinstance(world, _ValidatingWorld):
        world.validate_frames = False
    findings = check_spec(world.spec)
    controls = [weaving_control(tick) for tick in range(ticks)]
    try:
        first = _drive(world, seed, controls)
        if isinstance(world, _RepeatingWorld):
            findings += _check_repeat(world, first[-1])
        accepted: list[Control] = []
        second = _drive(world, seed, controls, lambda: accepted.extend(_accepted(world)))
        findings += _check_control_ranges(accepted, second)
        if accepted:
            second = _drive(world, seed, controls)
    except (ProtocolError, FrameError) as error:
        return [*findings, Finding("protocol", "error", str(error), "see docs/protocol.md")]
    except WorldError as error:
        hint = "a world must complete two short episodes"
        return [*findings, Finding("world_error", "error", str(error), hint)]
    findings += _check_reuse(first)
    frames = [received.frame for received in first]
    findings += _check_sequence(frames, second[0].frame, world.spec.tick_s)
    for frame in frames:
        findings += check_frame(frame, world.spec)
    frames = [_with_finite_depth(frame) for frame in frames]  # NaN would hide other faults
    findings += check_state(frames, controls, world.spec.tick_s)
    findings += check_motion(frames)
    if not any(finding.severity == "error" for finding in findings):
        # These need correct images, depth and poses.
        findings += check_ego_values(frames, world.spec.tick_s)
        findings += check_actor_motion(frames, world.spec.tick_s) or check_actors(frames)
        findings += check_image_motion(frames)
    findings += _check_determinism(first, second)
    return _merge_repeated(_without_symptoms(findings))


def weaving_control(tick: int) -> Control:
    """High throttle, steering right, straight, left and straight in turn."""
    return Control(steer=_STEERING[tick % len(_STEERING)], throttle=_THROTTLE)


def _check_sequence(
    frames: Sequence[SensorFrame], next_reset: SensorFrame, tick_s: float
) -> list[Finding]:
    """Check the numbering of ticks and episodes, and the times."""
    findings = []
    ticks = [frame.tick for frame in frames]
    if ticks[0] != 0 or next_reset.tick != 0:
        findings.append(
            Finding("first_tick", "error", f"reset returned tick {ticks[0]}", "return tick 0")
        )
    steps = {b - a for a, b in itertools.pairwise(ticks)}
    if steps - {1}:
        findings.append(
            Finding(
                "tick_order",
                "error",
                f"ticks are not consecutive: they increase by {sorted(steps)}",
                "every step must increase the tick by exactly 1",
            )
        )
    episodes = {frame.episode for frame in frames}
    if len(episodes) != 1 or next_reset.episode in episodes:
        findings.append(
            Finding(
                "episode",
                "error",
                f"episode is {sorted(episodes)} in one episode, {next_reset.episode} in the next",
                "every reset must change the episode number, every step must keep it",
            )
        )
    wrong = [f for f in frames if not math.isclose(f.time_s, f.tick * tick_s, abs_tol=tick_s / 2)]
    if wrong:
        findings.append(
            Finding(
                "time",
                "error",
                f"time_s is {wrong[0].time_s:g} at tick {wrong[0].tick} with ticks of {tick_s:g} s",
                "send the simulated time since the reset: tick * tick_s",
            )
        )
    return findings


def _drive(
    world: World,
    seed: int,
    controls: Iterable[Control],
    after_reset: Callable[[], None] = lambda: None,
) -> list[_Received]:
    """Drive one episode."""
    frame = world.reset(seed)
    drive = [_Received(frame, _bytes_of(frame))]
    after_reset()
    for control in controls:
        frame = world.step(control)
        drive.append(_Received(frame, _bytes_of(frame)))
    return drive


def _with_finite_depth(frame: SensorFrame) -> SensorFrame:
    views = {}
    for name, view in frame.views.items():
        if view.depth_m is not None and not np.isfinite(view.depth_m).all():
            depth_m = np.nan_to_num(view.depth_m, nan=SKY_DEPTH_M, posinf=SKY_DEPTH_M, neginf=0.0)
            view = dataclasses.replace(view, depth_m=depth_m)
        views[name] = view
    return dataclasses.replace(frame, views=views)


def _bytes_of(frame: SensorFrame) -> dict[str, bytes]:
    arrays = {"ego.pose": frame.ego.pose}
    for name, view in frame.views.items():
        for item in ("pose", "labels", "depth_m", "instances", "motion_px", "rgb"):
            array = getattr(view, item)
            if array is not None:
                arrays[f"{name}.{item}"] = array
    return {name: array.tobytes() for name, array in arrays.items()}


def _check_reuse(drive: Sequence[_Received]) -> list[Finding]:
    """Check that the arrays of a frame stay unchanged while the next frames come."""
    for received in drive:
        now = _bytes_of(received.frame)
        changed = [name for name, data in now.items() if data != received.arrays[name]]
        if changed:
            return [
                Finding(
                    "reused_arrays",
                    "error",
                    f"{changed[0]} of tick {received.frame.tick} changed after it was returned",
                    "allocate new arrays for every frame",
                )
            ]
    return []


def _check_repeat(world: _RepeatingWorld, last: _Received) -> list[Finding]:
    """Check that a repeated request gets the same answer and does not advance the world."""
    again = world.repeat()
    if again.tick == last.frame.tick and _bytes_of(again) == last.arrays:
        return []
    return [
        Finding(
            "retry",
            "error",
            f"a repeated request was answered with tick {again.tick} instead of the frame of "
            f"tick {last.frame.tick} again",
            "keep each client's last reply, and send it again for a repeated sequence number",
        )
    ]


def _accepted(world: World) -> Iterator[Control]:
    """Controls out of range that the world does not refuse; at most one, as it then advances."""
    if isinstance(world, _ValidatingWorld):
        world.validate_controls = False
    try:
        for control in _OUT_OF_RANGE:
            try:
                world.step(control)
            except FrameError:
                continue
            yield control
            return
    finally:
        if isinstance(world, _ValidatingWorld):
            world.validate_controls = True


def _check_control_ranges(accepted: Sequence[Control], drive: Sequence[_Received]) -> list[Finding]:
    """Check that controls out of range are refused, and do not advance the world.

    Args:
        accepted: those that were not refused.
        drive: frames of a drive in which they were sent after the reset.
    """
    hint = "reply to a control out of range with a FrameError, and leave the world as it is"
    if accepted:
        message = f"a control out of range was accepted: {accepted[0]}"
        return [Finding("control_range", "error", message, hint)]
    before, after = drive[0].frame.tick, drive[1].frame.tick
    if after == before + 1 + len(_OUT_OF_RANGE):
        message = f"controls that were refused advanced the world from tick {before} to {after}"
        return [Finding("control_range", "error", message, hint)]
    return []


def _check_determinism(first: Sequence[_Received], second: Sequence[_Received]) -> list[Finding]:
    """Check that two drives with the same seed and controls are the same."""
    for a, b in zip(first, second, strict=True):
        changed = sorted(name for name, data in a.arrays.items() if data != b.arrays.get(name))
        if changed:
            message = f"two episodes with the same seed differ at tick {a.frame.tick} in "
            return [
                Finding(
                    "determinism",
                    "warning",
                    message + ", ".join(changed),
                    "take all random numbers from the seed, and step physics by tick_s, not by "
                    "the clock",
                )
            ]
    return []


def _without_symptoms(findings: Sequence[Finding]) -> list[Finding]:
    """Drop findings that do not name a cause if there are errors that do."""
    if any(f.severity == "error" and f.code not in _SYMPTOMS for f in findings):
        return [f for f in findings if f.code not in _SYMPTOMS]
    return list(findings)


def _merge_repeated(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of each code, with the number of findings of that code; errors first."""
    counts = Counter(finding.code for finding in findings)
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.code, finding)
    merged = [
        dataclasses.replace(f, message=f"{f.message} (seen {counts[f.code]} times)")
        if counts[f.code] > 1
        else f
        for f in first.values()
    ]
    return sorted(merged, key=lambda finding: finding.severity != "error")
