"""Files of tensors: permissions, what a wrong file is said to be, and devices by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.untrained import untrained_weights

import sim2street
from sim2street.bridge.style_files import StyleError, read_style_file
from sim2street.configs import ConfigError
from sim2street.neural_renderer.checkpoint import CheckpointError, load_generator
from sim2street.neural_renderer.networks.features import load_vgg16
from sim2street.neural_renderer.runtimes.devices import chosen_device
from sim2street.neural_renderer.styles.files import StyleError as SameStyleError
from sim2street.neural_renderer.styles.files import read_styles
from sim2street.neural_renderer.weight_files import write_bytes, write_tensors

WEIGHTS = Path(sim2street.__file__).parent / "neural_renderer" / "weights" / "tiny"


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_of_tensors_follow_the_umask(umask, mask, expected, tmp_path: Path) -> None:
    umask(mask)
    write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
    assert mode(tmp_path / "a.safetensors") == expected
    weights, styles = untrained_weights(tmp_path)
    assert [mode(path) for path in (weights, *styles.iterdir())] == [expected] * 3


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "in the way").write_text("")
    with pytest.raises(OSError, match="a"):
        write_bytes(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def wrong_files(folder: Path) -> dict[str, str]:
    """Files that are no weights, and what each is said to be."""
    whole = (WEIGHTS / "tiny.safetensors").read_bytes()
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "folder.safetensors").mkdir()
    (folder / "text.safetensors").write_text("these are no weights\n" * 9)
    (folder / "noise.safetensors").write_bytes(np.random.default_rng(0).bytes(4096))
    (folder / "cut.safetensors").write_bytes(whole[:100_000])
    (folder / "cut_header.safetensors").write_bytes(whole[:100])
    torch.save({"x": torch.zeros(2)}, folder / "state.safetensors")
    save_file({"x": torch.zeros(2)}, folder / "other.safetensors")
    for name, version in (("old", "0"), ("bare", "1")):
        metadata = {"format": f"sim2street-generator/{version}"}
        save_file({"x": torch.zeros(2)}, folder / f"{name}.safetensors", metadata)
    shutil.copy(WEIGHTS / "styles" / "day.safetensors", folder / "style.safetensors")
    return {
        "none": "no weights at",
        "empty": "it is empty",
        "folder": "it is a folder",
        "text": "it is a text file",
        "noise": "it is no safetensors file",
        "cut": f"it is cut off: 100000 of {len(whole)} bytes",
        "cut_header": "it is cut off",
        "state": "it is a PyTorch file",
        "other": "a safetensors file of something else",
        "old": "reads format sim2street-generator/1, got sim2street-generator/0",
        "bare": "damaged or incomplete",
        "style": "is a style, not weights",
    }


def test_wrong_files_of_weights_are_told_apart(tmp_path: Path) -> None:
    for name, reason in wrong_files(tmp_path).items():
        with pytest.raises(CheckpointError) as caught:
            load_generator(tmp_path / f"{name}.safetensors")
        assert reason in str(caught.value), name
        assert name in str(caught.value)


def test_wrong_style_files_are_told_apart(tmp_path: Path) -> None:
    assert SameStyleError is StyleError
    reasons = wrong_files(tmp_path)
    for name in ("empty", "folder", "text", "noise", "cut", "cut_header", "state", "other"):
        with pytest.raises(StyleError, match="is not a style file") as caught:
            read_style_file(tmp_path / f"{name}.safetensors")
        assert reasons[name].split(":")[0] in str(caught.value)
    with pytest.raises(StyleError, match=r"there is no such file.*sim2street style make"):
        read_style_file(tmp_path / "none.safetensors")
    with pytest.raises(StyleError, match="got sim2street-generator/1"):
        read_style_file(WEIGHTS / "tiny.safetensors")
    assert read_style_file(tmp_path / "style.safetensors").name == "day"


def test_two_styles_of_one_name_are_refused(tmp_path: Path) -> None:
    _, info = load_generator(WEIGHTS / "tiny.safetensors")
    shutil.copy(WEIGHTS / "styles" / "day.safetensors", tmp_path / "mine.safetensors")
    with pytest.raises(StyleError, match=r"two styles are named 'day': .*mine\.safetensors"):
        read_styles([WEIGHTS / "styles", tmp_path], info.sha256)
    assert read_styles([tmp_path / "nowhere"], info.sha256) == {}


def test_wrong_feature_networks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello\n" * 50)
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    shutil.copy(WEIGHTS / "tiny.safetensors", tmp_path / "renamed.pth")
    for name, reason in (
        ("text", "it is a text file"),
        ("empty", "it is empty"),
        ("list", "but a list"),
        ("renamed", "it is a safetensors file"),
    ):
        with pytest.raises(ConfigError, match=reason):
            load_vgg16(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("name", ["gpu", "cuda:one", "", "meta", "cpu:", "GPU0"])
def test_unknown_devices_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected auto, cpu, cuda.*got '{name}'"):
        sim2street.load_renderer("tiny", device=name)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps", "xpu"])
def test_devices_that_this_machine_lacks_are_explained(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    else:
        pytest.skip(f"this machine has {name}")
    with pytest.raises(ConfigError, match=f"device {name}.*auto") as caught:
        sim2street.load_renderer("tiny", device=name)
    assert len(str(caught.value)) < 300


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines without CUDA, PyTorch's answers stand in for those of a build with it."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"finds no NVIDIA GPU.*nvidia-smi"):
        chosen_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="there is no such GPU; this machine has cuda:0, cuda:1"):
        chosen_device("cuda:7")


def test_known_devices() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type in ("cpu", "cuda")
