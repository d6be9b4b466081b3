"""The dtype follows from the processor, whatever the load."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sim2street.neural_renderer.runtimes import precision
from sim2street.neural_renderer.runtimes.precision import chosen_dtype, cpu_flags, preferred_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    cpu_flags.cache_clear()
    yield
    cpu_flags.cache_clear()


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("fpu avx2", torch.float32),
        ("fpu avx512f avx512_bf16", torch.float32),
        ("fpu avx512f avx512_bf16 amx_bf16 amx_tile", torch.bfloat16),
    ],
)
def test_a_cpu_needs_amx_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, dtype: torch.dtype
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: 1\n")
    monkeypatch.setattr(precision, "CPU_INFO", info)
    assert preferred_dtype(CPU) is dtype


def test_systems_without_cpuinfo_use_float32(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "none")
    assert preferred_dtype(CPU) is torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_a_gpu_needs_tensor_cores_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert preferred_dtype(GPU) is dtype


def test_a_named_precision_is_obeyed() -> None:
    assert chosen_dtype("float32", CPU) is torch.float32
    assert chosen_dtype("bfloat16", CPU) is torch.bfloat16
