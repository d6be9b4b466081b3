"""A picture and its history become one without getting flat."""

import torch
from torch import Tensor

from sim2street.neural_renderer.networks.motion import blend_history, with_texture_of

HALF = torch.full((1, 1, 64, 96), 0.5)


def textured(seed: int, strength: float = 0.15) -> Tensor:
    """A grey picture (1, 3, 64, 96) with a grain of its own, on a slope of brightness."""
    rng = torch.Generator().manual_seed(seed)
    grain = torch.randn(1, 1, 64, 96, generator=rng) * strength
    slope = torch.linspace(-0.4, 0.4, 96).expand(1, 1, 64, 96)
    return (slope + grain).expand(-1, 3, -1, -1).clamp(-1.0, 1.0)


def strength(picture: Tensor) -> float:
    slope = torch.linspace(-0.4, 0.4, 96).expand(1, 1, 64, 96)
    return float((picture[:, :1] - slope).std())


def test_a_mixture_of_different_textures_is_as_strong_as_one_of_them() -> None:
    raw, history = textured(1), textured(2)
    mean = torch.lerp(raw, history, HALF)
    assert strength(mean) < 0.75 * strength(raw)
    blended = blend_history(raw, history, HALF)
    assert abs(strength(blended) - strength(raw)) < 0.06 * strength(raw)


def test_what_is_restored_is_the_mixture_and_no_other_texture() -> None:
    raw, history = textured(1), textured(2)
    mixed = torch.lerp(raw, history, 0.7)

    def alike(a: Tensor, b: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])

    assert alike(with_texture_of(raw, mixed), mixed) > 0.98


def test_equal_pictures_and_flat_ones_stay_as_they_are() -> None:
    raw = textured(1)
    torch.testing.assert_close(with_texture_of(raw, raw), raw)
    torch.testing.assert_close(blend_history(raw, textured(2), HALF * 0.0), raw)
    flat = textured(1, strength=0.0)
    torch.testing.assert_close(with_texture_of(flat, flat + 0.1), flat + 0.1, atol=0.01, rtol=0.0)


def test_a_history_without_texture_is_not_blown_up() -> None:
    flat, raw = textured(1, strength=0.0), textured(2)
    assert strength(with_texture_of(raw, flat)) < 0.02
    assert float(blend_history(raw * 3.0, raw, HALF).abs().max()) <= 1.0


def test_gradients_reach_the_new_picture_and_what_is_kept() -> None:
    raw, keep = textured(1).clone().requires_grad_(), HALF.clone().requires_grad_()
    blend_history(raw, textured(2), keep).square().sum().backward()
    for tensor in (raw, keep):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert float(tensor.grad.abs().max()) > 0.0
