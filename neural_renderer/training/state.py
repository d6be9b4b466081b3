"""All state of a training run in one file: the same command again goes on exactly."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from sim2street.configs import ConfigError, did_you_mean
from sim2street.neural_renderer.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    load_generator,
    save_generator,
)
from sim2street.neural_renderer.conditions.generator_input import ClassMap
from sim2street.neural_renderer.networks.baselines import build_frame_generator
from sim2street.neural_renderer.networks.discriminators import (
    FeatureDiscriminator,
    PatchDiscriminator,
)
from sim2street.neural_renderer.networks.features import (
    EfficientNetLite0Features,
    Vgg16Features,
    load_efficientnet_lite0,
    load_vgg16,
)
from sim2street.neural_renderer.networks.generator import (
    HISTORY_CHANNELS,
    SIZES,
    FrameGenerator,
    Generator,
)
from sim2street.neural_renderer.runtimes.precision import bfloat16_pays
from sim2street.neural_renderer.training.config import TrainConfig


@dataclass
class TrainState:
    """Networks, optimisers and the step counter.

    The frozen feature networks and the teacher are not saved: they come from their own files.

    Attributes:
        temporal: judges a frame and its predecessor, see `rollout.aligned`.
        age: steps behind the weights that the run started from (`--init-from`).
        loss_networks: sha256 of the files of the networks that its losses look through.
    """

    class_map: ClassMap
    generator: FrameGenerator
    ema: FrameGenerator
    patch: PatchDiscriminator
    semantic: FeatureDiscriminator | None
    temporal: PatchDiscriminator | None
    optimiser_g: torch.optim.Adam
    optimiser_d: torch.optim.Adam
    vgg: Vgg16Features | None
    lite: EfficientNetLite0Features | None
    device: torch.device
    teacher: FrameGenerator | None = None
    loss_networks: tuple[str, ...] = ()
    step: int = 0
    age: int = 0

    def modules(self) -> dict[str, nn.Module]:
        """What is saved, by name."""
        named: dict[str, nn.Module | None] = {
            "generator": self.generator,
            "ema": self.ema,
            "patch": self.patch,
            "semantic": self.semantic,
            "temporal": self.temporal,
        }
        return {name: module for name, module in named.items() if module is not None}

    def autocast(self) -> torch.autocast:
        """Mixed precision in bfloat16, where that pays."""
        kind = self.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=bfloat16_pays(self.device))


def build_state(config: TrainConfig, device: torch.device) -> TrainState:
    """Networks from the seed (set before they are built), optimisers, frozen features."""
    torch.manual_seed(config.seed)
    class_map = ClassMap.default()
    groups = len(class_map.names)
    if config.size not in SIZES:
        raise ConfigError(
            f"unknown generator size '{config.size}'{did_you_mean(config.size, list(SIZES))}"
        )
    teacher = _teacher(config, class_map, device)
    generator = build_frame_generator(config.kind, config.size, groups)
    lite = load_efficientnet_lite0(config.efficientnet_lite0) if config.efficientnet_lite0 else None
    vgg = load_vgg16(config.vgg16) if config.vgg16 else None
    patch = PatchDiscriminator()
    semantic = FeatureDiscriminator(lite.channels, groups) if lite is not None else None
    temporal = PatchDiscriminator(2 * 3) if config.weights.temporal_adversarial else None
    for module in (generator, patch, semantic, temporal, lite, vgg):
        if module is not None:
            module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    judges = [p for d in (patch, semantic, temporal) if d is not None for p in d.parameters()]
    return TrainState(
        class_map,
        generator,
        copy.deepcopy(generator).requires_grad_(False).eval(),
        patch,
        semantic,
        temporal,
        torch.optim.Adam(generator.parameters(), lr=config.lr_generator, betas=(0.0, 0.99)),
        torch.optim.Adam(judges, lr=config.lr_discriminator, betas=(0.0, 0.99)),
        vgg,
        lite,
        device,
        teacher,
        tuple(
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (config.vgg16, config.efficientnet_lite0)
            if path is not None
        ),
    )


def hold_history_map(state: TrainState) -> None:
    """Zero the weights of the history's SPADE map and give them no gradients.

    They stay at zero: what is drawn depends on the present alone, whatever number of frames
    came before, and the history acts by being blended in.
    """
    for net in (state.generator, state.ema):
        assert isinstance(net, Generator)
        for weight in net.history_weights():
            with torch.no_grad():
                weight[:, -HISTORY_CHANNELS:] = 0.0
            if weight.requires_grad:
                weight.register_hook(_without_history)


def _without_history(gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[:, -HISTORY_CHANNELS:] = 0.0
    return gradient


def _teacher(
    config: TrainConfig, class_map: ClassMap, device: torch.device
) -> FrameGenerator | None:
    if config.teacher is None:
        return None
    teacher, info = load_generator(config.teacher)
    if info.class_map != class_map:
        raise CheckpointError(f"{config.teacher} knows other label groups than this version trains")
    return teacher.requires_grad_(False).to(device)


def save_state(state: TrainState, config: TrainConfig, path: Path) -> None:
    """Write everything needed to go on, atomically."""
    content: dict[str, Any] = {
        "step": state.step,
        "age": state.age,
        "config": config.model_dump(mode="json"),
        "modules": {name: module.state_dict() for name, module in state.modules().items()},
        "optimiser_g": state.optimiser_g.state_dict(),
        "optimiser_d": state.optimiser_d.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What `save_state` wrote, or CheckpointError with the reason in brackets."""
    reason = "no step and modules in it"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, UnpicklingError) as error:
        content, reason = None, (str(error) or "cut short").splitlines()[0]
    if isinstance(content, dict) and isinstance(content.get("step"), int):
        modules = content.get("modules")
        if isinstance(modules, dict) and all(isinstance(m, dict) for m in modules.values()):
            return content
    raise CheckpointError(f"{path} is no state of a training run ({reason})")


def load_state(state: TrainState, path: Path) -> None:
    """Continue from a saved state; refuses one that does not fit."""
    try:
        content = read_state(path, state.device)
        for name, module in state.modules().items():
            module.load_state_dict(content["modules"][name], strict=True)
        state.optimiser_g.load_state_dict(content["optimiser_g"])
        state.optimiser_d.load_state_dict(content["optimiser_d"])
    except (CheckpointError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not fit this run ({str(error).splitlines()[0]}): train in another "
            "folder, or start from its weights with --init-from"
        ) from error
    state.step = int(content["step"])
    state.age = int(content.get("age", 0))


def export_ema(
    state: TrainState, config: TrainConfig, seen_tags: tuple[int, ...], path: Path
) -> None:
    """Write the averaged generator as a serving checkpoint."""
    info = CheckpointInfo(
        config.size,
        state.age + state.step,
        state.class_map,
        seen_tags,
        config.license,
        loss_networks=state.loss_networks,
        kind=config.kind,
    )
    save_generator(path, state.ema, info)
