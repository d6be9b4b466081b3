"""What a step's pictures are compared with: photographs, or a teacher's pictures.

With a teacher (distillation) every label map has a target, town clips too: paired data
without end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim2street.neural_renderer.data.batch import Batch, ClipBatch
from sim2street.neural_renderer.networks.generator import (
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
)
from sim2street.neural_renderer.training.rollout import roll_out
from sim2street.neural_renderer.training.state import TrainState

Exemplars = tuple[Tensor, Tensor]
"""Pictures (B, K, 3, H, W) that a style is of, and their groups (B, K, G, H, W)."""


def exemplars_of(state: TrainState, batch: Batch | ClipBatch) -> Exemplars:
    """A batch's exemplars as the networks see them."""
    return batch.exemplar_rgb, state.class_map.groups_from_multihot(batch.exemplar_tags)


def style_of(who: FrameGenerator, exemplars: Exemplars) -> CompiledStyle:
    """Their style by a generator's own encoder."""
    return who.compile_style(who.encode_style(*exemplars))


def still_target(
    state: TrainState, batch: Batch, x: GeneratorInput, exemplars: Exemplars
) -> tuple[Tensor, Tensor, bool]:
    """Target pictures (B, 3, H, W), where they count (B, 1, H, W), whether they are targets.

    Without a teacher, a photograph's labels in another's style have none: the photographs
    then only show what real looks like.
    """
    if state.teacher is None:
        return batch.rgb, batch.valid, bool(batch.own_style.all())
    with torch.no_grad():
        rgb = state.teacher(x, style_of(state.teacher, exemplars)).rgb
    return rgb.float(), torch.ones_like(batch.valid), True


def clip_target(
    state: TrainState,
    clip: ClipBatch,
    batch: Batch,
    exemplars: Exemplars,
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
        style = style_of(state.teacher, exemplars)
        out = roll_out(state.teacher, style, clip, groups, rng)
    rng.set_state(drawn)
    return out.rgb.detach().float(), torch.ones_like(clip.valid[:, -1]), True
