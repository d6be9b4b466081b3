"""The tools that build the free atlas: models, the renderer of sheets, repeating textures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from sim2street.neural_renderer.canvas.atlas import Atlas, Part, Texture, save_atlas
from tools.atlas import page
from tools.atlas.images import seamless, to_linear, to_srgb
from tools.atlas.models import load_obj
from tools.atlas.raster import VIEWS, render
from tools.atlas.signs import SIGNS, weathered
from tools.atlas.tiles import quilt
from tools.atlas.vehicles import spread

OBJ = """mtllib box.mtl
v 0 0 0
v 2 0 0
v 2 0 1
v 0 0 1
v 0 1 0
v 2 1 0
v 2 1 1
v 0 1 1
usemtl far
f 1 2 3 4
usemtl near
f -4 -3 -2 -1
"""


@pytest.fixture
def two_plates(tmp_path: Path) -> Path:
    """Two upright plates of 2 x 1 m; the nearer one, seen from the left, is the second."""
    (tmp_path / "box.mtl").write_text("newmtl far\nKd 1 0 0\nnewmtl near\nKd 0 1 0\nd 0.5\n")
    (tmp_path / "box.obj").write_text(OBJ)
    return tmp_path / "box.obj"


def test_an_obj_model_is_read_with_materials_and_relative_indices(two_plates: Path) -> None:
    model = load_obj(two_plates)
    assert [m.name for m in model.materials] == ["none", "far", "near"]
    assert model.materials[2].opacity == 0.5
    low, high = model.bounds()
    np.testing.assert_allclose(high - low, (2, 1, 1))
    np.testing.assert_array_equal(model.material, [1, 1, 2, 2])


def test_the_nearest_surface_is_seen_and_fills_the_picture(two_plates: Path) -> None:
    model = load_obj(two_plates)
    seen = render(model, VIEWS["side"], (20, 10))
    assert (seen.material == 2).all()
    np.testing.assert_allclose(seen.normal[..., 2], 1.0)
    other_side = render(model, VIEWS["side"] * [[-1], [1], [-1]], (20, 10))
    assert (other_side.material == 1).all()


def test_a_fitted_model_stands_on_the_ground_at_its_size(two_plates: Path) -> None:
    low, high = load_obj(two_plates).fitted((4.0, 1.8, 1.5)).bounds()
    np.testing.assert_allclose(low, (-2, -0.9, 0), atol=1e-9)
    np.testing.assert_allclose(high, (2, 0.9, 1.5), atol=1e-9)


def test_srgb_and_linear_light_are_inverse() -> None:
    value = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(to_srgb(to_linear(value)), value, atol=2e-4)


def test_quilted_and_seamless_textures_repeat() -> None:
    random = np.random.default_rng(0)
    source = np.cumsum(random.random((96, 96, 3), dtype=np.float32) - 0.5, axis=1)
    source = (source - source.min()) / np.ptp(source)
    for picture in (quilt(source, random, 64, 64, 32), seamless(source, 24)):
        inner = np.abs(np.diff(picture, axis=1)).mean()
        border = np.abs(picture[:, 0] - picture[:, -1]).mean()
        assert border < 3 * inner


def test_parts_continue_beyond_the_outline_and_paint_covers_its_seals() -> None:
    kind = np.zeros((9, 9), np.uint8)
    kind[3:6, 1:4] = Part.PAINT
    kind[3:6, 5:8] = Part.PANE
    near = np.stack(np.indices(kind.shape))
    near[0] = np.clip(near[0], 3, 5)
    grown = spread(kind, near)
    assert (grown[:, 1:5] == Part.PAINT).all()
    assert (grown[:, 5:8] == Part.PANE).all()


@pytest.mark.parametrize("name", ["stop", "speed_30", "street_blue", "poster_sea"])
def test_signs_are_drawn_and_weathered(name: str) -> None:
    colour, alpha = weathered(SIGNS[name][1](), np.random.default_rng(0))
    assert colour.shape[:2] == alpha.shape
    assert colour.std() > 0.02
    assert alpha.max() == 1.0


def test_the_page_shows_every_texture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((64, 64, 4), 200, np.uint8)
    roads = [Texture(f"asphalt_{i}", "asphalt", image, 64.0) for i in range(5)]
    save_atlas(tmp_path / "test.atlas", Atlas("test", roads))
    out = tmp_path / "page.png"
    arguments = ["page", str(tmp_path / "test.atlas"), str(out), "--width", "200"]
    monkeypatch.setattr("sys.argv", arguments)
    page.main()
    assert out.stat().st_size > 500
