"""Photographs of every kind that cameras, phones and editors write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_pictures import photograph, save, street_ids
from PIL import Image

from sim2street.bridge.datasets.images import open_image, read_rgb
from sim2street.bridge.errors import DatasetError

ORIENTATION = 0x0112


def with_orientation(rgb: np.ndarray, value: int, path: Path) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return save(rgb, path, exif=exif)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_photographs_are_upright(tmp_path: Path, value: int, suffix: str) -> None:
    """EXIF 2.3: how the stored rows and columns relate to the upright image."""
    upright = photograph()
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[value]  # fmt: skip
    path = with_orientation(np.ascontiguousarray(stored), value, tmp_path / f"a{suffix}")
    rgb = read_rgb(path)
    assert rgb.shape == upright.shape
    assert np.abs(rgb.astype(int) - upright).mean() < 8  # lossy


def test_grey_palette_alpha_and_cmyk_are_converted(tmp_path: Path, caplog) -> None:
    rgb = photograph()
    image = Image.fromarray(rgb)
    grey = image.convert("L")
    alpha = Image.new("L", image.size, 0)
    for name, picture, expected in (
        ("L.png", grey, np.asarray(grey.convert("RGB"))),
        ("LA.png", Image.merge("LA", (grey, alpha)), np.asarray(grey.convert("RGB"))),
        ("RGBA.png", Image.merge("RGBA", (*image.split(), alpha)), rgb),
        ("P.png", image.quantize(256), np.asarray(image.quantize(256).convert("RGB"))),
        ("CMYK.tif", image.convert("CMYK"), rgb),
    ):
        read = read_rgb(save(picture, tmp_path / name))
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - expected).max() <= 2, name
    assert caplog.text.count("CMYK is converted without its colour profile") == 1


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    rgb = read_rgb(save(grey, tmp_path / "a.png"))
    assert rgb.shape == (32, 64, 3)
    assert np.abs(rgb[..., 0] - grey / 257.0).max() < 1.0
    assert (rgb[..., 0] == rgb[..., 2]).all()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((8, 8), 4095, np.uint16), "brightest value is 4095 of 65535"),
        (np.full((8, 8), 0.5, np.float32), "mode 'F'"),
        (np.full((8, 8), 70000, np.int32), "at most 16 bits, got values up to 70000"),
        (np.zeros((8, 8), bool), "mode '1'"),
    ],
)
def test_values_without_a_certain_meaning_are_refused(tmp_path: Path, picture, message) -> None:
    with pytest.raises(DatasetError, match=message):
        read_rgb(save(picture, tmp_path / "a.tif"))


def test_several_images_in_one_file_are_refused(tmp_path: Path) -> None:
    first, second = (Image.fromarray(photograph(seed)) for seed in (0, 1))
    for name in ("a.tif", "a.png", "a.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        with pytest.raises(DatasetError, match="holds 2 images, expected a file for each"):
            read_rgb(tmp_path / name)


def test_a_phone_s_photograph_with_a_preview_is_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(photograph(seed)) for seed in (0, 1))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert np.abs(read_rgb(tmp_path / "a.jpg").astype(int) - photograph()).mean() < 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"PK\x03\x04 and more", "ZIP archive"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x89PNG\r\n\x1a\n not an image", "a.png"),
        (b"no image at all", "not an image"),
    ],
)
def test_unreadable_files_are_explained(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        read_rgb(tmp_path / "a.png")


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = save(photograph(), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="damaged"):
        read_rgb(path)


def test_an_image_beyond_all_sizes_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = save(photograph(), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DatasetError, match=r"a\.png is too large"):
        read_rgb(path)


def test_which_formats_change_values(tmp_path: Path) -> None:
    ids = street_ids("carla")
    lossy = {
        "a.png": False, "a.bmp": False, "a.tif": False, "a.jpg": True, "a.webp": True,
        "b.webp": False,
    }  # fmt: skip
    for name, expected in lossy.items():
        path = save(ids, tmp_path / name, **({"lossless": True} if name == "b.webp" else {}))
        assert open_image(path).is_lossy == expected, name
    renamed = save(ids, tmp_path / "c.jpg").rename(tmp_path / "c.png")
    assert open_image(renamed).is_lossy  # the content counts, not the name
