"""Rendering clips during training, with the generator's own output as the previous frame.

The previous frame is the generator's output, as in serving, and not the photograph: from the
photograph the generator would learn to rely on a history better than it ever gets. It is warped by
the exact motion and detached; only the last frame has gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim2street.neural_renderer.conditions.assemble import assemble
from sim2street.neural_renderer.conditions.reprojection import (
    clip_moves,
    movers_in,
    reproject,
    visible_before,
)
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.networks.harmonise import Harmonised
from sim2street.neural_renderer.networks.interface import (
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
    History,
)
from sim2street.neural_renderer.networks.motion import catmull_rom_warp

HISTORY_DROPOUT = 0.1
"""Probability that a sample's history is dropped, and that noise is added to it."""

HISTORY_NOISE = 0.1
"""Standard deviation of that noise, for images in [-1, 1]."""

DEPTH_DROPOUT = 0.3
"""Probability that a clip's depth is hidden from the generator."""


@dataclass(frozen=True)
class Rollout:
    """The last frame of a clip as rendered, and its predecessor.

    Attributes:
        rgb: (B, 3, H, W) in [-1, 1], with gradients.
        raw: what was painted, before history and canvas are put in.
        previous: the rendered predecessor (`rgb`), warped into the last frame, without gradients.
        validity: (B, 1, H, W), 1 where the predecessor shows the same surface point.
        groups: (B, G, H, W), label groups of the last frame.
        harmonised: of the last frame; None without a canvas.
    """

    rgb: Tensor
    raw: Tensor
    previous: Tensor
    validity: Tensor
    groups: Tensor
    harmonised: Harmonised | None


def roll_out(
    generator: FrameGenerator,
    style: CompiledStyle,
    clip: ClipBatch,
    groups: Tensor,
    rng: torch.Generator,
) -> Rollout:
    """Render the frames of a batch of clips one after the other.

    groups: label groups of all frames, float (B, T, G, H, W).
    """
    b, t = groups.shape[:2]
    seeds = torch.randint(0, 2**20, (b,), generator=rng).to(groups.device)
    drop_depth = (torch.rand(b, generator=rng) < DEPTH_DROPOUT).to(groups.device)
    history, out = None, None
    for frame in range(t):
        x = frame_input(clip, groups[:, frame], frame, seeds, ~drop_depth)
        if out is not None:
            both = torch.cat([out.painted, out.rgb], dim=1).detach().float()
            warped, validity = warp_previous(clip, both, frame)
            age = torch.full((b, 1, 1, 1), min((frame - 1) / 8.0, 1.0), device=both.device)
            history = degraded(History(warped[:, :3], validity, age), rng)
        with torch.set_grad_enabled(frame == t - 1):
            out = generator(x, style, history)
    assert out is not None
    return Rollout(
        out.rgb,
        out.raw,
        warped[:, 3:],
        validity,
        groups[:, -1],
        out.harmonised,
    )


def frame_input(
    clip: ClipBatch, groups: Tensor, frame: int, noise_seed: Tensor, has_depth: Tensor
) -> GeneratorInput:
    """The generator's input for one frame of a clip."""
    pose = clip.pose[:, frame].double()
    own = torch.linalg.inv(clip.actor_pose[:, frame].double()) @ pose[:, None]
    return assemble(
        groups,
        clip.layout[:, frame],
        clip.depth_m[:, frame, 0],
        clip.camera,
        torch.cat([pose[:, None], own], dim=1).float(),
        has_depth,
        noise_seed,
        movers_in(clip.instances[:, frame, 0]),
        clip.canvas[:, frame],
    )


def warp_previous(clip: ClipBatch, rgb: Tensor, frame: int) -> tuple[Tensor, Tensor]:
    """Warp `rgb` (B, C, H, W) in [-1, 1], an image of frame `frame - 1`, into frame `frame`.

    Returns:
        The warped image, and the validity (B, 1, H, W): 1 where frame `frame - 1` showed the same
        surface point.
    """
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


def temporal_pair(rgb: Tensor, previous: Tensor, validity: Tensor) -> Tensor:
    """The temporal discriminator's input (B, 6, H, W): a frame and its warped predecessor.

    Where the predecessor is not valid, it is replaced by the frame itself. vid2vid (Wang et al.,
    NeurIPS 2018, section 3.2) uses estimated optical flow instead of exact motion.
    """
    valid = validity > 0.5
    return torch.cat([rgb.float(), torch.where(valid, previous, rgb.detach().float())], dim=1)


def real_temporal_pair(clip: ClipBatch) -> Tensor | None:
    """`temporal_pair` of a real video's last two frames; None for clips without both."""
    if not bool(clip.has_rgb[:, -2:].all()):
        return None
    last = clip.rgb.shape[1] - 1
    return temporal_pair(clip.rgb[:, last], *warp_previous(clip, clip.rgb[:, last - 1], last))


def degraded(history: History, rng: torch.Generator) -> History:
    """Drop some samples' histories and add noise to others.

    The generator learns from it to start without a history and to recover from a bad one.
    """
    b = history.rgb.shape[0]
    device = history.rgb.device
    kept = (torch.rand(b, 1, 1, 1, generator=rng) >= HISTORY_DROPOUT).float().to(device)
    noisy = (torch.rand(b, 1, 1, 1, generator=rng) < HISTORY_DROPOUT).float().to(device)
    noise = torch.randn(history.rgb.shape, generator=rng).to(device) * HISTORY_NOISE
    return History(history.rgb + noisy * noise, history.validity * kept, history.age)
