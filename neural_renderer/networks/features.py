"""Frozen pretrained feature networks for losses and discriminators, read from local files.

Nothing is downloaded. `load_vgg16` and `load_efficientnet_lite0` read the usual public weights
from .pth or .safetensors files: torchvision's VGG16 (keys `features.N.weight`) and EfficientNet-
Lite0 (keys `_blocks.N._depthwise_conv.weight`, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim2street.configs import ConfigError
from sim2street.neural_renderer import weight_files

NetT = TypeVar("NetT", bound=nn.Module)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

VGG16_PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512)
"""Convolution widths of VGG16 up to relu4_3; 0 is max pooling (Simonyan & Zisserman, 2015)."""

LITE0_STAGES = (
    (1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (2, 40, 5, 2, 6), (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6), (4, 192, 5, 2, 6), (1, 320, 3, 1, 6),
)  # fmt: skip
"""EfficientNet-Lite0: (blocks, width, kernel, stride, expansion) per stage."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors or .pth file. Raises ConfigError if it cannot be read."""
    if not path.is_file():
        raise ConfigError(
            f"no feature weights at {path}: give the path of a .pth or .safetensors file, or leave "
            "the option out"
        )
    try:
        if path.suffix == ".safetensors":
            return weight_files.read_tensors(path)[0]
        tensors: dict[str, Tensor] = weight_files.read_torch_file(path, torch.device("cpu"))
    except weight_files.UnreadableFileError as error:
        raise ConfigError(
            f"{path} cannot be read as weights ({error}): download or copy the file again"
        ) from error
    if not isinstance(tensors, Mapping):
        raise ConfigError(
            f"{path} holds no tensors by name, but a {type(tensors).__name__}: save a state_dict"
        )
    return tensors


def select_tensors(
    path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """The tensors named in `shapes`.

    Raises:
        ConfigError: a tensor is missing from the file `path`, or has another shape.
    """
    missing = sorted(shapes.keys() - tensors.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(f"{path} holds weights of another network: missing {missing[0]}{more}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ConfigError(
                f"{path} holds weights of another network: expected {name} of shape "
                f"{tuple(shape)}, got {tuple(tensors[name].shape)}"
            )
    return {name: tensors[name] for name in shapes}


def load_torchvision_weights(net: NetT, path: Path) -> NetT:
    """Fill `net` with torchvision's tensors `features.N.weight` and `.bias`, and freeze it."""
    own = {k: v.shape for k, v in net.state_dict().items() if k.startswith("features.")}
    net.load_state_dict(select_tensors(path, read_tensors(path), own), strict=False)
    return net.requires_grad_(False).eval()


class ImageNetInput(nn.Module):
    """Converts RGB in [-1, 1] to ImageNet's mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        """rgb (B, 3, H, W) in [-1, 1]."""
        normalised: Tensor = ((rgb + 1.0) / 2.0 - self.mean) / self.std
        return normalised


class Vgg16Features(nn.Module):
    """The first `taps` of the VGG16 maps relu1_2, relu2_2, relu3_3 and relu4_3."""

    def __init__(self, taps: int = 3) -> None:
        super().__init__()
        self.normalise = ImageNetInput()
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG16_PLAN[: (5, 5, 9, 13)[taps - 1] if taps > 1 else 2]:
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """From RGB (B, 3, H, W) in [-1, 1] to one map per tap."""
        x, taps = self.normalise(rgb), []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in (3, 8, 15, 22):
                taps.append(x)
        return taps


def load_vgg16(path: Path, taps: int = 3) -> Vgg16Features:
    """Frozen VGG16 features with weights from `path`."""
    return load_torchvision_weights(Vgg16Features(taps), path)


class LiteBlock(nn.Module):
    """Inverted residual block of EfficientNet-Lite: no squeeze-excite, ReLU6, folded batch norm."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = cin * expansion
        self.expand = nn.Conv2d(cin, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, cout, 1)
        self.kernel, self.stride, self.skip = kernel, stride, stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        """From (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        h = functional.relu6(self.expand(x)) if self.expand is not None else x
        h = functional.relu6(self.depthwise(_pad_same(h, self.kernel, self.stride)))
        out: Tensor = self.project(h)
        return x + out if self.skip else out


class EfficientNetLite0Features(nn.Module):
    """Feature maps at strides 4, 8, 16, 32 with 24, 40, 112, 320 channels."""

    channels = (24, 40, 112, 320)

    def __init__(self) -> None:
        super().__init__()
        self.normalise = ImageNetInput()
        self.stem = nn.Conv2d(3, 32, 3, 2)
        blocks: list[LiteBlock] = []
        taps: list[int] = []
        cin = 32
        for stage, (repeats, width, kernel, stride, expansion) in enumerate(LITE0_STAGES):
            for i in range(repeats):
                blocks.append(LiteBlock(cin, width, kernel, stride if i == 0 else 1, expansion))
                cin = width
            if stage in (1, 2, 4, 6):
                taps.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.taps = tuple(taps)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """From RGB (B, 3, H, W) in [-1, 1] to four maps."""
        x = functional.relu6(self.stem(_pad_same(self.normalise(rgb), 3, 2)))
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                taps.append(x)
        return taps


def load_efficientnet_lite0(path: Path) -> EfficientNetLite0Features:
    """Frozen EfficientNet-Lite0 features with weights from `path`; batch norm is folded."""
    net = EfficientNetLite0Features()
    tensors = read_tensors(path)

    def fold(conv: nn.Conv2d, conv_name: str, bn: str) -> None:
        _fold(conv, path, tensors, conv_name, bn)

    fold(net.stem, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        assert isinstance(block, LiteBlock)
        name = f"_blocks.{i}"
        if block.expand is not None:
            fold(block.expand, f"{name}._expand_conv", f"{name}._bn0")
        fold(block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1")
        fold(block.project, f"{name}._project_conv", f"{name}._bn2")
    return net.requires_grad_(False).eval()


def _fold(
    conv: nn.Conv2d, path: Path, tensors: Mapping[str, Tensor], conv_name: str, bn: str
) -> None:
    """Fold a batch norm (eps 1e-3) into the convolution before it."""
    width = torch.Size([conv.out_channels])
    norms = (f"{bn}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
    shapes = {f"{conv_name}.weight": conv.weight.shape} | dict.fromkeys(norms, width)
    tensors = select_tensors(path, tensors, shapes)
    scale = tensors[f"{bn}.weight"] / (tensors[f"{bn}.running_var"] + 1e-3).sqrt()
    with torch.no_grad():
        conv.weight.copy_(tensors[f"{conv_name}.weight"] * scale[:, None, None, None])
        assert conv.bias is not None
        conv.bias.copy_(tensors[f"{bn}.bias"] - tensors[f"{bn}.running_mean"] * scale)


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """SAME padding of TensorFlow: an odd pixel goes to the right and bottom."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)
