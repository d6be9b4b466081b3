"""Blending of an image with its history keeps the strength of the texture."""

import torch
from torch import Tensor

from sim2street.neural_renderer.networks.blend import blend_history, with_texture_of

HALF = torch.full((1, 1, 64, 96), 0.5)


def textured(seed: int, strength: float = 0.15) -> Tensor:
    """A grey image (1, 3, 64, 96): random grain on a gradient."""
    rng = torch.Generator().manual_seed(seed)
    grain = torch.randn(1, 1, 64, 96, generator=rng) * strength
    slope = torch.linspace(-0.4, 0.4, 96).expand(1, 1, 64, 96)
    return (slope + grain).expand(-1, 3, -1, -1).clamp(-1.0, 1.0)


def strength(image: Tensor) -> float:
    """Standard deviation of the grain of a `textured` image."""
    slope = torch.linspace(-0.4, 0.4, 96).expand(1, 1, 64, 96)
    return float((image[:, :1] - slope).std())


def test_blended_texture_is_as_strong_as_each_of_its_parts() -> None:
    raw, history = textured(1), textured(2)
    mean = torch.lerp(raw, history, HALF)
    assert strength(mean) < 0.75 * strength(raw)
    blended = blend_history(raw, history, HALF)
    assert abs(strength(blended) - strength(raw)) < 0.06 * strength(raw)


def test_restored_texture_is_that_of_the_mixture() -> None:
    raw, history = textured(1), textured(2)
    mixed = torch.lerp(raw, history, 0.7)

    def correlation(a: Tensor, b: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])

    assert correlation(with_texture_of(raw, mixed), mixed) > 0.98


def test_equal_and_flat_images_do_not_change() -> None:
    raw = textured(1)
    torch.testing.assert_close(with_texture_of(raw, raw), raw)
    torch.testing.assert_close(blend_history(raw, textured(2), HALF * 0.0), raw)
    flat = textured(1, strength=0.0)
    torch.testing.assert_close(with_texture_of(flat, flat + 0.1), flat + 0.1, atol=0.01, rtol=0.0)


def test_histories_without_texture_are_not_amplified() -> None:
    flat, raw = textured(1, strength=0.0), textured(2)
    assert strength(with_texture_of(raw, flat)) < 0.02
    assert float(blend_history(raw * 3.0, raw, HALF).abs().max()) <= 1.0


def test_gradients_reach_the_image_and_the_weight() -> None:
    raw, weight = textured(1).clone().requires_grad_(), HALF.clone().requires_grad_()
    blend_history(raw, textured(2), weight).square().sum().backward()
    for tensor in (raw, weight):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert float(tensor.grad.abs().max()) > 0.0
