"""Packing and sampling of textures, against plain look-ups."""

import numpy as np
import pytest

from sim2street.configs import ConfigError
from sim2street.neural_renderer.canvas.packing import mip_levels, pack
from sim2street.neural_renderer.canvas.sampling import sample
from sim2street.neural_renderer.canvas.surface_map import SurfaceMap, jacobian


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    image[..., 3] = 255
    return image


def flat_map(
    height: int, width: int, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> SurfaceMap:
    """A texture seen head-on: `scale` texels per pixel."""
    surfaces = SurfaceMap.empty(height, width)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    surfaces.texture[:] = 0
    surfaces.texel[0] = x * scale + shift[0]
    surfaces.texel[1] = y * scale + shift[1]
    surfaces.jacobian[0] = surfaces.jacobian[3] = scale
    return surfaces


def test_one_texel_per_pixel_gives_the_texture_softened_by_half_a_pixel() -> None:
    image = np.full((32, 48, 4), 255, np.uint8)
    image[..., :3] = np.linspace(0, 250, 48)[None, :, None]
    made = sample(flat_map(32, 48), pack([image], [(False, False)]))
    np.testing.assert_allclose(made.rgb[:, 4:-4, 0] * 255, image[:, 4:-4, 0], atol=3.0)
    assert (made.coverage == 1.0).all()
    assert not made.level.any()


def test_a_texture_that_repeats_has_no_seam() -> None:
    x = np.arange(64)
    image = np.full((16, 64, 4), 255, np.uint8)
    image[..., :3] = np.rint(127 + 100 * np.sin(2 * np.pi * x / 64))[None, :, None]
    made = sample(flat_map(16, 400, 1.0, (-130.5, 7.0)), pack([image], [(True, True)]))
    wanted = 127 + 100 * np.sin(2 * np.pi * (np.arange(400) - 130.5) / 64)
    np.testing.assert_allclose(made.rgb[8, :, 0] * 255, wanted, atol=4.0)


def test_a_texture_that_does_not_repeat_keeps_its_border() -> None:
    made = sample(flat_map(8, 60, 1.0, (-20.0, 0.0)), pack([texture(8, 16)], [(False, False)]))
    assert np.ptp(made.rgb[:, :17], axis=1).max() < 0.01
    assert np.ptp(made.rgb[:, -20:], axis=1).max() < 0.01


@pytest.mark.parametrize("scale", [2.0, 5.0, 16.0, 100.0])
def test_far_textures_become_their_mean_and_do_not_flicker(scale: float) -> None:
    packed = pack([texture(256, 256)], [(True, True)])
    first = sample(flat_map(40, 40, scale), packed).rgb
    moved = sample(flat_map(40, 40, scale, (0.37 * scale, 0.21 * scale)), packed).rgb
    assert np.abs(first.mean() - moved.mean()) < 0.01
    assert first.std() < 0.30 / min(scale, 16.0) + 0.03


def test_the_mean_light_stays_the_same_at_every_level() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[::2, ::2, :3] = 255
    image[..., 3] = 255
    means = [((level[..., 0] / 255.0) ** 2.2).mean() for level in mip_levels(image)]
    np.testing.assert_allclose(means, 0.25, atol=0.02)


def test_holes_do_not_darken_leaves() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, :, 1] = 200
    image[::2, :, 3] = 255  # every other row is a hole
    made = sample(flat_map(16, 16, 8.0), pack([image], [(True, True)]))
    np.testing.assert_allclose(made.coverage, 0.5, atol=0.02)
    np.testing.assert_allclose(made.rgb[..., 1] * 255, 200, atol=4)


def test_grazing_surfaces_keep_their_detail_across() -> None:
    """Stripes across the short axis of the footprint survive; isotropic mips average them."""
    image = np.full((256, 256, 4), 255, np.uint8)
    image[:, (np.arange(256) // 4) % 2 == 0, :3] = 0
    surfaces = flat_map(64, 64, 1.0)
    surfaces.jacobian[3] = 4.0  # four texels per pixel downwards
    surfaces.texel[1] *= 4.0
    made = sample(surfaces, pack([image], [(True, True)]))
    assert made.rgb[..., 0].std() > 0.35
    surfaces.jacobian[0] = 4.0
    assert sample(surfaces, pack([image], [(True, True)])).rgb[..., 0].std() < 0.2


def test_pixels_without_texture_are_empty_and_tints_multiply() -> None:
    surfaces = flat_map(8, 8)
    surfaces.texture[:4] = -1
    surfaces.tint[:] = 0.5
    grey = np.full((8, 8, 4), 255, np.uint8)
    made = sample(surfaces, pack([grey], [(True, True)]))
    assert not made.rgb[:4].any()
    assert not made.coverage[:4].any()
    np.testing.assert_allclose(made.rgb[4:], 0.5, atol=0.01)


def test_the_same_map_gives_the_same_bits() -> None:
    packed = pack([texture(50, 70, n) for n in range(5)], [(True, False)] * 5)
    surfaces = flat_map(64, 64, 3.3)
    surfaces.texture[:] = np.arange(64) % 5
    first, second = sample(surfaces, packed), sample(surfaces, packed)
    np.testing.assert_array_equal(first.rgb, second.rgb)


def test_differences_stay_inside_of_surfaces() -> None:
    surface = np.array([[1, 1, 2, 2], [1, 1, 2, 2]])
    coordinates = np.array([[[0, 1, 50, 52], [0, 1, 50, 52]], [[0, 0, 9, 9], [3, 3, 10, 10]]])
    made = jacobian(coordinates.astype(np.float32), surface)
    np.testing.assert_array_equal(made[0], [[1, 1, 2, 2]] * 2)
    np.testing.assert_array_equal(made[3], [[3, 3, 1, 1]] * 2)


def test_broken_textures_are_refused() -> None:
    with pytest.raises(ConfigError, match="not empty"):
        pack([np.zeros((0, 4, 4), np.uint8)], [(True, True)])
    with pytest.raises(ConfigError, match="uint8"):
        pack([np.zeros((4, 4, 3), np.uint8)], [(True, True)])
