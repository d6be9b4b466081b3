"""Messages and bytes: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import assert_same_frame, differences
from support.toy_world import ToyWorld

from sim2street.bridge.errors import ProtocolError, UnknownSession, WorldBusy, WorldError
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    POSE_UNKNOWN,
    Actor,
    Camera,
    Control,
    EgoState,
    LeadVehicle,
    LightState,
    NextLight,
    SensorFrame,
    View,
    Weather,
)
from sim2street.bridge.geometry import level_pose
from sim2street.bridge.renderer import Rendering, RenderRequest, SessionConfig, StyleBlob
from sim2street.bridge.wire import renderer_messages as render
from sim2street.bridge.wire.codec import DTYPES, Limits, Message, decode, encode, pack, unpack
from sim2street.bridge.wire.world_messages import (
    control_body,
    frame_parts,
    read_control,
    read_frame,
    read_spec,
    reset_body,
    spec_body,
)
from sim2street.configs import ConfigError, Sim2StreetError

LIMITS = Limits(max_pixels=64 * 64)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.integers(0, 2**53 - 1)
three = st.tuples(finite, finite, finite)


def travel(message: Message) -> Message:
    """Over the wire and back."""
    return decode([bytes(part) for part in encode(message)], LIMITS)


def over_the_wire(frame: SensorFrame) -> SensorFrame:
    body, arrays = frame_parts(frame)
    return read_frame(travel(Message("frame", 1, "test", frame.episode, body, arrays)))


@st.composite
def arrays(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    dt = DTYPES[dtype]
    count = int(np.prod(shape))
    data = draw(st.binary(min_size=count * dt.itemsize, max_size=count * dt.itemsize))
    return np.frombuffer(data, dt).reshape(shape)


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    values = draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
                           min_size=16, max_size=16))  # fmt: skip
    return np.array(values, np.float32).reshape(4, 4)


@st.composite
def views(draw: st.DrawFn) -> View:
    h, w = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    camera = Camera(w, h, *draw(st.tuples(finite, finite, finite, finite)))
    k = draw(st.integers(1, 2))
    return View(
        camera,
        draw(poses()),
        labels=draw(st.none() | arrays("uint8", (h, w))),
        depth_m=draw(st.none() | arrays("float32", (h, w))),
        instances=draw(st.none() | arrays("uint32", (h, w))),
        motion_px=draw(st.none() | arrays("float32", (h, w, 2))),
        motion_from_tick=draw(st.none() | numbers),
        rgb=draw(st.none() | arrays("uint8", (k * h, k * w, 3))),
    )


actors = st.builds(
    Actor, st.integers(0, 2**32 - 1), st.integers(0, 255), poses(), three, three
)  # fmt: skip
egos = st.builds(
    EgoState,
    poses(),
    velocity_mps=three,
    speed_mps=finite,
    next_light=st.none() | st.builds(NextLight, st.sampled_from(LightState), finite),
    lead=st.none() | st.builds(LeadVehicle, finite, finite),
    route_distance_m=st.none() | finite,
    collision=st.booleans(),
    off_lane=st.booleans(),
)
frames = st.builds(
    SensorFrame,
    tick=numbers,
    episode=numbers,
    time_s=finite,
    ego=egos,
    actors=st.lists(actors, max_size=3).map(tuple),
    weather=st.builds(Weather, finite, finite, finite, finite, finite),
    views=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True), views(), max_size=2
    ),
    stamps=st.dictionaries(st.text(max_size=9), finite, max_size=2),
    flags=st.lists(st.text(min_size=1, max_size=9), max_size=2, unique=True).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(frames)
def test_any_frame_arrives_bit_by_bit(frame: SensorFrame) -> None:
    assert_same_frame(over_the_wire(frame), frame, ignore=())


def good_parts() -> list[bytes]:
    world = ToyWorld(8, 4)
    world.open()
    body, buffers = frame_parts(world.reset(0))
    return [bytes(part) for part in encode(Message("frame", 1, "test", 0, body, buffers))]


GOOD = good_parts()


def read_or_refuse(parts: list[bytes]) -> None:
    """Every reader of the wire: returns, or raises ProtocolError and nothing else."""
    try:
        message = decode(parts, LIMITS)
    except ProtocolError:
        return
    for reader in (read_frame, render.read_render, render.read_session, render.read_restyle):
        try:
            reader(message)
        except ProtocolError:
            continue
    for body_reader in (read_spec, read_control):
        try:
            body_reader(message.body)
        except ProtocolError:
            continue


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_random_bytes_are_refused(parts: list[bytes]) -> None:
    read_or_refuse(parts)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_frames_are_refused_or_still_frames(data: st.DataObject) -> None:
    parts = [bytearray(part) for part in GOOD]
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(parts) - 1))
        part = parts[index]
        kind = data.draw(st.sampled_from(["flip", "cut", "drop", "double", "swap"]))
        if kind == "flip" and part:
            part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del part[data.draw(st.integers(0, len(part))) :]
        elif kind == "drop" and len(parts) > 1:
            del parts[index]
        elif kind == "double":
            parts.insert(index, part)
        else:
            other = data.draw(st.integers(0, len(parts) - 1))
            parts[index], parts[other] = parts[other], parts[index]
    read_or_refuse([bytes(part) for part in parts])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_headers_with_wrong_values_are_refused(data: st.DataObject) -> None:
    header = json.loads(GOOD[0])
    place = header
    for _ in range(data.draw(st.integers(0, 4))):
        inner = [value for value in (place.values() if isinstance(place, dict) else place)
                 if isinstance(value, dict | list) and value]  # fmt: skip
        if not inner:
            break
        place = data.draw(st.sampled_from(inner))
    key = data.draw(
        st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
    )
    place[key] = data.draw(json_values)
    read_or_refuse([json.dumps(header).encode(), *GOOD[1:]])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_packed_parts_come_apart_again(parts: list[bytes]) -> None:
    blob = pack(parts)
    assert [bytes(part) for part in unpack(blob, LIMITS)] == parts
    for damaged in (blob[:-1], blob + b"x", b"S2S2" + blob[4:], blob[:6], b""):
        with pytest.raises(ProtocolError, match="packed"):
            unpack(damaged, LIMITS)


def test_decoding_copies_no_image_and_protects_it() -> None:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    parts = [bytes(part) for part in encode(Message("x", 1, "t", arrays={"image": image}))]
    array = decode(parts, LIMITS).arrays["image"]
    assert np.shares_memory(array, np.frombuffer(parts[1], np.uint8))
    assert not array.flags.writeable
    odd = memoryview(b"x" + parts[1])[1:]
    assert decode([parts[0], odd], LIMITS).arrays["image"].flags.aligned


def test_what_may_not_travel() -> None:
    with pytest.raises(ProtocolError, match=r"float64.*got int64"):
        encode(Message("x", 1, "t", arrays={"a": np.zeros(3, np.int64)}))
    for body in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(ProtocolError, match="not JSON"):
            encode(Message("x", 1, "t", body=body))
    assert travel(Message("x", 1, "t", body={"a": np.float32(0.5)})).body == {"a": 0.5}
    big_endian = np.arange(3, dtype=">u4")
    assert travel(Message("x", 1, "t", arrays={"a": big_endian})).arrays["a"].tolist() == [0, 1, 2]
    strided = np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2]
    assert (
        travel(Message("x", 1, "t", arrays={"a": strided})).arrays["a"].tolist() == strided.tolist()
    )


def simple_frame(view: dict[str, object], **buffers: np.ndarray) -> SensorFrame:
    camera = {"width_px": 4, "height_px": 2, "fx_px": 3, "fy_px": 3, "cx_px": 1.5, "cy_px": 0.5}
    body = {"tick": 3, "time_s": 0.3, "views": {"front": {"camera": camera, **view}}}
    named = {f"views.front.{name}": array for name, array in buffers.items()}
    return read_frame(travel(Message("frame", 1, "engine", 5, body, named)))


def test_tier_one_is_labels_only() -> None:
    frame = simple_frame({}, labels=np.ones((2, 4), np.uint8))
    frame.validate()
    assert (frame.tick, frame.episode) == (3, 5)
    assert frame.view.labels.tolist() == [[1] * 4] * 2
    assert frame.view.depth_m is None
    assert frame.flags == (POSE_UNKNOWN, EGO_UNKNOWN)
    assert np.array_equal(frame.view.pose, level_pose())  # the renderer asks it where up is


def test_tier_two_adds_depth_and_tier_three_poses() -> None:
    images = {"labels": np.ones((2, 4), np.uint8), "depth_m": np.ones((2, 4), np.float32)}
    assert simple_frame({}, **images).view.depth_m.dtype == np.float32
    pose = np.eye(4)
    pose[0, 3] = 7.0
    frame = simple_frame({"pose": pose.ravel().tolist()}, **images)
    assert frame.view.pose[0, 3] == 7.0
    assert POSE_UNKNOWN not in frame.flags


@pytest.mark.parametrize(
    ("view", "buffers", "reason"),
    [
        ({}, {"labels": np.ones((4, 2), np.uint8)}, r"expected uint8 \(2, 4\), got uint8 \(4, 2\)"),
        ({}, {"labels": np.ones((2, 4), np.float32)}, "expected uint8"),
        ({}, {"depth_m": np.ones((2, 4), np.float64)}, "expected float32"),
        ({}, {"depth": np.ones((2, 4), np.float32)}, "does not have"),
        ({}, {"motion_px": np.ones((2, 4, 3), np.float32)}, "motion_px"),
        ({}, {"rgb": np.ones((2, 4, 4), np.uint8)}, "rgb"),
        ({"pose": [1.0] * 15}, {}, "pose"),
        ({"pose": [1e300] * 16}, {}, "does not fit float32"),
        ({"poze": [1.0] * 16}, {}, "did you mean 'pose'"),
    ],
)  # fmt: skip
def test_views_that_do_not_fit_are_explained(
    view: dict[str, object], buffers: dict[str, np.ndarray], reason: str
) -> None:
    with pytest.raises(ProtocolError, match=reason):
        simple_frame(view, **buffers)


def test_actors_need_all_their_buffers() -> None:
    body = {"tick": 0, "time_s": 0.0}
    for buffers, reason in (
        ({"actors.tag": np.zeros(1, np.uint8)}, "actors.id: expected uint32"),
        ({"actors.id": np.ones(2, np.uint32), "actors.tag": np.zeros(1, np.uint8)}, "actors.tag"),
    ):
        with pytest.raises(ProtocolError, match=reason):
            read_frame(travel(Message("frame", 1, "t", 0, body, buffers)))


def test_specs_controls_and_resets() -> None:
    spec = ToyWorld().spec
    assert read_spec(json.loads(json.dumps(spec_body(spec)))) == spec
    control = Control(-0.5, 0.25, 1.0, True)
    assert read_control(json.loads(json.dumps(control_body(control)))) == control
    with pytest.raises(ProtocolError, match="tick_s"):
        read_spec({**spec_body(spec), "tick_s": 0})
    assert reset_body(3, {"a": [1, {"b": None}]}) == {"seed": 3, "options": {"a": [1, {"b": None}]}}
    for options in ({"a": (1, 2)}, {1: 2}, {"a": float("nan")}, {"a": np.zeros(2)}):
        with pytest.raises(ConfigError, match="plain JSON"):
            reset_body(None, options)


def test_sessions_styles_requests_and_renderings() -> None:
    data = b"compiled style"
    camera = Camera.from_fov(4, 2, 60.0)
    blob = StyleBlob("dusk", data, hashlib.sha256(data).hexdigest())
    for style in ("palette", {"rain": 0.25, "dusk": 0.75}, blob):
        config = SessionConfig(style, camera, (8, 4), 11)
        body, buffers = render.session_parts(config)
        assert (
            render.read_session(travel(Message("open_session", 1, "t", 0, body, buffers))) == config
        )
        body, buffers = render.restyle_parts(7, style)
        message = travel(Message("restyle", 1, "t", 0, body, buffers))
        assert render.read_restyle(message) == (7, style)
    forged = {"style": np.frombuffer(b"another style", np.uint8)}
    body, _ = render.session_parts(SessionConfig(blob, camera, (8, 4)))
    with pytest.raises(ProtocolError, match="sha256"):
        render.read_session(travel(Message("open_session", 1, "t", 0, body, forged)))

    world = ToyWorld(8, 4)
    world.open()
    frame = world.reset(0)
    requests = [RenderRequest(n, frame.view, 0, 1, frame.actors, n == 2) for n in (1, 2)]
    body, buffers = render.render_parts(requests)
    assert sum(name.endswith(".pose") for name in buffers) == 1  # shared actors travel once
    back = render.read_render(travel(Message("render", 1, "t", 0, body, buffers)))
    assert differences(back, requests, ignore=()) == []

    renderings = [Rendering(np.full((4, 8, 3), n, np.uint8), n == 1) for n in (1, 2)]
    body, buffers = render.rendered_parts(renderings)
    message = travel(Message("rendered", 1, "t", 0, body, buffers))
    assert differences(render.read_rendered(message, 2), renderings) == []
    with pytest.raises(ProtocolError, match="expected 3 images"):
        render.read_rendered(message, 3)


def test_errors_arrive_as_their_own_class() -> None:
    for error in (WorldBusy("held"), UnknownSession("gone"), ConfigError("no such key")):
        back = render.read_error(render.error_body(error), Sim2StreetError)
        assert type(back) is type(error)
        assert str(back) == str(error)

    class Special(WorldError):
        pass

    assert render.error_body(Special("x"))["error"] == "WorldError"
    other = render.read_error({"error": "EngineOnFire", "message": "water!"}, WorldError)
    assert type(other) is WorldError
    assert "EngineOnFire" in str(other)
