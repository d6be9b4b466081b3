"""The training loop, read top to bottom.

One step: draw a batch from (seed, step), render it, teach the discriminators, teach the
generator, average. The same command again continues where the last state was written; all
randomness comes from the seed and the step, so that 2 + 2 steps equal 4. Under `torchrun`
every rank draws its own batches and rank 0 writes (`ranks.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.data.batch import Batch, ClipBatch, to_device
from sim2street.neural_renderer.data.prefetch import prefetched
from sim2street.neural_renderer.networks.discriminators import PatchDiscriminator
from sim2street.neural_renderer.training import losses
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.log import ScalarLog
from sim2street.neural_renderer.training.objective import (
    adversarial_losses,
    conditions,
    discriminator_losses,
    judge,
    picture_losses,
    style_losses,
    surface_losses,
)
from sim2street.neural_renderer.training.ranks import (
    alone_in,
    average_gradients,
    meet,
    rank,
    rank_zero_first,
    ranks,
)
from sim2street.neural_renderer.training.rollout import aligned, real_pair, roll_out
from sim2street.neural_renderer.training.sheets import SheetMaker
from sim2street.neural_renderer.training.sources import Drawn, Source
from sim2street.neural_renderer.training.state import (
    TrainState,
    build_state,
    export_ema,
    hold_history_map,
    load_state,
    save_state,
)
from sim2street.neural_renderer.training.targets import (
    Exemplars,
    clip_target,
    exemplars_of,
    still_target,
    style_of,
)
from sim2street.neural_renderer.training.transfer import Transfer, start_from

STATE_FILE = "state.pt"
EXPORT_FILE = "generator.safetensors"
COLLAPSED_STD = 0.02


class TrainingStopped(Sim2StreetError):
    """Training cannot go on: NaN, or collapse to a constant picture."""


@dataclass(frozen=True)
class Progress:
    """What the caller may show after a step: mean loss terms and speed."""

    step: int
    total: int
    terms: Mapping[str, float]
    images_per_s: float


@dataclass(frozen=True)
class Share:
    """Which of how many batches of a step, counted over accumulation: part 0 .. parts - 1."""

    part: int = 0
    parts: int = 1


def train(
    config: TrainConfig,
    out_dir: Path,
    device: torch.device,
    stop_at: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    init_from: Path | None = None,
    transferred: Callable[[Transfer], None] = lambda transfer: None,
) -> TrainState:
    """Train until the end of the last phase (or `stop_at`), resuming what is in `out_dir`.

    Args:
        report: told after each step. transferred: told what became of `init_from`.
        init_from: weights to start from, where `out_dir` has no state yet.

    Raises:
        TrainingStopped: names the last good checkpoint.
        ConfigError: before anything is computed; another process trains in `out_dir`.
    """
    with alone_in(out_dir):
        state = build_state(config, device)
        state_file = out_dir / STATE_FILE
        if state_file.exists():
            load_state(state, state_file)
        elif init_from is not None:
            transferred(start_from(state, init_from))
        if not config.history_map:
            hold_history_map(state)
        with rank_zero_first():
            source = Source(config, out_dir / "photos")
        writes = rank() == 0
        sheets = SheetMaker(source, out_dir)
        logger = ScalarLog(out_dir) if writes else None
        end = min(config.total_steps, stop_at or config.total_steps)
        saved_s = time.monotonic()

        def drawn(number: int) -> Drawn:
            return source.drawn(number // config.accumulate, number * ranks() + rank())

        numbers = (state.step * config.accumulate, max(state.step, end) * config.accumulate)
        batches = prefetched(drawn, *numbers, config.workers)
        while state.step < end:
            start_s = time.monotonic()
            set_learning_rates(state, config)
            for part in range(config.accumulate):
                draw, clip, stills = next(batches)
                rng = torch.Generator().manual_seed(config.seed * 1_000_003 + draw)
                batch = to_device(stills, device)
                share = Share(part, config.accumulate)
                if clip is None:
                    terms, fake = still_step(state, config, batch, rng, share)
                else:
                    terms, fake = clip_step(
                        state, config, to_device(clip, device), batch, rng, share
                    )
                check_health(state, terms, fake, state_file)
            update_average(state, config)
            state.step += 1
            elapsed_s = time.monotonic() - start_s
            values = {name: float(term.detach()) for name, term in terms.items()}
            images = batch.rgb.shape[0] * config.accumulate * ranks()
            report(Progress(state.step, end, values, images / elapsed_s))
            if logger is None:
                continue
            logger.write(state.step, values)
            if state.step % config.sample_every == 0:
                sheets.write(state)
            if time.monotonic() - saved_s > config.checkpoint_every_s or state.step == end:
                save_state(state, config, state_file)
                export_ema(state, config, source.seen_tags, out_dir / EXPORT_FILE)
                saved_s = time.monotonic()
        if logger is not None:
            logger.close()
        meet()  # nobody goes on before what rank 0 wrote is there
        return state


def still_step(
    state: TrainState, config: TrainConfig, batch: Batch, rng: torch.Generator, share: Share
) -> tuple[dict[str, Tensor], Tensor]:
    """One step on photographs: named terms, the pictures."""
    with state.autocast():
        seen = conditions(state, batch, rng)
        real, valid, paired = still_target(state, batch, seen.x, seen.exemplars)
        fake = state.generator(seen.x, seen.style).rgb
    windows = seen.x.layout[:, -1:]
    shown = Shown(fake, real, seen.groups, seen.groups, windows, valid, paired, seen.exemplars, {})
    return teach(state, config, shown, rng, share), fake.detach()


def clip_step(
    state: TrainState,
    config: TrainConfig,
    clip: ClipBatch,
    batch: Batch,
    rng: torch.Generator,
    share: Share,
) -> tuple[dict[str, Tensor], Tensor]:
    """One step on clips. Those without a target picture are judged beside photographs.

    Args:
        batch: photographs of the same batch size: exemplars, and real pictures, for clips
            that have none of their own.
    """
    with state.autocast():
        groups = state.class_map.groups_from_multihot(clip.tags)
        exemplars = exemplars_of(state, clip if bool(clip.has_exemplars.all()) else batch)
        real, valid, paired = clip_target(state, clip, batch, exemplars, groups, rng)
        style = style_of(state.generator, exemplars)
        out = roll_out(state.generator, style, clip, groups, rng)
    extra = {
        name: weight * losses.temporal(picture.float(), out.previous, out.validity)
        for name, weight, picture in (
            ("g_temporal", config.weights.temporal, out.rgb),
            ("g_steady", config.weights.steady, out.raw),
        )
    }
    real_groups = out.groups if paired else state.class_map.groups_from_multihot(batch.tags)
    labels = out.groups, real_groups, out.windows
    shown = Shown(out.rgb, real, *labels, valid, paired, exemplars, extra)
    pair = real_pair(clip) if state.temporal is not None else None
    if pair is not None:
        shown = replace(shown, moving=(aligned(out.rgb, out.previous, out.validity), pair))
    return teach(state, config, shown, rng, share), out.rgb.detach()


@dataclass(frozen=True)
class Shown:
    """Generated and real pictures of a step, and whose style the generated ones have.

    Attributes:
        groups, real_groups: labels of `fake` and of `real`.
        windows: (B, 1, H, W), where the generator was told of a window.
        paired: `real` is the target of `fake`; if not, it only shows what real looks like.
        extra: further terms of the generator's loss.
        moving: generated and real frames with their predecessors, see `rollout.aligned`;
            None where there is no real video to compare with.
    """

    fake: Tensor
    real: Tensor
    groups: Tensor
    real_groups: Tensor
    windows: Tensor
    valid: Tensor
    paired: bool
    exemplars: Exemplars
    extra: dict[str, Tensor]
    moving: tuple[Tensor, Tensor] | None = None


def teach(
    state: TrainState, config: TrainConfig, shown: Shown, rng: torch.Generator, share: Share
) -> dict[str, Tensor]:
    """Discriminators, then generator: all named terms."""
    fake, groups = shown.fake, shown.groups
    with state.autocast():
        fake_aug, real_aug = losses.diff_augment([fake, shown.real], rng)
        fake_maps = state.lite(fake_aug) if state.lite is not None else None
        with torch.no_grad():
            real_maps = state.lite(real_aug) if state.lite is not None else None
        detached = [m.detach() for m in fake_maps] if fake_maps else None
        real = judge(state, real_aug, real_maps)
        judged = judge(state, fake_aug.detach(), detached)
        terms = discriminator_losses(real, judged, shown.real_groups, shown.paired)
    if state.step % config.r1_every == 0:
        terms["d_r1"] = config.weights.r1 * patch_r1(state.patch, shown.real)
    if real_maps is not None and shown.paired and state.step % config.label_mix_every == 0:
        terms["d_mix"] = label_mix_loss(state, real_aug, fake_aug.detach(), groups, rng)
    if shown.moving is not None:
        terms |= moving_losses(state, config, *shown.moving)
    learn(state.optimiser_d, terms, share)
    with state.autocast(), frozen_judges(state):
        with torch.no_grad():
            real = judge(state, real_aug, None)
        judged = judge(state, fake_aug, fake_maps)
        g_terms = adversarial_losses(judged, real, groups, config.weights, shown.paired)
        if shown.paired:
            g_terms |= picture_losses(state, fake, shown.real, shown.valid, config.weights, rng)
        else:
            g_terms |= style_losses(state, fake, groups, shown.exemplars, config.weights, rng)
        labels = state.class_map.names, fake, groups, shown.windows
        g_terms |= surface_losses(*labels, config.weights, shown.paired)
        if shown.moving is not None and state.temporal is not None:
            moving = losses.hinge_generator(state.temporal(shown.moving[0]))
            g_terms["g_moving"] = config.weights.temporal_adversarial * moving
        g_terms |= shown.extra
        learn(state.optimiser_g, g_terms, share)
    return terms | g_terms


@contextmanager
def frozen_judges(state: TrainState) -> Iterator[None]:
    """No gradients for the discriminators' weights while the generator learns."""
    judges = [p for group in state.optimiser_d.param_groups for p in group["params"]]
    for parameter in judges:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in judges:
            parameter.requires_grad_(True)


def moving_losses(
    state: TrainState, config: TrainConfig, fake: Tensor, real: Tensor
) -> dict[str, Tensor]:
    """The temporal discriminator's terms; R1 at each of its steps, for they are few."""
    assert state.temporal is not None
    with state.autocast():
        judged = state.temporal(real), state.temporal(fake.detach())
        terms = {"d_moving": losses.hinge_discriminator(*judged)}
    weight = config.weights.r1 / config.r1_every
    return terms | {"d_moving_r1": weight * patch_r1(state.temporal, real)}


def patch_r1(discriminator: PatchDiscriminator, pictures: Tensor) -> Tensor:
    """R1 on a raw-pixel discriminator, in float32."""
    pictures = pictures.detach().requires_grad_(True)
    (scores,) = discriminator(pictures).scores
    return losses.r1_penalty(scores, pictures)


def label_mix_loss(
    state: TrainState, real: Tensor, fake: Tensor, groups: Tensor, rng: torch.Generator
) -> Tensor:
    """Judging a mixture must equal mixing the judgements (OASIS, eq. 4)."""
    assert state.lite is not None
    assert state.semantic is not None
    pick = (torch.rand(groups.shape[1], generator=rng) < 0.5).to(groups.device)
    mixed, mask = losses.label_mix(real, fake, groups, pick)
    with state.autocast():
        with torch.no_grad():
            maps = [state.lite(x) for x in (mixed, real, fake)]
        of_mixed, of_real, of_fake = (state.semantic(m).segmentation for m in maps)
    small = torch.nn.functional.adaptive_avg_pool2d(mask.float(), of_mixed.shape[-2:])
    return (of_mixed - (small * of_real + (1.0 - small) * of_fake)).square().mean()


def learn(optimiser: torch.optim.Optimizer, terms: Mapping[str, Tensor], share: Share) -> None:
    """Back-propagate the sum of the terms; step after the last batch of the step.

    Gradients of others are dropped.
    """
    if share.part == 0:
        optimiser.zero_grad(set_to_none=True)
    (torch.stack([term.float() for term in terms.values()]).sum() / share.parts).backward()
    if share.part < share.parts - 1:
        return
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, 10.0)
    optimiser.step()


def update_average(state: TrainState, config: TrainConfig) -> None:
    """EMA of the generator with a ramp: early on it follows closely."""
    age = state.age + state.step
    decay = min(config.ema_decay, (1.0 + age) / (10.0 + age))
    with torch.no_grad():
        pairs = zip(state.ema.parameters(), state.generator.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, 1.0 - decay)


def set_learning_rates(state: TrainState, config: TrainConfig) -> None:
    """Constant, then linear decay to a tenth over the last `decay_steps`; short warm-up."""
    left = (config.total_steps - state.step) / max(config.decay_steps, 1)
    factor = max(0.1, min(1.0, left)) * min(1.0, (state.step + 1) / 100.0)
    rates = ((state.optimiser_g, config.lr_generator), (state.optimiser_d, config.lr_discriminator))
    for optimiser, rate in rates:
        for group in optimiser.param_groups:
            group["lr"] = rate * factor


def check_health(
    state: TrainState, terms: Mapping[str, Tensor], fake: Tensor, state_file: Path
) -> None:
    """Stop on NaN or on pictures without content, naming the last good checkpoint."""
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    collapsed = state.step > 200 and float(fake.float().std()) < COLLAPSED_STD
    if bad or collapsed:
        reason = f"{bad[0]} is not finite" if bad else "pictures collapsed to a constant"
        raise TrainingStopped(
            f"training stopped at step {state.step}: {reason}. The last good state is "
            f"{state_file}; lower the learning rates or go on from it with another seed"
        )
