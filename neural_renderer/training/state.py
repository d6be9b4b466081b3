"""The state of a training run, and its file, from which the same command continues exactly."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.build import SIZES, build_frame_generator
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
from sim2street.neural_renderer.networks.generator import HISTORY_CHANNELS, Generator
from sim2street.neural_renderer.networks.interface import FrameGenerator
from sim2street.neural_renderer.runtimes.precision import preferred_dtype
from sim2street.neural_renderer.training.config import TrainConfig
from sim2street.neural_renderer.weight_files import UnreadableFileError, read_torch_file


@dataclass
class TrainState:
    """Networks, optimisers and the step counter.

    Attributes:
        class_map: tags to label groups.
        generator: learns by gradients.
        ema: moving average of the generator's weights; this is what is exported.
        patch_discriminator: works on raw pixels.
        feature_discriminator: works on features of `efficientnet`, has the segmentation head.
        temporal_discriminator: works on pairs of frames, see `rollout.temporal_pair`.
        vgg, efficientnet: frozen feature networks, loaded from their own files.
        teacher: frozen generator whose images are the targets (distillation).
        loss_networks: sha256 of the files of the frozen feature networks.
        step: steps of this run so far.
        previous_steps: steps behind the weights that the run started from (`--init-from`).
    """

    class_map: ClassMap
    generator: FrameGenerator
    ema: FrameGenerator
    patch_discriminator: PatchDiscriminator
    feature_discriminator: FeatureDiscriminator | None
    temporal_discriminator: PatchDiscriminator | None
    optimiser_g: torch.optim.Adam
    optimiser_d: torch.optim.Adam
    vgg: Vgg16Features | None
    efficientnet: EfficientNetLite0Features | None
    device: torch.device
    teacher: FrameGenerator | None = None
    loss_networks: tuple[str, ...] = ()
    step: int = 0
    previous_steps: int = 0

    def modules(self) -> dict[str, nn.Module]:
        """The networks that are saved, by their names in the file."""
        named: dict[str, nn.Module | None] = {
            "generator": self.generator,
            "ema": self.ema,
            "patch": self.patch_discriminator,
            "semantic": self.feature_discriminator,
            "temporal": self.temporal_discriminator,
        }
        return {name: module for name, module in named.items() if module is not None}

    def autocast(self) -> torch.autocast:
        """Mixed precision in bfloat16 on devices where it is faster."""
        kind = self.device.type
        enabled = preferred_dtype(self.device) is torch.bfloat16
        return torch.autocast(kind, torch.bfloat16, enabled=enabled)


def build_state(config: TrainConfig, device: torch.device) -> TrainState:
    """A new state: initial weights from the config's seed, frozen networks from their files.

    Raises:
        ConfigError: unknown generator size, or a missing or unusable file of a feature network.
        CheckpointError: the teacher cannot be read or has other label groups.
    """
    torch.manual_seed(config.seed)
    class_map = ClassMap.default()
    groups = len(class_map.names)
    if config.size not in SIZES:
        raise ConfigError(
            f"unknown generator size '{config.size}'{did_you_mean(config.size, list(SIZES))}"
        )
    teacher = _load_teacher(config, class_map, device)
    generator = build_frame_generator(config.kind, config.size, class_map.names, config.canvas)
    efficientnet = (
        load_efficientnet_lite0(config.efficientnet_lite0) if config.efficientnet_lite0 else None
    )
    vgg = load_vgg16(config.vgg16) if config.vgg16 else None
    patch = PatchDiscriminator()
    feature = (
        FeatureDiscriminator(efficientnet.channels, groups) if efficientnet is not None else None
    )
    temporal = PatchDiscriminator(2 * 3) if config.weights.temporal_adversarial else None
    for module in (generator, patch, feature, temporal, efficientnet, vgg):
        if module is not None:
            module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    discriminators = [d for d in (patch, feature, temporal) if d is not None]
    d_parameters = [p for d in discriminators for p in d.parameters()]
    return TrainState(
        class_map,
        generator,
        copy.deepcopy(generator).requires_grad_(False).eval(),
        patch,
        feature,
        temporal,
        torch.optim.Adam(generator.parameters(), lr=config.lr_generator, betas=(0.0, 0.99)),
        torch.optim.Adam(d_parameters, lr=config.lr_discriminator, betas=(0.0, 0.99)),
        vgg,
        efficientnet,
        device,
        teacher,
        tuple(
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (config.vgg16, config.efficientnet_lite0)
            if path is not None
        ),
    )


def disable_history_map(state: TrainState) -> None:
    """Set the weights of the history input to zero and keep them there.

    The new image of a frame then does not depend on earlier frames; the history only acts where
    it is blended in. Without this, errors feed back through the input and long drives drift.
    """
    for net in (state.generator, state.ema):
        assert isinstance(net, Generator)
        for weight in net.history_weights():
            with torch.no_grad():
                weight[:, -HISTORY_CHANNELS:] = 0.0
            if weight.requires_grad:
                weight.register_hook(_zero_history_gradient)


def _zero_history_gradient(gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[:, -HISTORY_CHANNELS:] = 0.0
    return gradient


def _load_teacher(
    config: TrainConfig, class_map: ClassMap, device: torch.device
) -> FrameGenerator | None:
    if config.teacher is None:
        return None
    teacher, info = load_generator(config.teacher)
    if info.class_map != class_map:
        raise CheckpointError(
            f"{config.teacher} has other label groups than this version of sim2street trains; "
            "use a teacher that was trained with this version"
        )
    return teacher.requires_grad_(False).to(device)


def save_state(state: TrainState, config: TrainConfig, path: Path) -> None:
    """Write everything needed to continue; an interrupted write leaves the old file intact."""
    content: dict[str, Any] = {
        "step": state.step,
        "age": state.previous_steps,
        "config": config.model_dump(mode="json"),
        "modules": {name: module.state_dict() for name, module in state.modules().items()},
        "optimiser_g": state.optimiser_g.state_dict(),
        "optimiser_d": state.optimiser_d.state_dict(),
    }
    part = path.with_suffix(".part")
    try:
        torch.save(content, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch's own error where the disk is full
        kept = f"the state saved before is kept in {path}" if path.exists() else "nothing was saved"
        raise CheckpointError(
            f"cannot write {path} ({str(error).splitlines()[0]}): free some space; {kept}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a file that `save_state` wrote.

    Raises:
        CheckpointError: it is no such file; the reason is in brackets.
    """
    reason = "it has no 'step' and 'modules'"
    try:
        content = read_torch_file(path, device)
    except UnreadableFileError as error:
        content, reason = None, str(error)
    if isinstance(content, dict) and isinstance(content.get("step"), int):
        modules = content.get("modules")
        if isinstance(modules, dict) and all(isinstance(m, dict) for m in modules.values()):
            return content
    raise CheckpointError(f"{path} is no state of a training run ({reason})")


def load_state(state: TrainState, config: TrainConfig, path: Path) -> None:
    """Continue from a saved state.

    Raises:
        CheckpointError: unreadable, or written by a run with other networks.
    """
    try:
        content = read_state(path, state.device)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: remove it to train from the start, or train in another folder; "
            "`sim2street train --init-from` starts from other weights, such as the last "
            "generator.safetensors"
        ) from error
    reason = _other_networks(state, config, content)
    try:
        if not reason:
            for name, module in state.modules().items():
                module.load_state_dict(content["modules"][name], strict=True)
            state.optimiser_g.load_state_dict(content["optimiser_g"])
            state.optimiser_d.load_state_dict(content["optimiser_d"])
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split()[:30])
    if reason:
        raise CheckpointError(
            f"{path} was written by a run with other networks ({reason}): train in another folder, "
            "or start from its weights with `sim2street train --init-from`"
        )
    state.step = int(content["step"])
    state.previous_steps = int(content.get("age", 0))


def _other_networks(state: TrainState, config: TrainConfig, content: Mapping[str, Any]) -> str:
    """How the networks in a state file differ from this run's, in words; "" if they may fit."""
    written: Any = content.get("config")
    if not isinstance(written, dict):
        written = {}
    for key in ("size", "kind"):
        ours = getattr(config, key)
        if written.get(key, ours) != ours:
            return f"its config has {key}: {written[key]}, this one {key}: {ours}"
    missing = sorted(state.modules().keys() - content["modules"].keys())
    if missing:
        return f"it has no network '{missing[0]}', which this config trains"
    return ""


def export_ema(
    state: TrainState, config: TrainConfig, seen_tags: tuple[int, ...], path: Path
) -> None:
    """Write the averaged generator as a checkpoint for serving.

    seen_tags: tags that occur in the training photographs.
    """
    info = CheckpointInfo(
        config.size,
        state.previous_steps + state.step,
        state.class_map,
        seen_tags,
        config.license,
        loss_networks=state.loss_networks,
        kind=config.kind,
        canvas=config.canvas,
    )
    save_generator(path, state.ema, info)
