"""The training loop; read it from top to bottom.

A step draws a batch, renders it, updates the discriminators and then the generator (`update.py`),
and moves the averaged weights. All random numbers come from the seed and the number of the step, so
that a run that was stopped continues exactly as if it had not been: 2 + 2 steps give the same
weights as 4. Under `torchrun` every rank draws its own batches and rank 0 writes the files
(`ranks.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sim2street.neural_renderer.data.batch import Batch, ClipBatch, to_device
from sim2street.neural_renderer.training import losses, objective, optimise, ranks
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.log import RunLog
from sim2street.neural_renderer.training.optimise import BatchOfStep
from sim2street.neural_renderer.training.rollout import real_temporal_pair, roll_out, temporal_pair
from sim2street.neural_renderer.training.sheets import SheetMaker
from sim2street.neural_renderer.training.sources import BatchSource, StepData
from sim2street.neural_renderer.training.state import (
    TrainState,
    build_state,
    disable_history_map,
    export_ema,
    load_state,
    save_state,
)
from sim2street.neural_renderer.training.targets import (
    clip_target,
    exemplars_of,
    still_target,
    style_of,
)
from sim2street.neural_renderer.training.transfer import Transfer, start_from
from sim2street.neural_renderer.training.update import StepImages, update_networks

STATE_FILE = "state.pt"
EXPORT_FILE = "generator.safetensors"

FOREIGN_DISTRUST = 0.85
"""Where the canvas shows other things than the photograph, its details count by so much less."""


@dataclass(frozen=True)
class Progress:
    """What is reported after a step: loss terms of its last batch, and the speed."""

    step: int
    total: int
    terms: Mapping[str, float]
    images_per_s: float


def train(
    config: TrainConfig,
    out_dir: Path,
    device: torch.device,
    stop_at: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    init_from: Path | None = None,
    transferred: Callable[[Transfer], None] = lambda transfer: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Train to the end of the last phase, continuing from the state in `out_dir` if there is one.

    Writes state, exported generator, sample sheets and a TensorBoard log to `out_dir`.

    Args:
        config: generator, data, phases and losses.
        out_dir: the run's folder; created if missing.
        device: where the networks run.
        stop_at: stop after this step; calling again continues.
        report: called after each step.
        init_from: weights to start from if `out_dir` has no state.
        transferred: called with what was taken from `init_from`.
        should_stop: asked after each step; True (on any rank) saves the state and returns.

    Raises:
        TrainingStopped: a loss is not finite or the images collapsed; names the last good state.
        ConfigError: a file is missing or unusable, or another process trains in `out_dir`.
    """
    with ranks.locked_folder(out_dir):
        state, state_file = build_state(config, device), out_dir / STATE_FILE
        if state_file.exists():
            load_state(state, config, state_file)
        elif init_from is not None:
            transferred(start_from(state, init_from))
        if not config.history_map:
            disable_history_map(state)
        with ranks.rank_zero_first():
            source = BatchSource(config, out_dir / "photos")
        sheets = SheetMaker(source, out_dir)
        end = min(config.total_steps, stop_at or config.total_steps)
        batches = source.batches(state.step, end)
        saved_s, stopping = time.monotonic(), False
        with RunLog(out_dir) if ranks.rank() == 0 else nullcontext() as log:
            while state.step < end and not stopping:
                start_s = time.monotonic()
                terms, images = train_step(state, config, batches, state_file)
                values = {name: float(term.detach()) for name, term in terms.items()}
                images_per_s = images * ranks.world_size() / (time.monotonic() - start_s)
                report(Progress(state.step, end, values, images_per_s))
                stopping = ranks.on_any_rank(should_stop())
                if log is None:
                    continue
                log.write(state.step, values)
                if state.step % config.sample_every == 0:
                    log.show(state.step, "samples", sheets.write(state))
                due = time.monotonic() - saved_s > config.checkpoint_every_s
                if due or stopping or state.step == end:
                    save_state(state, config, state_file)
                    export_ema(state, config, source.seen_tags, out_dir / EXPORT_FILE)
                    saved_s = time.monotonic()
        ranks.barrier()  # Other ranks must not return before rank 0 has written the files.
        return state


def train_step(
    state: TrainState, config: TrainConfig, batches: Iterator[StepData], state_file: Path
) -> tuple[dict[str, Tensor], int]:
    """One step on the next `accumulate` batches: loss terms of the last one, number of images."""
    images = 0
    optimise.set_learning_rates(state, config)
    for index in range(config.accumulate):
        data = next(batches)
        batch = BatchOfStep(index, config.accumulate)
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + data.draw)
        stills = to_device(data.stills, state.device)
        if data.clips is None:
            terms, fake = still_step(state, config, stills, rng, batch)
        else:
            clips = to_device(data.clips, state.device)
            terms, fake = clip_step(state, config, clips, stills, rng, batch)
        optimise.check_health(state, terms, fake, state_file)
        images += len(fake)
    optimise.update_average(state, config)
    state.step += 1
    return terms, images


def still_step(
    state: TrainState, config: TrainConfig, stills: Batch, rng: torch.Generator, batch: BatchOfStep
) -> tuple[dict[str, Tensor], Tensor]:
    """Train on single photographs."""
    with state.autocast():
        given = objective.conditions(state, stills, rng)
        real, valid, paired = still_target(state, stills, given.x, given.exemplars)
        out = state.generator(given.x, given.style)
    images = StepImages(
        fake=out.rgb,
        real=real,
        fake_groups=given.groups,
        real_groups=given.groups,
        valid=valid,
        trust=1.0 - FOREIGN_DISTRUST * stills.foreign,
        paired=paired,
        exemplars=given.exemplars,
        extra_terms=objective.canvas_losses(out.harmonised, stills.canvas, config.weights),
    )
    return update_networks(state, config, images, rng, batch), out.rgb.detach()


def clip_step(
    state: TrainState,
    config: TrainConfig,
    clips: ClipBatch,
    stills: Batch,
    rng: torch.Generator,
    batch: BatchOfStep,
) -> tuple[dict[str, Tensor], Tensor]:
    """Train on the last frames of clips.

    stills: as many photographs. Clips of a simulated world take their exemplars and their examples
    of real images from them.
    """
    with state.autocast():
        groups = state.class_map.groups_from_multihot(clips.tags)
        exemplars = exemplars_of(state, clips if bool(clips.has_exemplars.all()) else stills)
        real, valid, paired = clip_target(state, clips, stills, exemplars, groups, rng)
        style = style_of(state.generator, exemplars)
        out = roll_out(state.generator, style, clips, groups, rng)
    canvas = clips.canvas[:, -1]
    temporal, steady = (
        losses.temporal(rgb.float(), out.previous, out.validity) for rgb in (out.rgb, out.raw)
    )
    images = StepImages(
        fake=out.rgb,
        real=real,
        fake_groups=out.groups,
        real_groups=out.groups if paired else state.class_map.groups_from_multihot(stills.tags),
        valid=valid,
        trust=1.0 - FOREIGN_DISTRUST * (canvas[:, 3:] > 0.0).float(),
        paired=paired,
        exemplars=exemplars,
        extra_terms={
            "g_temporal": config.weights.temporal * temporal,
            "g_steady": config.weights.steady * steady,
            **objective.canvas_losses(out.harmonised, canvas, config.weights),
        },
    )
    if state.temporal_discriminator is not None:
        real_pair = real_temporal_pair(clips)
        if real_pair is not None:
            fake_pair = temporal_pair(out.rgb, out.previous, out.validity)
            images = replace(images, temporal_pairs=(fake_pair, real_pair))
    return update_networks(state, config, images, rng, batch), out.rgb.detach()
