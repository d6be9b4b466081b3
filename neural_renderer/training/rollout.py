"""Clips through the generator as a session would render them: own output fed back.

The previous frame is always the model's own output, detached (a real one would teach it to
rely on what it never gets), moved by exact motion. Only the last frame carries gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim2street.neural_renderer.conditions.generator_input import anchored_noise, generator_input
from sim2street.neural_renderer.conditions.reprojection import (
    clip_moves,
    movers_in,
    reproject,
    surface_points,
    visible_before,
)
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.networks.generator import (
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
    History,
)
from sim2street.neural_renderer.networks.motion import catmull_rom_warp

HISTORY_DROPOUT = 0.1
HISTORY_NOISE = 0.1


@dataclass(frozen=True)
class Rollout:
    """The last frame of a clip, and the one before as seen from it.

    Attributes:
        rgb, raw: (B, 3, H, W) with gradients, after and before the history is blended in.
        previous: the predecessor, warped, detached.
        validity: (B, 1, H, W), 1 where the predecessor is comparable.
        groups: (B, G, H, W) labels of the last frame.
        windows: (B, 1, H, W), those of its windows that the generator was told of.
    """

    rgb: Tensor
    raw: Tensor
    previous: Tensor
    validity: Tensor
    groups: Tensor
    windows: Tensor


def roll_out(
    generator: FrameGenerator,
    style: CompiledStyle,
    clip: ClipBatch,
    groups: Tensor,
    rng: torch.Generator,
) -> Rollout:
    """Render a clip frame by frame.

    Args:
        groups: float (B, T, G, H, W) of all frames.
    """
    b, t = groups.shape[:2]
    seeds = torch.randint(0, 2**20, (b,), generator=rng).to(groups.device)
    drop_depth = (torch.rand(b, generator=rng) < 0.3).to(groups.device)
    history, rgb, raw = None, None, None
    for frame in range(t):
        x = frame_input(clip, groups[:, frame], frame, seeds, ~drop_depth)
        if rgb is not None:
            warped, validity = previous_seen_now(clip, rgb.detach().float(), frame)
            age = torch.full((b, 1, 1, 1), min((frame - 1) / 8.0, 1.0), device=rgb.device)
            history = disturbed(History(warped, validity, age), rng)
        with torch.set_grad_enabled(frame == t - 1):
            out = generator(x, style, history)
            rgb, raw = out.rgb, out.raw
    assert rgb is not None
    assert raw is not None
    return Rollout(rgb, raw, warped, validity, groups[:, -1], x.layout[:, -1:])


def frame_input(
    clip: ClipBatch, groups: Tensor, frame: int, seeds: Tensor, has_depth: Tensor
) -> GeneratorInput:
    """One frame of a clip as the generator's input, noise fixed to the world and to movers."""
    depth_m = clip.depth_m[:, frame, 0]
    pose = clip.pose[:, frame].double()
    own = torch.linalg.inv(clip.actor_pose[:, frame].double()) @ pose[:, None]
    matrices = torch.cat([pose[:, None], own], dim=1).float()
    movers = movers_in(clip.instances[:, frame, 0])
    points_m = surface_points(depth_m, clip.camera, matrices, movers)
    noise = anchored_noise(points_m, depth_m, clip.camera[:, 0], seeds)
    return generator_input(
        groups,
        clip.layout[:, frame],
        depth_m,
        clip.camera,
        clip.pose[:, frame, 2, :3],
        has_depth,
        noise,
    )


def previous_seen_now(clip: ClipBatch, rgb: Tensor, frame: int) -> tuple[Tensor, Tensor]:
    """The picture of `frame - 1` warped to `frame`, and where that is valid."""
    now, before = frame, frame - 1
    known = clip.actor_present[:, now] & clip.actor_present[:, before]
    moves = clip_moves(
        clip.pose[:, now], clip.pose[:, before],
        clip.actor_pose[:, now], clip.actor_pose[:, before], known,
    )  # fmt: skip
    depth_m, slots = clip.depth_m[:, now, 0], clip.instances[:, now, 0]
    motion = reproject(depth_m, clip.camera, moves, movers_in(slots))
    visible = visible_before(
        motion, clip.depth_m[:, before, 0], slots, clip.instances[:, before, 0]
    )
    warped = catmull_rom_warp(rgb, motion.source_px).clamp(-1.0, 1.0)
    return warped, visible[:, None].float()


def aligned(rgb: Tensor, previous: Tensor, validity: Tensor) -> Tensor:
    """What the temporal discriminator sees: a frame and its predecessor moved onto it exactly.

    (B, 6, H, W). Where the predecessor did not show the place, the frame stands twice: there
    is nothing to tell. vid2vid (Wang et al., NeurIPS 2018, section 3.2) gives its temporal
    discriminator estimated flow instead, for it knows no exact motion.
    """
    shown = validity > 0.5
    return torch.cat([rgb.float(), torch.where(shown, previous, rgb.detach().float())], dim=1)


def real_pair(clip: ClipBatch) -> Tensor | None:
    """The same of the photographs of a video, or None where a clip has no two."""
    if not bool(clip.has_rgb[:, -2:].all()):
        return None
    last = clip.rgb.shape[1] - 1
    return aligned(clip.rgb[:, last], *previous_seen_now(clip, clip.rgb[:, last - 1], last))


def disturbed(history: History, rng: torch.Generator) -> History:
    """Some histories are lost or noisy, so that a session can start and recover."""
    b = history.rgb.shape[0]
    device = history.rgb.device
    kept = (torch.rand(b, 1, 1, 1, generator=rng) >= HISTORY_DROPOUT).float().to(device)
    noisy = (torch.rand(b, 1, 1, 1, generator=rng) < HISTORY_DROPOUT).float().to(device)
    noise = torch.randn(history.rgb.shape, generator=rng).to(device) * HISTORY_NOISE
    return History(history.rgb + noisy * noise, history.validity * kept, history.age)
