"""What a step's pictures are compared with: photographs, or a teacher's pictures.

With a teacher (distillation) every label map has a target, town clips too: paired data
without end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neural_renderer.data.batch import Batch, ClipBatch
from neural_renderer.networks.generator import CompiledStyle, FrameGenerator, GeneratorInput
from neural_renderer.training.rollout import roll_out
from neural_renderer.training.state import TrainState


def batch_style(state: TrainState, who: FrameGenerator, batch: Batch | ClipBatch) -> CompiledStyle:
    """The style of a batch's exemplars, by one generator's own encoder."""
    groups = state.class_map.groups_from_multihot(batch.exemplar_tags)
    return who.compile_style(who.encode_style(batch.exemplar_rgb, groups))


def still_target(state: TrainState, batch: Batch, x: GeneratorInput) -> tuple[Tensor, Tensor]:
    """Target pictures (B, 3, H, W) and where they count (B, 1, H, W)."""
    if state.teacher is None:
        return batch.rgb, batch.valid
    with torch.no_grad():
        rgb = state.teacher(x, batch_style(state, state.teacher, batch)).rgb
    return rgb.float(), torch.ones_like(batch.valid)


def clip_target(
    state: TrainState,
    clip: ClipBatch,
    batch: Batch,
    exemplars: Batch | ClipBatch,
    groups: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, bool]:
    """The same of the last frame, and whether it is the target of just these labels.

    A teacher renders the clip with its own history, under the same noise; `rng` is left as
    it was found. Town clips without a teacher have no target: `batch`'s photographs then
    only show what real looks like.
    """
    if state.teacher is None:
        paired = bool(clip.has_rgb[:, -1].all())
        return (clip.rgb[:, -1] if paired else batch.rgb), clip.valid[:, -1], paired
    drawn = rng.get_state()
    with torch.no_grad():
        style = batch_style(state, state.teacher, exemplars)
        out = roll_out(state.teacher, style, clip, groups, rng)
    rng.set_state(drawn)
    return out.rgb.detach().float(), torch.ones_like(clip.valid[:, -1]), True
