"""Batches of one put together, and converted to the dtype of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from sim2street.neural_renderer.networks.interface import GeneratorInput, History
from sim2street.neural_renderer.networks.style import StyleCode

Part = TypeVar("Part", GeneratorInput, StyleCode, History)


def stack_inputs(parts: Sequence[GeneratorInput]) -> GeneratorInput:
    """One batch of inputs of equal size."""
    if len(parts) == 1:
        return parts[0]
    stacked = {
        field.name: _stacked([getattr(part, field.name) for part in parts])
        for field in fields(GeneratorInput)
    }
    return GeneratorInput(**stacked)  # type: ignore[arg-type]


def _stacked(planes: Sequence[Tensor | None]) -> Tensor | None:
    """One batch of planes; missing ones become zeros. None where all are missing."""
    known = next((plane for plane in planes if plane is not None), None)
    if known is None:
        return None
    return torch.cat([torch.zeros_like(known) if plane is None else plane for plane in planes])


def stack_histories(parts: Sequence[History | None], x: GeneratorInput) -> History | None:
    """One batch of histories for the inputs `x`; a missing one gets validity 0 everywhere."""
    if len(parts) == 1 or all(part is None for part in parts):
        return parts[0]
    one = x.geometry[:1, :1]
    none = History(one.expand(-1, 3, -1, -1) * 0.0, one * 0.0, one[..., :1, :1] * 0.0)
    filled = [part or none for part in parts]
    return History(
        torch.cat([part.rgb for part in filled]),
        torch.cat([part.validity for part in filled]),
        torch.cat([part.age for part in filled]),
    )


def cast(part: Part, dtype: torch.dtype) -> Part:
    """The same dataclass with its tensors in `dtype`; image tensors in channels-last memory."""

    def converted(tensor: Tensor) -> Tensor:
        tensor = tensor.to(dtype)
        if tensor.dim() != 4:
            return tensor
        return tensor.contiguous(memory_format=torch.channels_last)

    return type(part)(*(converted(getattr(part, field.name)) for field in fields(part)))
