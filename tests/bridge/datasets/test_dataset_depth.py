"""Depth in every coding, and what is no depth, or in another unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_pictures import HEIGHT, WIDTH, save, street_tags
from PIL import Image

from sim2street.bridge.datasets.depth_images import Coding, DepthImage, read_depth
from sim2street.bridge.datasets.depth_scale import DepthCheck, camera_height_m
from sim2street.bridge.errors import DatasetError

FOCAL_PX = 100.0
HEIGHT_M = 1.6


def street_depth_m(height_m: float = HEIGHT_M) -> np.ndarray:
    """Planar depth of the street: a flat road below the middle row, houses, the sky."""
    rows = np.arange(HEIGHT)[:, None] - (HEIGHT / 2 - 0.5)
    plane = FOCAL_PX * height_m / np.maximum(rows, 0.5)
    depth_m = np.repeat(np.where(rows > 0, plane, 1000.0), WIDTH, axis=1)
    depth_m[(depth_m >= 1000.0) & (street_tags() != 11)] = 40.0
    return depth_m.astype(np.float32)


def carla_code(depth_m: np.ndarray) -> np.ndarray:
    code = np.round(depth_m.astype(np.float64) / 1000.0 * (2**24 - 1)).astype(np.uint32)
    return np.stack([code & 255, code >> 8 & 255, code >> 16], -1).astype(np.uint8)


def image(depth_m: np.ndarray, coding: Coding = "float") -> DepthImage:
    missing = np.isnan(depth_m)
    return DepthImage(np.where(missing, 1000.0, depth_m).astype(np.float32), missing, coding)


def judge(depth: DepthImage, unit: str = "auto", tags: np.ndarray | None = None) -> None:
    check = DepthCheck("depth", unit)
    check.add(depth, street_tags() if tags is None else tags, FOCAL_PX)
    check.conclude()


def array(values: np.ndarray, path: Path) -> Path:
    with path.open("wb") as file:  # `np.save` would append .npy to e.NPY
        np.save(file, values)
    return path


def test_every_coding_gives_metres(tmp_path: Path) -> None:
    depth_m = street_depth_m()
    depth_m[(depth_m > 250.0) & (depth_m < 1000.0)] = 250.0
    kitti = np.where(depth_m < 256, depth_m * 256, 0).astype(np.uint16)
    code = carla_code(depth_m)
    files = {
        "24-bit": save(code, tmp_path / "a.png"),
        "24-bit ": save(np.dstack([code, np.full_like(code[..., 0], 255)]), tmp_path / "b.PNG"),
        "16-bit": save(kitti, tmp_path / "c.png"),
        "float": array(depth_m, tmp_path / "d.npy"),
        "float ": array(depth_m.astype(np.float64)[..., None], tmp_path / "e.NPY"),
        "float  ": save(Image.fromarray(depth_m), tmp_path / "f.tif"),
    }
    for coding, path in files.items():
        depth = read_depth(path)
        assert depth.coding == coding.strip()
        assert depth.depth_m.dtype == np.float32
        np.testing.assert_allclose(depth.depth_m, depth_m, atol=0.005)
        assert depth.missing.any() == (coding == "16-bit")
        judge(depth)


def test_units(tmp_path: Path) -> None:
    depth_m = np.minimum(street_depth_m(), 60.0)
    for unit, factor in {"mm": 1000.0, "cm": 100.0, "m": 1.0}.items():
        path = save(np.round(depth_m * factor).astype(np.uint16), tmp_path / f"{unit}.png")
        np.testing.assert_allclose(read_depth(path, unit).depth_m, depth_m, atol=0.6 / factor)
    normalised = array(street_depth_m() / 1000.0, tmp_path / "a.npy")
    np.testing.assert_allclose(read_depth(normalised, "km").depth_m, street_depth_m(), rtol=1e-5)
    integers = array((depth_m * 1000).astype(np.uint16), tmp_path / "b.npy")
    np.testing.assert_allclose(read_depth(integers, "mm").depth_m, depth_m, atol=0.01)
    with pytest.raises(DatasetError, match="has no unit to choose"):
        read_depth(save(carla_code(depth_m), tmp_path / "c.png"), "mm")


def test_missing_and_infinite_depth_is_far_away(tmp_path: Path) -> None:
    path = array(np.array([[np.inf, np.nan, 3.0]], np.float32), tmp_path / "d.npy")
    assert read_depth(path).depth_m.tolist() == [[1000.0, 1000.0, 3.0]]
    path = save(np.array([[0, 768]], np.uint16), tmp_path / "d.png")
    assert read_depth(path).depth_m.tolist() == [[1000.0, 3.0]]


def test_logarithmic_and_grey_depth_is_refused(tmp_path: Path) -> None:
    logarithmic = 255 * (1 + np.log(street_depth_m() / 1000.0) / 5.70378)
    grey = logarithmic.clip(0, 255).astype(np.uint8)
    with pytest.raises(DatasetError, match=r"red, green and blue are equal.*Raw"):
        read_depth(save(np.stack([grey] * 3, -1), tmp_path / "a.png"))
    with pytest.raises(DatasetError, match="got 8 bits"):
        read_depth(save(grey, tmp_path / "b.png"))
    with pytest.raises(DatasetError, match="format that changes values"):
        read_depth(
            save(carla_code(street_depth_m()), tmp_path / "c.jpg").rename(tmp_path / "c.png")
        )
    sky = save(np.full((8, 8, 3), 255, np.uint8), tmp_path / "d.png")
    assert (read_depth(sky).depth_m == 1000.0).all()


def test_exchanged_channels_are_refused(tmp_path: Path) -> None:
    swapped = np.ascontiguousarray(carla_code(street_depth_m())[..., ::-1])
    with pytest.raises(DatasetError, match="red and blue are exchanged"):
        read_depth(save(swapped, tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([["far"]]), "expected depths in metres"),
        (np.zeros((2, 2, 2), np.float32), r"shape \(H, W\), got \(2, 2, 2\)"),
        (np.full((4, 4), 0.4, np.float32), "no depth is above 0.4; .*--depth-unit km"),
        (np.array([[-1.0, 5.0]], np.float32), "depth down to -1"),
        (
            np.full((4, 4), 5000, np.uint16),
            "whole numbers .* choose --depth-unit, one of m, cm",
        ),
    ],
)
def test_arrays_that_are_no_metres_are_refused(tmp_path: Path, values, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_depth(array(values, tmp_path / "a.npy"))
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_broken_arrays_are_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.npy is not a plain array"):
        read_depth(tmp_path / "a.npy")


def test_nothing_beyond_a_metre_is_no_street(tmp_path: Path) -> None:
    only_red = np.zeros((8, 8, 3), np.uint8)
    only_red[..., 0] = np.arange(64).reshape(8, 8)
    with pytest.raises(DatasetError, match=r"nothing is farther than 0\.00376 m"):
        read_depth(save(only_red, tmp_path / "a.png"))


@pytest.mark.parametrize("height_m", [0.3, 1.2, 1.6, 2.8, 12.0])
@pytest.mark.parametrize("horizon_shift", [-6, 0, 10])
def test_the_camera_s_height_whatever_its_pitch(height_m: float, horizon_shift: int) -> None:
    rows = np.arange(HEIGHT)[:, None] - (HEIGHT / 2 + horizon_shift)
    depth_m = np.repeat(FOCAL_PX * height_m / np.maximum(rows, 0.1), WIDTH, 1).astype(np.float32)
    tags = np.where(rows > 1, 1, 11).repeat(WIDTH, 1).astype(np.uint8)
    found = camera_height_m(image(depth_m), tags, FOCAL_PX)
    assert found == pytest.approx(height_m, rel=0.02)


@pytest.mark.parametrize(
    ("factor", "suggestion"), [(1000 / 256, "--depth-unit mm"), (100 / 256, "--depth-unit cm")]
)
def test_other_units_in_16_bits_are_told_by_the_road(factor: float, suggestion: str) -> None:
    depth = image(street_depth_m() * factor, "16-bit")
    with pytest.raises(DatasetError, match=f"m above the road; expected .*{suggestion} "):
        judge(depth)
    judge(depth, unit="m/256")  # the user says so


@pytest.mark.parametrize(("factor", "suggestion"), [(1000.0, "mm"), (100.0, "cm"), (0.001, "km")])
def test_other_units_of_numbers_are_told_by_the_road(factor: float, suggestion: str) -> None:
    with pytest.raises(DatasetError, match=f"--depth-unit {suggestion} "):
        judge(image(street_depth_m() * factor))


def test_disparity_and_lidar_are_refused() -> None:
    disparity = (200.0 / street_depth_m()).astype(np.float32)
    with pytest.raises(DatasetError, match=r"gets farther towards the bottom.*disparity"):
        judge(image(disparity, "16-bit"))
    sparse = street_depth_m()
    sparse[np.random.default_rng(0).random(sparse.shape) < 0.9] = np.nan
    with pytest.raises(DatasetError, match=r"% of the road has no depth.*LiDAR"):
        judge(image(sparse, "16-bit"))


def test_without_a_road_the_unit_is_a_warned_guess(caplog) -> None:
    judge(image(street_depth_m(), "16-bit"), tags=np.full((HEIGHT, WIDTH), 3, np.uint8))
    assert "taken as metres * 256; without a road this cannot be checked" in caplog.text
    caplog.clear()
    judge(image(street_depth_m()), tags=np.full((HEIGHT, WIDTH), 3, np.uint8))
    assert not caplog.records
