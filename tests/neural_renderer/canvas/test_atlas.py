"""The atlas file: what is written is read, what is damaged or too large is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sim2street.neural_renderer.canvas import atlas as module
from sim2street.neural_renderer.canvas.atlas import (
    GROUPS,
    Atlas,
    AtlasError,
    Part,
    Texture,
    atlas_from_bytes,
    atlas_to_bytes,
    default_atlas_path,
    load_atlas,
    save_atlas,
)

FACADE_META: dict[str, Any] = {
    "ground": [[0, 0, 32, 32]],
    "storey": [[32, 0, 32, 32]],
    "panes": [[40, 8, 8, 16]],
    "top": [0, 32, 32, 8],
    "blank": [32, 32, 32, 32],
    "bay_m": 2.8,
    "storey_m": 2.9,
    "ground_m": 3.2,
    "cornice_m": 0.5,
}


def smooth(height: int = 64, width: int = 64, alpha: int = 255) -> np.ndarray:
    """A picture that WebP keeps almost exactly."""
    image = np.full((height, width, 4), alpha, np.uint8)
    image[..., 0] = np.linspace(40, 200, width).astype(np.uint8)
    image[..., 1:3] = 90
    return image


def facade(**changes: Any) -> Texture:
    parts = np.zeros((64, 64), np.uint8)
    parts[8:24, 40:48] = Part.PANE
    meta = {**FACADE_META, **changes}
    return Texture("facade_plain", "facade", smooth(), 48.0, (False, False), meta, parts)


def road() -> Texture:
    return Texture("asphalt_plain", "asphalt", smooth(), 64.0, (True, True))


def leaf() -> Texture:
    image = smooth()
    image[:32, :, 3] = 0
    return Texture("foliage_half", "foliage", image, 40.0, (True, True))


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """An atlas file with its JSON changed."""
    source, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == "atlas.json":
                header = json.loads(content)
                change(header)
                content = json.dumps(header).encode()
            archive.writestr(name, content)
    return out.getvalue()


def test_a_saved_atlas_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "test.atlas"
    save_atlas(path, Atlas("test", [road(), facade(), leaf()], "CC0"))
    atlas = load_atlas(path)
    assert (atlas.name, atlas.licence, len(atlas)) == ("test", "CC0", 3)
    for before, after in zip([road(), facade(), leaf()], atlas.textures, strict=True):
        assert replace(after, image=before.image, parts=None) == replace(before, parts=None)
        assert after.image.shape == before.image.shape
        opaque = before.image[..., 3] > 0
        gap = np.abs(after.image.astype(int) - before.image)[opaque]
        assert gap.max() <= 8
        np.testing.assert_array_equal(after.image[..., 3], before.image[..., 3])
    parts = atlas.textures[1].parts
    assert parts is not None
    np.testing.assert_array_equal(parts, facade().parts)


def test_equal_atlases_are_equal_files_with_an_equal_hash() -> None:
    first, second = (Atlas("test", [road(), facade()]) for _ in range(2))
    assert atlas_to_bytes(first) == atlas_to_bytes(second)
    assert first.sha256 == second.sha256
    assert first.sha256 != Atlas("test", [road(), facade(bay_m=3.0)]).sha256
    assert first.sha256 != Atlas("test", [replace(road(), image=smooth() // 2 + 127)]).sha256


def test_textures_are_found_by_name_and_group() -> None:
    atlas = Atlas("test", [leaf(), road(), replace(road(), name="asphalt_other")])
    assert atlas.index("asphalt_other") == 2
    assert atlas.groups["asphalt"] == (1, 2)
    assert atlas.groups["sky"] == ()
    assert set(atlas.groups) == set(GROUPS)
    with pytest.raises(AtlasError, match="no texture 'brick'"):
        atlas.index("brick")


@pytest.mark.parametrize(
    ("texture", "message"),
    [
        (replace(road(), name="Road 1"), "not a texture name"),
        (replace(road(), group="lava"), "unknown group"),
        (replace(road(), image=smooth()[..., :3]), r"expected uint8 \(H, W, 4\)"),
        (replace(road(), image=smooth(48)), "no power of two"),
        (replace(road(), px_per_m=float("nan")), "px_per_m"),
        (replace(road(), parts=np.zeros((8, 8), np.uint8)), "part map"),
        (replace(road(), parts=np.full((64, 64), 9, np.uint8)), "not one of Part"),
        (facade(ground=[]), "list of rectangles"),
        (facade(storey=[[40, 0, 32, 32]]), "exceeds the sheet"),
        (facade(top=[0, 0, 0, 4]), "is not a rectangle"),
        (facade(blank=[0, 0, 4.5, 4]), "is not .left, top, width, height"),
        (facade(bay_m=0), "not metres"),
        (replace(facade(), px_per_m=0.0), "no px_per_m"),
    ],
)
def test_a_texture_that_is_not_what_it_says_is_refused(texture: Texture, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        Atlas("test", [texture])


def test_two_textures_of_one_name_and_an_empty_atlas_are_refused() -> None:
    with pytest.raises(AtlasError, match="asphalt_plain"):
        Atlas("test", [road(), road()])
    with pytest.raises(AtlasError, match="no textures"):
        Atlas("test", [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "../road", "not a texture name"),
        ("group", "lava", "unknown group"),
        ("px_per_m", "64", "px_per_m"),
        ("wrap", [1, 0], "two booleans"),
        ("meta", [], "lacks the object"),
        ("parts", None, "lacks the object"),
    ],
)
def test_a_header_with_a_wrong_entry_is_refused(key: str, value: Any, message: str) -> None:
    def change(header: dict[str, Any]) -> None:
        header["textures"][0][key] = value

    with pytest.raises(AtlasError, match=message):
        atlas_from_bytes(edited(atlas_to_bytes(Atlas("test", [road()])), change), "test")


def test_other_formats_and_versions_are_refused() -> None:
    data = atlas_to_bytes(Atlas("test", [road()]))
    with pytest.raises(AtlasError, match="version 7"):
        atlas_from_bytes(edited(data, lambda header: header.update(version=7)), "test")
    with pytest.raises(AtlasError, match="does not say format"):
        atlas_from_bytes(edited(data, lambda header: header.update(format="zip")), "test")
    with pytest.raises(AtlasError, match="list of at most"):
        atlas_from_bytes(edited(data, lambda header: header.update(textures={})), "test")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    data = atlas_to_bytes(Atlas("test", [road()]))
    for broken in (b"", b"PK", data[: len(data) // 2], bytes(len(data))):
        with pytest.raises(AtlasError):
            atlas_from_bytes(broken, "test")
    with pytest.raises(AtlasError, match="cannot read"):
        load_atlas(tmp_path / "missing.atlas")


def test_a_missing_or_foreign_image_is_refused() -> None:
    data = atlas_to_bytes(Atlas("test", [road()]))

    def rename(header: dict[str, Any]) -> None:
        header["textures"][0]["name"] = "asphalt_gone"

    with pytest.raises(AtlasError, match="damaged"):
        atlas_from_bytes(edited(data, rename), "test")
    png = io.BytesIO()
    Image.fromarray(smooth()).save(png, "PNG")
    with pytest.raises(AtlasError, match="cannot decode"):
        atlas_from_bytes(data[:0] + _with_image(data, png.getvalue()), "test")


def _with_image(data: bytes, image: bytes) -> bytes:
    source, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, image if name.endswith("webp") else source.read(name))
    return out.getvalue()


def test_large_images_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = atlas_to_bytes(Atlas("test", [road(), leaf()]))
    monkeypatch.setattr(module, "MAX_TEXELS", 64 * 64 + 1)
    with pytest.raises(AtlasError, match="foliage_half"):
        atlas_from_bytes(data, "test")
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(data) - 1)
    with pytest.raises(AtlasError, match="at most"):
        atlas_from_bytes(data, "test")


def test_compressed_archives_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("atlas.json", "{}" * 1000)
    with pytest.raises(AtlasError, match="compressed"):
        atlas_from_bytes(out.getvalue(), "test")


@pytest.fixture(scope="module")
def free() -> Atlas:
    return load_atlas(default_atlas_path())


LEAST = {
    "asphalt": 8,
    "road_marking": 2,
    "paving": 12,
    "kerb": 1,
    "grass": 3,
    "soil": 1,
    "gravel": 2,
    "roof": 12,
    "facade": 30,
    "vehicle": 10,
    "foliage": 6,
    "hedge": 3,
    "bark": 3,
    "sign": 12,
    "fence": 3,
    "sky": 8,
    "person_cloth": 4,
}


def test_the_free_atlas_has_every_group_and_stays_small(free: Atlas) -> None:
    assert default_atlas_path().stat().st_size <= 20 * 2**20
    for group in GROUPS:
        assert len(free.groups[group]) >= LEAST.get(group, 1), group
    level_0 = sum(texture.image.size for texture in free.textures)
    assert level_0 * 4 / 3 <= 64 * 2**20


def test_facades_of_the_free_atlas_are_sharp_and_have_panes(free: Atlas) -> None:
    materials = set()
    for index in free.groups["facade"]:
        texture = free.textures[index]
        assert texture.px_per_m >= 48
        assert texture.parts is not None
        assert texture.meta["panes"], texture.name
        materials.add(texture.meta["material"])
        for kind, height in (("ground", "ground_m"), ("storey", "storey_m")):
            for _, _, across, down in texture.meta[kind]:
                assert across == pytest.approx(texture.meta["bay_m"] * texture.px_per_m, abs=1)
                assert down == pytest.approx(texture.meta[height] * texture.px_per_m, abs=1)
        for left, top, across, down in texture.meta["panes"]:
            assert (texture.parts[top : top + down, left : left + across] == Part.PANE).any()
    assert {"plaster", "brick", "stone", "shop", "concrete", "wood"} <= materials


def test_vehicles_of_the_free_atlas_have_four_views_and_parts(free: Atlas) -> None:
    for index in free.groups["vehicle"]:
        texture = free.textures[index]
        assert texture.parts is not None
        assert {*np.unique(texture.parts)} >= {Part.PANE, Part.WHEEL, Part.PAINT}, texture.name
        for view in ("side", "front", "back", "top"):
            left, top, across, down = texture.meta[view]
            inside = texture.image[top : top + down, left : left + across, 3]
            assert inside.shape == (down, across)
            assert (inside > 128).mean() > 0.5


def test_leaves_of_the_free_atlas_have_holes_and_skies_say_where_the_sun_is(free: Atlas) -> None:
    for index in free.groups["foliage"]:
        holes = (free.textures[index].image[..., 3] < 128).mean()
        assert 0.02 < holes < 0.5
    for index in free.groups["sky"]:
        sun = np.array(free.textures[index].meta["sun_direction"])
        assert np.linalg.norm(sun) == pytest.approx(1, abs=1e-3)
        assert sun[2] > 0
