"""Gradient steps, learning rates, weight averaging, and the check that training is healthy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sim2street.configs import Sim2StreetError
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.training.ranks import average_gradients
from sim2street.neural_renderer.training.state import TrainState

MAX_GRADIENT_NORM = 10.0
WARM_UP_STEPS = 100
MIN_IMAGE_STD = 0.02
"""Generated images with a smaller standard deviation (values in [-1, 1]) count as collapsed."""


class TrainingStopped(Sim2StreetError):
    """Training cannot continue: a loss is not finite, or all images are one constant colour."""


@dataclass(frozen=True)
class BatchOfStep:
    """Which batch of a step this is, with gradient accumulation: number `index` of `count`."""

    index: int = 0
    count: int = 1


def backward_and_step(
    optimiser: torch.optim.Optimizer, terms: Mapping[str, Tensor], batch: BatchOfStep
) -> None:
    """Back-propagate the sum of the terms; after the last batch of the step, update the weights.

    Gradients are averaged over the batches of the step and over ranks.
    """
    if batch.index == 0:
        optimiser.zero_grad(set_to_none=True)
    (torch.stack([term.float() for term in terms.values()]).sum() / batch.count).backward()
    if batch.index < batch.count - 1:
        return
    parameters = optimised_parameters(optimiser)
    average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
    optimiser.step()


@contextmanager
def frozen(optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """Compute no gradients for the parameters of an optimiser inside the block."""
    parameters = optimised_parameters(optimiser)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def optimised_parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters that an optimiser updates."""
    return [p for group in optimiser.param_groups for p in group["params"]]


def set_learning_rates(state: TrainState, config: TrainConfig) -> None:
    """Linear warm-up, constant, then linear decay to a tenth over the last `decay_steps`."""
    left = (config.total_steps - state.step) / max(config.decay_steps, 1)
    factor = max(0.1, min(1.0, left)) * min(1.0, (state.step + 1) / WARM_UP_STEPS)
    rates = ((state.optimiser_g, config.lr_generator), (state.optimiser_d, config.lr_discriminator))
    for optimiser, rate in rates:
        for group in optimiser.param_groups:
            group["lr"] = rate * factor


def update_average(state: TrainState, config: TrainConfig) -> None:
    """Move the averaged weights towards the generator's, faster in the first steps."""
    steps = state.previous_steps + state.step
    decay = min(config.ema_decay, (1.0 + steps) / (10.0 + steps))
    with torch.no_grad():
        pairs = zip(state.ema.parameters(), state.generator.parameters(), strict=True)
        for averaged, current in pairs:
            averaged.lerp_(current, 1.0 - decay)


def check_health(
    state: TrainState, terms: Mapping[str, Tensor], fake: Tensor, state_file: Path
) -> None:
    """Raise TrainingStopped for a loss term that is not finite, or for constant images."""
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    collapsed = state.step > 200 and float(fake.float().std()) < MIN_IMAGE_STD
    if bad or collapsed:
        reason = f"{bad[0]} is not finite" if bad else "the images collapsed to a constant"
        saved = f"The last good state is {state_file}; continue from it"
        if not state_file.exists():
            saved = f"There is no {state_file} yet: start again"
        raise TrainingStopped(
            f"training stopped at step {state.step}: {reason}. {saved} with lower learning rates "
            "or another seed"
        )
