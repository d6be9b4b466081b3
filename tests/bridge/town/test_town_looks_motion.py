"""Labels of one tick, warped by the motion from `geometry.motion`, match those of the other."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage
from town_views import CAMERA, camera_pose, crowd, lane_spots

from sim2street.bridge.frame import View
from sim2street.bridge.geometry import motion, visible_before, warp
from sim2street.bridge.town.camera.scene import Scene
from sim2street.bridge.town.plan.layout_generator import make_layout


def off_edges(labels):
    """Mask of the pixels more than 1.5 px away from a label border."""
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return ndimage.distance_transform_edt(~edge) > 1.5


def step_actor(actor, forward_m, turn_rad):
    pose = actor.pose.astype(float)
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    pose[:3, 3] += pose[:3, 0] * forward_m
    pose[:2, :2] = pose[:2, :2] @ [[cos, -sin], [sin, cos]]
    return dataclasses.replace(actor, pose=pose.astype(np.float32))


def seen(scene, pose, actors):
    buffers = scene.render(CAMERA, pose, actors)
    return View(CAMERA, pose, buffers.labels, buffers.depth_m, buffers.instances)


@pytest.fixture(scope="module")
def pairs():
    """(earlier view, its actors, later view, its actors) at twelve places in a town."""
    layout = make_layout(11)
    scene, rng, found = Scene(layout), np.random.default_rng(5), []
    for x, y, yaw in lane_spots(layout, rng, 12):
        before = crowd(layout, rng, x, y, 12, 10)
        now = [step_actor(a, 0.5 if a.actor_id < 10_000 else 0.07, 0.02) for a in before]
        step, turn = rng.uniform(0.1, 0.7), rng.normal(0.0, 0.03)
        first = camera_pose(x, y, yaw)
        second = camera_pose(x + step * math.cos(yaw), y + step * math.sin(yaw), yaw + turn)
        found.append((seen(scene, first, before), before, seen(scene, second, now), now))
    scene.close()
    return found


def agreement(current, now, previous, before, backwards=False):
    found = motion(current, previous, now, before)
    visible = visible_before(found, current, previous)
    source = found.source_px
    if backwards:
        grid = np.stack(np.meshgrid(np.arange(512), np.arange(256)), axis=-1)
        source = (2 * grid - source).astype(np.float32)
    same = warp(previous.labels, source, nearest=True) == current.labels
    return same[visible & off_edges(current.labels)], same[visible], visible


def test_warped_labels_agree_forward_and_backward(pairs):
    inner, everywhere, shares = [], [], []
    for previous, before, current, now in pairs:
        for pair in ((current, now, previous, before), (previous, before, current, now)):
            off, visible_same, visible = agreement(*pair)
            inner.append(off)
            everywhere.append(visible_same)
            shares.append(visible.mean())
    assert np.concatenate(inner).mean() >= 0.995
    assert np.concatenate(everywhere).mean() >= 0.96
    assert np.mean(shares) > 0.8  # most pixels count as visible in both views


def test_labels_warped_by_reversed_motion_do_not_agree(pairs):
    wrong = [agreement(c, now, p, before, backwards=True)[0] for p, before, c, now in pairs]
    assert np.concatenate(wrong).mean() < 0.985


def test_pixels_of_actors_move_with_them(pairs):
    still, moved = [], []
    for previous, before, current, now in pairs:
        on_actor = np.isin(current.instances, [a.actor_id for a in now])
        for earlier, results in ((before, moved), (now, still)):
            found = motion(current, previous, now, earlier)
            warped = warp(previous.instances, found.source_px, nearest=True)
            results.append((warped == current.instances)[on_actor])
    moved_share, still_share = np.concatenate(moved).mean(), np.concatenate(still).mean()
    assert moved_share > 0.93
    assert moved_share > still_share + 0.01
