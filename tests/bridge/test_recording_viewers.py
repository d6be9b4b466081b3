"""Recordings as viewers read them: by the MCAP reader and the schemas in the file alone."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image
from support.frames import assert_same_frame
from support.toy_world import ToyWorld

from sim2street.bridge.errors import RecordingError
from sim2street.bridge.frame import (
    EGO_UNKNOWN,
    POSE_UNKNOWN,
    Actor,
    Control,
    EgoState,
    SensorFrame,
    View,
)
from sim2street.bridge.labels import PALETTE, Tag
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.recording import Recorder, ReplayWorld
from sim2street.bridge.recording_file import recover_recording, schema_of
from sim2street.bridge.rendered_world import RenderedWorld

TICKS = 4
SCHEMAS = {
    "/tf": "foxglove.FrameTransforms",
    "/scene": "foxglove.SceneUpdate",
    "/ego/pose": "foxglove.PoseInFrame",
    "/ego/state": "EgoState",
    "/control": "ControlBody",
    "/reset": "ResetBody",
    "/camera/front/image": "foxglove.CompressedImage",
    "/camera/front/labels": "foxglove.CompressedImage",
    "/camera/front/depth": "foxglove.RawImage",
    "/camera/front/calibration": "foxglove.CameraCalibration",
    "/camera/front/image_calibration": "foxglove.CameraCalibration",
    "/env/reward": "env/reward",
}


def record(path: Path) -> list[SensorFrame]:
    """Two episodes, with a note on each step; the images are twice as large as the labels."""
    frames = []
    with Recorder(RenderedWorld(ToyWorld(32, 16), PaletteRenderer(), scale=2), path) as world:
        for seed in (4, 9):
            frames.append(world.reset(seed))
            for _ in range(TICKS):
                frames.append(world.step(Control(throttle=0.5)))
                assert isinstance(world, Recorder)
                world.note("/env/reward", {"reward": 0.5, "terms": {"progress": 0.5}, "won": False})
    return frames


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SensorFrame]]:
    path = tmp_path_factory.mktemp("recordings") / "drive.mcap"
    return path, record(path)


def messages(path: Path) -> tuple[dict[str, list[Any]], dict[str, str], dict[str, list[int]]]:
    """Decoded messages, names of schemas and log times, by topic; all but our own `/frame`."""
    found, schemas, times = defaultdict(list), {}, defaultdict(list)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for schema, channel, message in reader.iter_messages():
            if channel.topic == "/frame":
                continue
            assert schema is not None, channel.topic
            schemas[channel.topic] = schema.name
            times[channel.topic].append(message.log_time)
            if channel.message_encoding == "json":
                content = json.loads(message.data)
            else:
                decode = DecoderFactory().decoder_for(channel.message_encoding, schema)
                assert decode is not None
                content = decode(message.data)
            found[channel.topic].append(content)
    return found, schemas, times


def rotation(q: Any) -> np.ndarray:
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def matrix(position: Any, orientation: Any) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = rotation(orientation)
    pose[:3, 3] = position.x, position.y, position.z
    return pose


def image_of(message: Any) -> np.ndarray:
    with Image.open(io.BytesIO(message.data)) as image:
        assert image.format == message.format.upper()
        return np.array(image.convert("RGB"))


def test_every_channel_has_its_schema_and_a_message_for_every_frame(drive) -> None:
    found, schemas, times = messages(drive[0])
    assert schemas == SCHEMAS
    for topic in SCHEMAS:
        counts = {"/control": 2 * TICKS, "/reset": 2, "/env/reward": 2 * TICKS}
        assert len(found[topic]) == counts.get(topic, 2 * (TICKS + 1)), topic
        assert times[topic] == sorted(times[topic])
    stamp = found["/tf"][3].transforms[0].timestamp
    assert stamp.seconds * 1_000_000_000 + stamp.nanos == times["/tf"][3] == 300_000_000


def test_images_labels_and_depth_are_what_was_recorded(drive) -> None:
    path, frames = drive
    found, _, _ = messages(path)
    for index, frame in enumerate(frames):
        view = frame.view
        assert view.rgb is not None
        assert view.labels is not None
        assert view.depth_m is not None
        shown = image_of(found["/camera/front/image"][index]).astype(int)
        assert shown.shape == (32, 64, 3)
        assert np.abs(shown - view.rgb).mean() < 12.0  # JPEG, of images with hard edges
        np.testing.assert_array_equal(
            image_of(found["/camera/front/labels"][index]), PALETTE[view.labels]
        )
        depth = found["/camera/front/depth"][index]
        assert (depth.encoding, depth.width, depth.height, depth.step) == ("32FC1", 32, 16, 128)
        np.testing.assert_allclose(
            np.frombuffer(depth.data, "<f4").reshape(16, 32), view.depth_m, rtol=1.01e-3
        )
        assert depth.frame_id == found["/camera/front/image"][index].frame_id == "front"


def test_calibration_and_transforms_project_as_the_camera_does(drive) -> None:
    path, frames = drive
    found, _, _ = messages(path)
    camera = frames[0].view.camera
    for topic, scale in (("calibration", 1), ("image_calibration", 2)):
        calibration = found[f"/camera/front/{topic}"][0]
        assert (calibration.width, calibration.height) == (32 * scale, 16 * scale)
        wanted = camera.resized(32 * scale, 16 * scale)
        k = np.array(calibration.K).reshape(3, 3)
        np.testing.assert_allclose(
            k,
            [[wanted.fx_px, 0, wanted.cx_px], [0, wanted.fy_px, wanted.cy_px], [0, 0, 1]],
        )
        np.testing.assert_array_equal(np.array(calibration.P).reshape(3, 4)[:, :3], k)
    for index, frame in enumerate(frames):
        poses = {t.child_frame_id: t for t in found["/tf"][index].transforms}
        assert set(poses) == {"ego", "front"}
        for name, pose in (("ego", frame.ego.pose), ("front", frame.view.pose)):
            assert poses[name].parent_frame_id == "world"
            made = matrix(poses[name].translation, poses[name].rotation)
            np.testing.assert_allclose(made, pose, atol=1e-6)
        ego = found["/ego/pose"][index]
        np.testing.assert_allclose(
            matrix(ego.pose.position, ego.pose.orientation), frame.ego.pose, atol=1e-6
        )
        assert found["/ego/state"][index]["speed_mps"] == frame.ego.speed_mps


def test_actors_are_boxes_where_they_are(drive) -> None:
    path, frames = drive
    found, _, _ = messages(path)
    for frame, scene in zip(frames, found["/scene"], strict=True):
        assert [deletion.type for deletion in scene.deletions] == [1]  # ALL
        entities = {entity.id: entity for entity in scene.entities}
        assert set(entities) == {"ego", *(f"actor {a.actor_id}" for a in frame.actors)}
        assert len(entities["ego"].arrows) == 1
        assert frame.actors
        for actor in frame.actors:
            entity = entities[f"actor {actor.actor_id}"]
            [box] = entity.cubes
            assert entity.frame_id == "world"
            assert {pair.key: pair.value for pair in entity.metadata}["tag"] == "car"
            np.testing.assert_allclose((box.size.x, box.size.y, box.size.z),
                                       2.0 * np.array(actor.extent_m))  # fmt: skip
            made = matrix(box.pose.position, box.pose.orientation)
            made[2, 3] -= actor.extent_m[2]  # the box stands on the ground
            np.testing.assert_allclose(made, actor.pose, atol=1e-5)


def test_notes_and_pictures_do_not_disturb_a_replay(drive) -> None:
    path, frames = drive
    with ReplayWorld(path) as replay:
        for start in (0, TICKS + 1):
            assert_same_frame(replay.reset(), frames[start], ignore=())
            for tick in range(1, TICKS + 1):
                assert_same_frame(replay.step(Control()), frames[start + tick], ignore=())


def test_a_recovered_recording_shows_the_same(drive, tmp_path) -> None:
    assert recover_recording(drive[0], tmp_path / "again.mcap") == 2 * (TICKS + 1)
    before, schemas, times = messages(drive[0])
    after, schemas_after, times_after = messages(tmp_path / "again.mcap")
    assert schemas_after == schemas
    assert times_after == times
    for topic, contents in before.items():
        assert [str(content) for content in after[topic]] == [str(each) for each in contents]


class OddWorld(ToyWorld):
    """What a simple engine may send: no ego, no poses, an unknown tag, an upside-down actor."""

    def _frame(self) -> SensorFrame:
        frame = super()._frame()
        pose = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
        actors = (Actor(7, 99, pose, (1.0, 1.0, 1.0)),)
        view = frame.view
        depth_m = np.asfortranarray(view.depth_m)
        views = {"front": View(view.camera, view.pose, view.labels[:, ::-1], depth_m)}
        return SensorFrame(frame.tick, 0, frame.time_s, EgoState(np.eye(4, dtype=np.float32)),
                           actors, views=views, flags=(POSE_UNKNOWN, EGO_UNKNOWN))  # fmt: skip


def test_what_is_not_known_is_not_shown(tmp_path) -> None:
    with Recorder(OddWorld(32, 16), tmp_path / "odd.mcap") as world:
        world.reset(0)
    found, schemas, _ = messages(tmp_path / "odd.mcap")
    assert not {"/ego/pose", "/ego/state", "/camera/front/image"} & set(schemas)
    assert not found["/tf"][0].transforms
    [entity] = found["/scene"][0].entities
    assert entity.metadata[0].value == Tag.UNKNOWN.name.lower()
    np.testing.assert_allclose(
        rotation(entity.cubes[0].pose.orientation), np.diag([1.0, -1.0, -1.0]), atol=1e-12
    )


def test_notes_have_topics_of_their_own(tmp_path) -> None:
    with Recorder(ToyWorld(16, 8), tmp_path / "a.mcap") as world:
        assert isinstance(world, Recorder)
        with pytest.raises(RecordingError, match="call reset first"):
            world.note("/env/reward", {})
        world.reset(0)
        with pytest.raises(RecordingError, match="start with /env/"):
            world.note("/frame", {})
    assert schema_of({"a": [1, 2], "b": True, "c": "x", "d": None, "e": []}) == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "number"}},
            "b": {"type": "boolean"},
            "c": {"type": "string"},
            "e": {"type": "array", "items": {"type": "number"}},
        },
    }
