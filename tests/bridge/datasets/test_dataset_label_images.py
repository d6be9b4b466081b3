"""Label images in every coding give the same ids, and what is uncertain is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from label_pictures import (
    HEIGHT,
    WIDTH,
    indexed,
    photograph,
    save,
    street_colors,
    street_ids,
    street_tags,
)
from PIL import Image

from sim2street.bridge.datasets.label_images import MAX_STRAY_SHARE, LabelReader
from sim2street.bridge.errors import DatasetError, LabelError
from sim2street.bridge.label_maps import label_map, label_map_names
from sim2street.bridge.labels import PALETTE, Tag

WITH_COLORS = [name for name in label_map_names() if label_map(name).colors]


def read(path: Path, naming: str = "carla") -> np.ndarray:
    return LabelReader(label_map(naming)).read(path).ids


def read_tags(path: Path, naming: str) -> np.ndarray:
    return label_map(naming).primary[read(path, naming)]


def png(samples: np.ndarray, bits: int, color_type: int = 0) -> bytes:
    """A PNG with `bits` per sample, which Pillow cannot write; samples: (H, W) or (H, W, C)."""
    rows = samples.reshape(len(samples), -1)
    if bits == 16:
        packed = rows.astype(">u2").view(np.uint8).reshape(len(rows), -1)
    else:
        per_byte = 8 // bits
        parts = rows.reshape(len(rows), -1, per_byte).astype(np.uint8)
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        packed = (parts << shifts).sum(axis=2).astype(np.uint8)
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), bits, color_type, 0, 0, 0)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    parts_of_file = (
        chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""),
    )  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts_of_file)


def test_ids_in_every_mode(tmp_path: Path) -> None:
    ids = street_ids("carla")
    zeros, opaque = np.zeros_like(ids), np.full_like(ids, 255)
    grey = Image.fromarray(ids)
    pictures = {
        "L.png": grey,
        "LA.png": Image.merge("LA", (grey, Image.fromarray(opaque))),
        "I;16.png": Image.fromarray(ids.astype(np.uint16)),
        "I.tif": Image.fromarray(ids.astype(np.int32)),
        "red.png": Image.fromarray(np.stack([ids, zeros, zeros], -1)),
        "red_alpha.png": Image.fromarray(np.stack([ids, zeros, zeros, opaque], -1)),
        "blue.png": Image.fromarray(np.stack([zeros, zeros, ids], -1)),
        "grey_rgb.png": Image.fromarray(np.stack([ids, ids, ids], -1)),
        "P_own_palette.png": indexed(ids, PALETTE),
        "P_other_palette.png": indexed(ids, np.arange(256 * 3).reshape(256, 3) % 251),
        "P_grey.png": indexed(ids, np.repeat(np.arange(256), 3).reshape(256, 3)),
        "L.bmp": grey,
        "L.TIF": grey,
    }
    for name, picture in pictures.items():
        assert np.array_equal(read(save(picture, tmp_path / name)), ids), name


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_few_bits_are_not_scaled(tmp_path: Path, bits: int) -> None:
    ids = np.random.default_rng(0).integers(0, 1 << bits, (16, 32)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(ids, bits))
    assert np.array_equal(read(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("naming", WITH_COLORS)
def test_colours_of_every_map(tmp_path: Path, naming: str) -> None:
    expected = label_map(naming).primary[street_ids(naming)]
    rgb = street_colors(naming)
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    for name, picture in {
        "rgb.png": rgb,
        "rgba.png": rgba,
        "P.png": Image.fromarray(rgb).quantize(256),
        "P.bmp": Image.fromarray(rgb).quantize(256),
    }.items():
        assert np.array_equal(read_tags(save(picture, tmp_path / name), naming), expected), name


def test_published_colours() -> None:
    """Spot checks against labels.py, CityScapesPalette.h, label.py, anue_labels.py and SegNet."""
    for naming, color, tag in [
        ("cityscapes-ids", (250, 170, 160), Tag.GROUND),
        ("cityscapes-ids", (0, 0, 142), Tag.CAR),
        ("cityscapes-ids", (153, 153, 153), Tag.POLE),
        ("cityscapes-ids", (0, 0, 0), Tag.UNKNOWN),
        ("cityscapes-train", (119, 11, 32), Tag.BICYCLE),
        ("cityscapes-train", (111, 74, 0), Tag.UNKNOWN),
        ("bdd", (220, 220, 0), Tag.TRAFFIC_SIGN),
        ("bdd", (255, 165, 0), Tag.UNKNOWN),
        ("carla", (157, 234, 50), Tag.ROAD_LINES),
        ("carla", (100, 40, 40), Tag.FENCE),
        ("carla-0.9.13", (100, 40, 40), Tag.FENCE),
        ("carla-0.9.13", (145, 170, 100), Tag.TERRAIN),
        ("carla-0.9.13", (45, 60, 150), Tag.WATER),
        ("carla-0.9.11", (190, 153, 153), Tag.FENCE),
        ("carla-0.9.11", (250, 170, 160), Tag.OTHER),
        ("camvid11", (60, 40, 222), Tag.SIDEWALK),
        ("camvid32", (128, 0, 192), Tag.ROAD_LINES),
        ("idd-level3", (255, 204, 54), Tag.CAR),
    ]:
        source_map = label_map(naming)
        assert source_map.primary[source_map.ids_by_color[color]] == tag, (naming, color)


def test_indices_of_a_colour_picture_are_not_ids(tmp_path: Path) -> None:
    """`gtFine_color` saved by a program that numbers the colours as it finds them."""
    rgb = street_colors("cityscapes-ids")
    colors, numbers = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    path = save(indexed(numbers.reshape(HEIGHT, WIDTH), colors), tmp_path / "a.png")
    assert np.array_equal(read_tags(path, "cityscapes-ids"), street_tags())
    with pytest.raises(DatasetError, match="colours say something else; its colours are those of"):
        read(path, "idd-lite")
    unknown = (colors.astype(int) + 5).clip(0, 255)
    path = save(indexed(numbers.reshape(HEIGHT, WIDTH), unknown), tmp_path / "b.png")
    with pytest.raises(DatasetError, match="no more palette entries than its numbers 0-6"):
        read(path, "cityscapes-ids")


def test_train_ids_in_cityscapes_colours_keep_their_meaning(tmp_path: Path) -> None:
    path = save(indexed(street_ids("bdd"), PALETTE[1:20]), tmp_path / "a.png")
    for naming in ("bdd", "cityscapes-train", "cityscapes-ids"):
        assert np.array_equal(read_tags(path, naming), street_tags()), naming


def test_a_black_palette_says_nothing(tmp_path: Path) -> None:
    path = save(indexed(street_ids("carla"), np.zeros((256, 3))), tmp_path / "a.png")
    assert np.array_equal(read(path), street_ids("carla"))


@pytest.mark.parametrize("kind", ["rgb", "indexed"])
def test_few_stray_pixels_become_void_with_one_warning(tmp_path: Path, caplog, kind: str) -> None:
    rgb = street_colors("camvid32")
    expected = street_ids("camvid32")
    rgb[10, 10:13] = (26, 26, 26)
    expected[10, 10:13] = label_map("camvid32").void_id
    picture = Image.fromarray(rgb)
    if kind == "indexed":
        picture = picture.quantize(256)
    reader = LabelReader(label_map("camvid32"))
    for name in ("a_L.png", "b_L.png"):
        assert np.array_equal(reader.read(save(picture, tmp_path / name)).ids, expected)
    [record] = caplog.records
    assert "a_L.png: 3 pixels (0.037 %)" in record.message
    assert "(26, 26, 26)" in record.message


def test_many_stray_pixels_are_refused(tmp_path: Path) -> None:
    rgb = street_colors("camvid32")
    count = int(MAX_STRAY_SHARE * WIDTH * HEIGHT) + 1
    rgb.reshape(-1, 3)[:count] = (26, 26, 26)
    with pytest.raises(LabelError, match=rf"{count} of 8192 pixels have unknown colours"):
        read(save(rgb, tmp_path / "a.png"), "camvid32")


def test_interpolated_colours_and_lossy_formats_are_refused(tmp_path: Path) -> None:
    rgb = Image.fromarray(street_colors("bdd"))
    small = rgb.resize((WIDTH // 3, HEIGHT // 3), Image.Resampling.BILINEAR)
    with pytest.raises(LabelError, match="resized with interpolation or saved as JPEG"):
        read(save(small, tmp_path / "a.png"), "bdd")
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(DatasetError, match="format that changes values"):
            read(save(rgb, tmp_path / name), "bdd")


def test_exchanged_channels_are_told(tmp_path: Path) -> None:
    path = save(np.ascontiguousarray(street_colors("carla")[..., ::-1]), tmp_path / "a.png")
    with pytest.raises(LabelError, match="red and blue exchanged, as OpenCV"):
        read(path, "carla")


def test_colours_of_another_map_are_told(tmp_path: Path) -> None:
    path = save(street_colors("camvid32"), tmp_path / "a.png")
    with pytest.raises(LabelError, match=r"its colours are those of .*camvid32"):
        read(path, "carla")
    with pytest.raises(LabelError, match="has no colours, only ids"):
        read(path, "idd-lite")


def test_photographs_and_instances_are_told(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="or are they photographs"):
        read(save(photograph(), tmp_path / "a.png"), "carla")
    instances = np.stack([street_tags(), photograph()[..., 0], photograph()[..., 1]], -1)
    with pytest.raises(LabelError, match="looks like an instance segmentation"):
        read(save(instances, tmp_path / "b.png"), "carla")
    ids = street_ids("cityscapes-ids").astype(np.uint16)
    with pytest.raises(DatasetError, match=r"ids from 7 to 26003.*instance numbers"):
        read(save(np.where(ids == 26, 26003, ids).astype(np.uint16), tmp_path / "c.png"))


def test_wide_ids(tmp_path: Path) -> None:
    ids = street_ids("cityscapes-ids")
    for name, dtype, missing in (("a.png", np.uint16, 65535), ("a.tif", np.int32, -1)):
        wide = ids.astype(dtype)
        wide[-4:] = missing
        path = save(wide, tmp_path / name)
        assert (read(path, "cityscapes-ids")[-4:] == 255).all()
    with pytest.raises(DatasetError, match=r"scaled to 16 bits \(times 257\)"):
        read(save(ids.astype(np.uint16) * 257, tmp_path / "b.png"), "cityscapes-ids")
    with pytest.raises(DatasetError, match="mode 'F'"):
        read(save(ids.astype(np.float32), tmp_path / "b.tif"), "cityscapes-ids")
    rgb16 = street_colors("bdd").astype(np.uint16) * 257
    (tmp_path / "c.png").write_bytes(png(rgb16, 16, color_type=2))
    with pytest.raises(DatasetError, match="16-bit colour"):
        read(tmp_path / "c.png", "bdd")


def test_licence_plates_of_cityscapes(tmp_path: Path) -> None:
    ids = street_ids("cityscapes-ids")
    ids[-4:-2], ids[-2:] = 34, 255
    tags = read_tags(save(ids, tmp_path / "a.png"), "cityscapes-ids")
    assert (tags[-4:-2] == Tag.CAR).all()
    assert (tags[-2:] == Tag.UNKNOWN).all()


def test_unknown_ids_are_named_with_the_maps_that_have_them(tmp_path: Path) -> None:
    path = save(street_ids("cityscapes-ids"), tmp_path / "a.png")
    with pytest.raises(LabelError, match=r"a\.png: ids \[.*23.*\] are not in .*camvid11.*camvid32"):
        read(path, "camvid11")


def test_labels_are_upright_like_their_photographs(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    stored = np.ascontiguousarray(street_ids("carla")[::-1, ::-1])
    path = save(stored, tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(path), street_ids("carla"))


def test_an_image_without_colour_is_the_colour_black(tmp_path: Path) -> None:
    path = save(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    assert (read(path, "camvid11") == 11).all()  # void, and not the id 0, the sky
