"""In what trainings compute: bfloat16 where a convolution is clearly faster in it."""

from collections.abc import Iterator

import pytest
import torch

from sim2street.neural_renderer.runtimes import precision
from sim2street.neural_renderer.runtimes.precision import bfloat16_pays

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    bfloat16_pays.cache_clear()
    yield
    bfloat16_pays.cache_clear()


def on_a_cpu(monkeypatch: pytest.MonkeyPatch, capability: str, bfloat16_ms: float) -> None:
    """One whose convolution takes 10 ms in float32."""
    took = {torch.float32: 10.0, torch.bfloat16: bfloat16_ms}
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(precision, "_convolution_s", lambda kind: took[kind] / 1e3)


@pytest.mark.parametrize(
    ("capability", "bfloat16_ms", "pays"),
    [("AVX512", 5.0, True), ("AVX512", 17.0, False), ("AVX512", 9.5, False), ("AVX2", 5.0, False)],
)
def test_avx512_alone_does_not_make_bfloat16_pay(
    monkeypatch: pytest.MonkeyPatch, capability: str, bfloat16_ms: float, pays: bool
) -> None:
    on_a_cpu(monkeypatch, capability, bfloat16_ms)
    assert bfloat16_pays(CPU) is pays


def test_what_it_decided_stays_through_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cpu(monkeypatch, "AVX512", 5.0)
    assert bfloat16_pays(CPU)
    on_a_cpu(monkeypatch, "AVX512", 50.0)
    assert bfloat16_pays(CPU)


def test_timing_draws_nothing_and_works_where_gradients_are_off() -> None:
    state = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        seconds = precision._convolution_s(torch.float32)
    assert 0.0 < seconds < 60.0
    assert torch.equal(torch.get_rng_state(), state)
