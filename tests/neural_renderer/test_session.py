"""Sessions: state rules, batching, styles and checkpoints, with untrained weights."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from sim2street.bridge.errors import FrameError, RendererError, UnknownSession
from sim2street.bridge.frame import SKY_DEPTH_M, Actor, Camera, View
from sim2street.bridge.renderer import RenderRequest, SessionConfig
from sim2street.neural_renderer.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    load_generator,
    save_generator,
)
from sim2street.neural_renderer.conditions.class_map import ClassMap
from sim2street.neural_renderer.networks.build import build_frame_generator
from sim2street.neural_renderer.runtimes import precision
from sim2street.neural_renderer.session import NeuralRenderer
from sim2street.neural_renderer.styles.files import (
    StyleError,
    style_blob,
    style_to_bytes,
    write_style,
)
from sim2street.neural_renderer.styles.make import compile_style

CAMERA = Camera.from_fov(96, 64, 62.0)
SIZE = (96, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights whose history path is awake, and two styles."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    generator = build_frame_generator("few-shot", "tiny", ClassMap.default().names)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    info = CheckpointInfo("tiny", 7, ClassMap.default(), tuple(range(1, 20)), "test only")
    save_generator(root / "tiny.safetensors", generator, info)
    generator, info = load_generator(root / "tiny.safetensors")
    (root / "styles").mkdir()
    for seed, name in enumerate(("day", "dusk")):
        rng = torch.Generator().manual_seed(seed)
        rgb = [torch.rand(3, 64, 96, generator=rng) * 2 - 1]
        tags = torch.zeros(29, 64, 96, dtype=torch.uint8)
        tags[1 + seed] = 1
        style = compile_style(generator, info.class_map, rgb, [tags])
        write_style(root / "styles" / f"{name}.safetensors", style, info.sha256)
    return root


@pytest.fixture
def renderer(folder: Path) -> Iterator[NeuralRenderer]:
    with NeuralRenderer(
        folder / "tiny.safetensors", folder / "styles", device="cpu", precision="float32"
    ) as renderer:
        yield renderer


def street(shift_m: float = 0.0, depth: bool = True) -> View:
    """A flat road under a sky, the camera moved forward."""
    labels = np.full((64, 96), 11, np.uint8)
    labels[30:] = 1
    labels[40:50, 20:40] = 14
    depth_m = np.full((64, 96), SKY_DEPTH_M, np.float32)
    rows = np.arange(30, 64)[:, None] - 28.0
    depth_m[30:] = 1.5 * CAMERA.fy_px / rows
    pose = np.eye(4, dtype=np.float32)
    pose[2, 3] = shift_m
    return View(CAMERA, pose, labels=labels, depth_m=depth_m if depth else None)


def render(renderer: NeuralRenderer, session: int, tick: int, **changes: object) -> np.ndarray:
    request = {"view": street(0.2 * tick), "episode": 0, **changes}
    (out,) = renderer.render([RenderRequest(session, tick=tick, **request)])  # type: ignore[arg-type]
    return out.rgb


def opened(renderer: NeuralRenderer, style: object = "day", seed: int = 0) -> int:
    return renderer.open_session(SessionConfig(style, CAMERA, SIZE, seed))  # type: ignore[arg-type]


def test_history_is_used_and_a_restart_forgets_it(renderer: NeuralRenderer) -> None:
    one, two = opened(renderer), opened(renderer)
    render(renderer, one, 0)
    with_history = render(renderer, one, 1)
    fresh = render(renderer, two, 1)
    assert np.abs(with_history.astype(int) - fresh).mean() > 0.5
    assert (render(renderer, one, 2, restart=True) == render(renderer, two, 2, restart=True)).all()


@pytest.mark.parametrize(
    "change", [{"episode": 1}, {"view": street(30.0)}, {"tick": 40}], ids=["episode", "jump", "gap"]
)
def test_a_cut_restarts(renderer: NeuralRenderer, change: dict[str, object]) -> None:
    one, two = opened(renderer), opened(renderer)
    render(renderer, one, 0)
    request = {"tick": 1, **change}
    tick = request.pop("tick")
    assert (render(renderer, one, tick, **request) == render(renderer, two, tick, **request)).all()


def test_the_same_tick_again_advances_nothing(renderer: NeuralRenderer) -> None:
    session, control = opened(renderer), opened(renderer)
    for tick in range(2):
        render(renderer, session, tick)
        render(renderer, control, tick)
    again = render(renderer, session, 1)
    assert (again == render(renderer, session, 1)).all()
    assert (render(renderer, session, 2) == render(renderer, control, 2)).all()


def test_a_batch_gives_each_session_its_own_picture(renderer: NeuralRenderer) -> None:
    pair = [opened(renderer, "day", seed=1), opened(renderer, "dusk", seed=2)]
    alone = [opened(renderer, "day", seed=1), opened(renderer, "dusk", seed=2)]
    for tick in range(3):
        requests = [RenderRequest(s, street(0.2 * tick), tick, 0) for s in pair]
        together = renderer.render(requests)
        for session, rendering in zip(alone, together, strict=True):
            difference = np.abs(render(renderer, session, tick).astype(int) - rendering.rgb)
            assert difference.max() <= 2
    assert np.abs(together[0].rgb.astype(int) - together[1].rgb).mean() > 0.5


def test_restyle_changes_the_next_picture_and_keeps_the_session(renderer: NeuralRenderer) -> None:
    one, two = opened(renderer), opened(renderer)
    for session in (one, two):
        render(renderer, session, 0)
    renderer.restyle(one, {"day": 0.5, "dusk": 0.5})
    assert (render(renderer, one, 1) != render(renderer, two, 1)).any()


def test_without_depth_every_frame_is_a_fresh_one(renderer: NeuralRenderer) -> None:
    one, two = opened(renderer), opened(renderer)
    render(renderer, one, 0, view=street(depth=False))
    first = render(renderer, two, 1, view=street(depth=False))
    assert (render(renderer, one, 1, view=street(depth=False)) == first).all()


def test_output_may_be_larger_than_the_labels(renderer: NeuralRenderer) -> None:
    session = renderer.open_session(SessionConfig("day", CAMERA, (192, 128)))
    assert render(renderer, session, 0).shape == (128, 192, 3)
    assert render(renderer, session, 1).shape == (128, 192, 3)


def test_odd_sizes_are_padded_and_cropped(renderer: NeuralRenderer) -> None:
    camera = Camera.from_fov(90, 50, 62.0)
    session = renderer.open_session(SessionConfig("day", camera, (90, 50)))
    labels = np.ones((50, 90), np.uint8)
    for tick in range(2):
        depth = np.full((50, 90), 10.0, np.float32)
        view = View(camera, np.eye(4, dtype=np.float32), labels=labels, depth_m=depth)
        assert render(renderer, session, tick, view=view).shape == (50, 90, 3)


@pytest.mark.parametrize(("flag", "dtype"), [("avx2", torch.float32), ("amx_bf16", torch.bfloat16)])
def test_the_processor_decides_the_dtype_not_a_stopwatch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flag: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {flag})
    with NeuralRenderer(folder / "tiny.safetensors", folder / "styles", device="cpu") as automatic:
        assert automatic._generator.dtype is dtype
        session = opened(automatic)
        render(automatic, session, 0)
        assert automatic._generator.dtype is dtype


def test_an_unknown_session_and_style_are_named(renderer: NeuralRenderer) -> None:
    with pytest.raises(UnknownSession, match="99"):
        render(renderer, 99, 0)
    with pytest.raises(RendererError, match="did you mean 'dusk'"):
        opened(renderer, "dsk")
    with pytest.raises(RendererError, match="whole multiple"):
        renderer.open_session(SessionConfig("day", CAMERA, (100, 64)))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_blend_takes_positive_weights(renderer: NeuralRenderer, weight: float) -> None:
    with pytest.raises(RendererError, match="one positive weight per style"):
        opened(renderer, {"day": 1.0, "dusk": weight})
    with pytest.raises(RendererError, match="one positive weight per style"):
        opened(renderer, {})


def test_views_that_do_not_fit_are_refused(renderer: NeuralRenderer) -> None:
    session = opened(renderer)
    view = street()
    assert view.labels is not None
    smaller = View(CAMERA.resized(48, 32), view.pose, view.labels[::2, ::2].copy())
    with pytest.raises(RendererError, match="views are 96x64, got labels 48x32"):
        render(renderer, session, 0, view=smaller)
    with pytest.raises(RendererError, match=r"tags 0..28, got 29"):
        render(renderer, session, 0, view=replace(view, labels=view.labels + np.uint8(15)))


def test_motion_that_is_no_number_is_no_motion(renderer: NeuralRenderer) -> None:
    session, other = opened(renderer), opened(renderer)
    for s in (session, other):
        render(renderer, s, 0)
    motion_px = np.zeros((64, 96, 2), np.float32)
    motion_px[20:24, 30:34] = np.nan
    outside = np.where(np.isnan(motion_px), np.float32(-1e6), motion_px)
    view = replace(street(depth=False), motion_px=motion_px, motion_from_tick=0)
    broken = render(renderer, session, 1, view=view)
    assert (broken == render(renderer, other, 1, view=replace(view, motion_px=outside))).all()
    state, _ = renderer.save_session(session)
    assert state is not None
    assert state.rgb.isfinite().all()


def test_a_session_without_history_is_the_same_in_any_batch(renderer: NeuralRenderer) -> None:
    old, new, alone = opened(renderer), opened(renderer), opened(renderer)
    render(renderer, old, 0)
    view = street(0.2)
    _, beside = renderer.render([RenderRequest(s, view, 1, 0) for s in (old, new)])
    assert np.abs(beside.rgb.astype(int) - render(renderer, alone, 1)).max() <= 1


def test_a_batch_in_any_order_is_compiled_once(renderer: NeuralRenderer) -> None:
    sessions = [opened(renderer, style) for style in ("day", "dusk", "day")]
    for tick, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        asked = [RenderRequest(sessions[i], street(0.2 * tick), tick, 0) for i in order]
        pictures = renderer.render(asked)
        again = [render(renderer, sessions[i], tick) for i in order]
        for picture, same in zip(pictures, again, strict=True):
            assert (picture.rgb == same).all()
    assert len(renderer._styles._compiled) == 1


def test_a_style_travels_as_bytes_and_only_to_its_weights(
    renderer: NeuralRenderer, folder: Path
) -> None:
    data = (folder / "styles" / "dusk.safetensors").read_bytes()
    one, two = opened(renderer, style_blob(data, "mine")), opened(renderer, "dusk")
    assert (render(renderer, one, 0) == render(renderer, two, 0)).all()
    style = renderer._styles.resolve("dusk")
    with pytest.raises(StyleError, match="other weights"):
        opened(renderer, style_blob(style_to_bytes(style, "x", "0" * 64), "x"))
    with pytest.raises(StyleError, match="cannot be read"):
        opened(renderer, style_blob(data[: len(data) // 2], "x"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("classes", lambda x: x[..., :1]),
        ("classes", lambda x: x[:, :3]),
        ("code", lambda x: x[0]),
        ("keys", lambda x: x[:, :0]),
        ("values", lambda x: x[:, :1]),
        ("log_weight", lambda x: x.repeat(2, 1)),
        ("colour", lambda x: x.to(torch.int8)),
        ("classes", lambda x: torch.full_like(x, torch.nan)),
        ("values", lambda x: torch.full_like(x, torch.inf)),
    ],
)
def test_a_style_of_wrong_shapes_or_numbers_is_refused_when_a_session_opens(
    renderer: NeuralRenderer, folder: Path, name: str, change: Callable[[Tensor], Tensor]
) -> None:
    data = (folder / "styles" / "dusk.safetensors").read_bytes()
    tensors = load(data)
    tensors[name] = change(tensors[name]).contiguous()
    metadata = {"format": "sim2street-style/1", "name": "x", "weights": renderer.info.sha256}
    with pytest.raises(StyleError, match=f"'{name}'"):
        opened(renderer, style_blob(save(tensors, metadata), "x"))


def test_two_actors_of_one_id_are_refused(renderer: NeuralRenderer) -> None:
    session = opened(renderer)
    actors = tuple(Actor(7, 14, np.eye(4, dtype=np.float32), (2, 1, 1)) for _ in range(2))
    view = replace(street(), instances=np.full((64, 96), 7, np.uint32))
    with pytest.raises(FrameError, match="two of them have the id 7"):
        renderer.render([RenderRequest(session, view, 0, 0, actors)])


def test_a_truncated_or_foreign_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    data = (folder / "tiny.safetensors").read_bytes()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cut off"):
        load_generator(broken)
    broken.write_bytes(data.replace(b"sim2street-generator/1", b"sim2street-generator/9"))
    with pytest.raises(CheckpointError, match="reads format sim2street-generator/1, got"):
        load_generator(broken)
    with pytest.raises(CheckpointError, match="no weights"):
        load_generator(tmp_path / "nowhere.safetensors")
    info = CheckpointInfo("small", 7, ClassMap.default(), (1,), "test only")
    tiny, _ = load_generator(folder / "tiny.safetensors")
    save_generator(broken, tiny, info)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_generator(broken)
