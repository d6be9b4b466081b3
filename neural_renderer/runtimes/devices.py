"""Choice of the device that the networks run on, with errors that say what this machine has."""

from __future__ import annotations

import torch

from sim2street.configs import ConfigError, did_you_mean

AUTO = "auto"
"""A CUDA GPU where there is one that works, else the CPU."""

KINDS = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices that have been thought of; others are refused."""


def chosen_device(name: str) -> torch.device:
    """The device of a name: "auto", "cpu", "cuda", "cuda:1", "mps", ...

    Raises:
        ConfigError: the name is unknown, or this machine or this PyTorch has no such device.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if kind not in KINDS or (colon and not number.isdecimal()):
        hint = "; did you mean 'cuda'?" if kind == "gpu" else did_you_mean(kind, [AUTO, *KINDS])
        raise ConfigError(
            f"device: expected {AUTO}, cpu, cuda, a certain GPU such as cuda:1, or mps, "
            f"got '{name}'{hint}"
        )
    if kind == "cuda":
        _check_cuda(name, int(number or 0))
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).add_(1.0).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ConfigError(
            f"device {name} cannot be used on this machine ({reason}): choose auto or cpu"
        ) from error
    return device


def _check_cuda(name: str, index: int) -> None:
    """Raise ConfigError unless there is a GPU of this number."""
    if not torch.backends.cuda.is_built():
        raise ConfigError(
            f"device {name}: this PyTorch ({torch.__version__}) was built without CUDA: choose "
            "auto or cpu, or install a build of PyTorch with CUDA (https://pytorch.org)"
        )
    count = torch.cuda.device_count()
    if not count:
        raise ConfigError(
            f"device {name}: PyTorch finds no NVIDIA GPU: choose auto or cpu; if there is one, see "
            "whether `nvidia-smi` shows it, and that CUDA_VISIBLE_DEVICES does not hide it"
        )
    if index >= count:
        known = ", ".join(f"cuda:{number}" for number in range(count))
        raise ConfigError(f"device {name}: there is no such GPU; this machine has {known}")
