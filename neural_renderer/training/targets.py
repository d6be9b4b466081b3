"""Target images of a step: photographs, or a teacher's images (distillation).

With a teacher every label map has a target, those of a simulated world too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim2street.neural_renderer.data.batch import Batch, ClipBatch
from sim2street.neural_renderer.networks.interface import (
    CompiledStyle,
    FrameGenerator,
    GeneratorInput,
)
from sim2street.neural_renderer.training.rollout import roll_out
from sim2street.neural_renderer.training.state import TrainState

Exemplars = tuple[Tensor, Tensor]
"""Exemplar images (B, K, 3, H, W) in [-1, 1] and their label groups (B, K, G, H, W)."""


def exemplars_of(state: TrainState, batch: Batch | ClipBatch) -> Exemplars:
    """A batch's exemplar images and their label groups."""
    return batch.exemplar_rgb, state.class_map.groups_from_multihot(batch.exemplar_tags)


def style_of(generator: FrameGenerator, exemplars: Exemplars) -> CompiledStyle:
    """The exemplars' style, encoded and compiled by a generator."""
    return generator.compile_style(generator.encode_style(*exemplars))


def still_target(
    state: TrainState, batch: Batch, x: GeneratorInput, exemplars: Exemplars
) -> tuple[Tensor, Tensor, bool]:
    """Target images of a batch of stills.

    Returns:
        Images (B, 3, H, W) in [-1, 1]; where they count, (B, 1, H, W); and whether they are
        targets. Labels that are painted in another photograph's style have none unless there is a
        teacher; the photographs are then only examples of real images.
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
    """Target images of the last frames of clips; returns the same as `still_target`.

    A teacher renders the clips with its own history and with the same random numbers as the
    generator will; the state of `rng` is restored. Clips of a simulated world have no target unless
    there is a teacher; the photographs of `batch` are then only examples of real images.

    Args:
        clip: the clips.
        batch: as many photographs.
        exemplars: of the clips' style.
        groups: label groups of all frames (B, T, G, H, W).
        rng: what `roll_out` draws from.
    """
    if state.teacher is None:
        paired = bool(clip.has_rgb[:, -1].all())
        return (clip.rgb[:, -1] if paired else batch.rgb), clip.valid[:, -1], paired
    rng_state = rng.get_state()
    with torch.no_grad():
        style = style_of(state.teacher, exemplars)
        out = roll_out(state.teacher, style, clip, groups, rng)
    rng.set_state(rng_state)
    return out.rgb.detach().float(), torch.ones_like(clip.valid[:, -1]), True
