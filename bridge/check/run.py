"""Drives anybody's world for a few ticks and explains what is wrong with it.

One frame at a time is checked in `sim2street.bridge.check.frames`, poses against images in
`sim2street.bridge.check.motion`, the ego and the actors in `sim2street.bridge.check.state`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from sim2street.bridge.check.actors import check_actors
from sim2street.bridge.check.findings import Finding
from sim2street.bridge.check.frames import check_frame, check_spec
from sim2street.bridge.check.motion import check_motion
from sim2street.bridge.check.state import check_state
from sim2street.bridge.errors import FrameError, ProtocolError, WorldError
from sim2street.bridge.frame import SKY_DEPTH_M, Control, SensorFrame
from sim2street.bridge.world import World

__all__ = ["Finding", "check_world"]

_SYMPTOMS = {"mount", "views_disagree"}


@runtime_checkable
class _Validating(Protocol):
    """A world that checks its own frames; here we want to see and explain the bad ones."""

    validate_frames: bool


@runtime_checkable
class _Repeating(Protocol):
    """A world over a wire, whose last request can be sent again."""

    def repeat(self) -> SensorFrame:
        """The answer to the last request, sent once more."""


def check_world(world: World, seed: int = 0, ticks: int = 20) -> list[Finding]:
    """Check an opened world against the contract; [] where all is well.

    It is reset twice with `seed` and driven `ticks` ticks each time, speeding up and
    weaving, since a constant motion hides poses that lag. Errors come first.
    """
    if isinstance(world, _Validating):
        world.validate_frames = False
    findings = check_spec(world.spec)
    controls = [weave(tick) for tick in range(ticks)]
    try:
        first = _drive(world, seed, controls)
        if isinstance(world, _Repeating):
            findings += _check_repeat(world, first[-1])
        second = _drive(world, seed, controls)
    except (ProtocolError, FrameError) as error:
        return [*findings, Finding("protocol", "error", str(error), "see docs/protocol.md")]
    except WorldError as error:
        hint = "a world must survive two episodes of a few ticks"
        return [*findings, Finding("world_error", "error", str(error), hint)]
    findings += _check_reuse(first)
    frames = [frame for frame, _ in first]
    findings += check_sequence(frames, second[0][0], world.spec.tick_s)
    for frame in frames:
        findings += check_frame(frame, world.spec)
    frames = [_finite(frame) for frame in frames]  # or nan would spread to everything else
    findings += check_state(frames, controls, world.spec.tick_s)
    findings += check_motion(frames)
    if not any(finding.severity == "error" for finding in findings):
        findings += check_actors(frames)  # needs good images, depth and poses
    findings += _check_determinism(first, second)
    return _first_of_each(_without_symptoms(findings))


def weave(tick: int) -> Control:
    """Full throttle, steering right, straight and left in turn."""
    return Control(steer=(0.25, 0.25, 0.0, -0.25, -0.25, 0.0)[tick % 6], throttle=0.7)


def check_sequence(
    frames: Sequence[SensorFrame], next_reset: SensorFrame, tick_s: float
) -> list[Finding]:
    """Ticks, episodes and times."""
    findings = []
    ticks = [frame.tick for frame in frames]
    if ticks[0] != 0 or next_reset.tick != 0:
        findings.append(
            Finding("first_tick", "error", f"a reset gave tick {ticks[0]}", "reset gives tick 0")
        )
    steps = {b - a for a, b in itertools.pairwise(ticks)}
    if steps - {1}:
        findings.append(
            Finding(
                "tick_order",
                "error",
                f"ticks are not consecutive: steps of {sorted(steps)}",
                "one step is one tick: +1 each, nothing repeated, nothing skipped",
            )
        )
    episodes = {frame.episode for frame in frames}
    if len(episodes) != 1 or next_reset.episode in episodes:
        findings.append(
            Finding(
                "episode",
                "error",
                f"episodes {sorted(episodes)}, after another reset {next_reset.episode}",
                "every reset starts a new episode number, every step keeps it",
            )
        )
    wrong = [f for f in frames if not math.isclose(f.time_s, f.tick * tick_s, abs_tol=tick_s / 2)]
    if wrong:
        findings.append(
            Finding(
                "time",
                "error",
                f"time_s is {wrong[0].time_s:g} at tick {wrong[0].tick} with ticks of {tick_s:g} s",
                "time_s is simulated time since the reset: tick * tick_s",
            )
        )
    return findings


Seen = tuple[SensorFrame, dict[str, bytes]]
"""A frame, and what its arrays held when it came."""


def _drive(world: World, seed: int, controls: Iterable[Control]) -> list[Seen]:
    frame = world.reset(seed)
    seen = [(frame, _bytes_of(frame))]
    for control in controls:
        frame = world.step(control)
        seen.append((frame, _bytes_of(frame)))
    return seen


def _finite(frame: SensorFrame) -> SensorFrame:
    views = {}
    for name, view in frame.views.items():
        if view.depth_m is not None and not np.isfinite(view.depth_m).all():
            whole = np.nan_to_num(view.depth_m, nan=SKY_DEPTH_M, posinf=SKY_DEPTH_M, neginf=0.0)
            view = dataclasses.replace(view, depth_m=whole)
        views[name] = view
    return dataclasses.replace(frame, views=views)


def _bytes_of(frame: SensorFrame) -> dict[str, bytes]:
    arrays = {"ego.pose": frame.ego.pose}
    for name, view in frame.views.items():
        for item in ("pose", "labels", "depth_m", "instances", "rgb"):
            array = getattr(view, item)
            if array is not None:
                arrays[f"{name}.{item}"] = array
    return {name: array.tobytes() for name, array in arrays.items()}


def _check_reuse(seen: Sequence[Seen]) -> list[Finding]:
    for frame, before in seen:
        changed = [name for name, data in _bytes_of(frame).items() if data != before[name]]
        if changed:
            return [
                Finding(
                    "reused_arrays",
                    "error",
                    f"{changed[0]} of tick {frame.tick} changed after it was returned",
                    "give every frame arrays of its own",
                )
            ]
    return []


def _check_repeat(world: _Repeating, last: Seen) -> list[Finding]:
    again = world.repeat()
    same = again.tick == last[0].tick and _bytes_of(again) == last[1]
    if same:
        return []
    return [
        Finding(
            "retry",
            "error",
            f"the same request again gave tick {again.tick}, not tick {last[0].tick} once more",
            "keep each client's last reply, and send it again for a repeated sequence number",
        )
    ]


def _check_determinism(first: Sequence[Seen], second: Sequence[Seen]) -> list[Finding]:
    for (frame, before), (_, after) in zip(first, second, strict=True):
        changed = sorted(name for name in before if before[name] != after.get(name))
        if changed:
            return [
                Finding(
                    "determinism",
                    "warning",
                    f"two episodes of one seed differ at tick {frame.tick} in {', '.join(changed)}",
                    "draw everything from the seed, and step physics by tick_s, not by the clock",
                )
            ]
    return []


def _without_symptoms(findings: Sequence[Finding]) -> list[Finding]:
    """What only says that something is wrong is dropped where it is known what is."""
    if any(f.severity == "error" and f.code not in _SYMPTOMS for f in findings):
        return [f for f in findings if f.code not in _SYMPTOMS]
    return list(findings)


def _first_of_each(findings: Sequence[Finding]) -> list[Finding]:
    """One finding per code, with how often it came; errors before warnings."""
    kept: dict[str, Finding] = {}
    counts: dict[str, int] = {}
    for finding in findings:
        kept.setdefault(finding.code, finding)
        counts[finding.code] = counts.get(finding.code, 0) + 1
    told = [
        dataclasses.replace(f, message=f"{f.message} (seen {counts[f.code]} times)")
        if counts[f.code] > 1
        else f
        for f in kept.values()
    ]
    return sorted(told, key=lambda finding: finding.severity != "error")
