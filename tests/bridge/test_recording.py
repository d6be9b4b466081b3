"""Recordings: frames are replayed bit by bit, and incomplete files are recognised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcap.reader import make_reader
from support.frames import assert_same_frame
from support.toy_world import ToyWorld

from sim2street.bridge.errors import EpisodeEnd, FrameError, RecordingError, WorldError
from sim2street.bridge.frame import Control, SensorFrame
from sim2street.bridge.palette import PaletteRenderer
from sim2street.bridge.recording import Recorder, ReplayWorld
from sim2street.bridge.recording_file import recover_recording
from sim2street.bridge.rendered_world import RenderedWorld
from sim2street.configs import ConfigError

ROOT = Path(__file__).parents[2]
TICKS = 5


def control_at(tick: int) -> Control:
    return Control(steer=0.1 * (tick % 7), throttle=0.5, reverse=tick % 2 == 0)


def record(
    path: Path, seeds: tuple[int, ...] = (4, 9), ticks: int = TICKS, size: tuple[int, int] = (16, 8)
) -> list[SensorFrame]:
    """Drive one episode per seed, and return the frames."""
    frames = []
    with Recorder(RenderedWorld(ToyWorld(*size), PaletteRenderer()), path) as world:
        for seed in seeds:
            frames.append(world.reset(seed, {"cars": seed}))
            frames += [world.step(control_at(tick)) for tick in range(1, ticks + 1)]
    return frames


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SensorFrame]]:
    path = tmp_path_factory.mktemp("recordings") / "drive.mcap"
    return path, record(path)


def test_replay_is_bit_exact(drive: tuple[Path, list[SensorFrame]]) -> None:
    path, frames = drive
    with ReplayWorld(path) as replay:
        assert replay.spec.fields == {"labels", "depth_m", "instances", "rgb"}
        assert [(e.seed, e.options, e.ticks) for e in replay.episodes] == [
            (4, {"cars": 4}, TICKS),
            (9, {"cars": 9}, TICKS),
        ]
        for start in (0, TICKS + 1):
            assert_same_frame(replay.reset(), frames[start], ignore=())
            assert replay.last_control is None
            for tick in range(1, TICKS + 1):
                assert_same_frame(replay.step(Control()), frames[start + tick], ignore=())
                assert replay.last_control == control_at(tick)
            with pytest.raises(EpisodeEnd, match=f"ends after {TICKS} ticks"):
                replay.step(Control())
        again = replay.reset()  # the first episode again, with a new number
        assert_same_frame(again, frames[0], ignore=("episode",))
        assert again.episode == frames[-1].episode + 1


def test_episodes_are_found_by_index_and_by_seed(drive: tuple[Path, list[SensorFrame]]) -> None:
    path, frames = drive
    with ReplayWorld(path) as replay:
        second = frames[TICKS + 1]
        assert_same_frame(replay.reset(options={"episode": 1}), second, ignore=("episode",))
        assert_same_frame(replay.reset(seed=9), second, ignore=("episode",))
        assert_same_frame(replay.reset(), frames[0], ignore=("episode",))
        for options, reason in (
            ({"episode": 2}, r"in 0\.\.1"),
            ({"episode": "x"}, "in 0"),
            ({"speed": 2}, "speed"),
        ):
            with pytest.raises(ConfigError, match=reason):
                replay.reset(options=options)
        with pytest.raises(ConfigError, match=r"no episode with seed 5, only \[4, 9\]"):
            replay.reset(seed=5)
        replay.reset()
        with pytest.raises(FrameError, match="steer"):
            replay.step(Control(steer=3.0))


def test_recordings_without_rgb_and_replay_without_sensors(tmp_path: Path) -> None:
    path = tmp_path / "plain.mcap"
    with Recorder(ToyWorld(16, 8), path) as recorder:
        recorder.reset(0)
    replay = ReplayWorld(path)
    replay.open()
    assert "rgb" not in replay.spec.fields
    assert replay.reset().view.rgb is None
    replay.open(sensors=False)
    assert replay.reset().views == {}
    replay.close()
    replay.close()
    with pytest.raises(WorldError, match="reset"):
        replay.step(Control())


def test_other_tools_can_read_the_file(drive: tuple[Path, list[SensorFrame]]) -> None:
    with drive[0].open("rb") as stream:
        reader = make_reader(stream)
        controls = [json.loads(m.data) for _, _, m in reader.iter_messages("/control")]
        summary = reader.get_summary()
    assert controls[0] == {"steer": 0.1, "throttle": 0.5, "brake": 0.0, "reverse": False}
    assert summary is not None
    schemas = {
        schema.name: json.loads(schema.data)
        for schema in summary.schemas.values()
        if schema.encoding == "jsonschema"
    }
    assert set(schemas["ControlBody"]["properties"]) == set(controls[0])
    assert set(schemas["EgoState"]["properties"]) >= {"speed_mps", "lead", "next_light"}
    assert not any(word in str(schemas) for word in ("$ref", "$defs", "anyOf"))


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    recorder = Recorder(ToyWorld(16, 8), path)
    recorder.open()
    recorder.reset(0)
    recorder.step(Control())
    assert not path.exists()
    part = tmp_path / "drive.partial.mcap"
    assert part.exists()
    other = Recorder(ToyWorld(16, 8), path)
    with pytest.raises(RecordingError, match=r"drive\.partial\.mcap is there already"):
        other.open()
    recorder.close()
    assert path.exists()
    assert not part.exists()
    recorder.close()
    with pytest.raises(RecordingError, match="exists already"):
        Recorder(ToyWorld(16, 8), path).open()
    recorder.world.open()
    with pytest.raises(RecordingError, match="call open"):
        recorder.reset(0)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from support.toy_world import ToyWorld
from sim2street.bridge.errors import RecordingError
from sim2street.bridge.frame import Control
from sim2street.bridge.recording import Recorder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
recorder = Recorder(ToyWorld(32, 16), Path(sys.argv[1]))
recorder.open()
recorder.reset(0)
try:
    for _ in range(800):
        recorder.step(Control(throttle=0.5))
except RecordingError as error:
    print(error)
    try:
        recorder.step(Control())
    except RecordingError as error:
        print(error)
recorder.close()
print("closed")
"""


def test_a_full_disk_is_an_error_and_leaves_only_the_part_file(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, last = done.stdout.splitlines()
    assert first.startswith(f"cannot write {path}: File too large")
    assert "not being written" in second
    assert last == "closed"
    assert [file.name for file in tmp_path.iterdir()] == ["drive.partial.mcap"]
    with ReplayWorld(tmp_path / "drive.partial.mcap", recover=True) as replay:
        assert replay.episodes[0].ticks > 10


def test_a_truncated_file_is_refused_but_can_be_recovered(tmp_path: Path) -> None:
    path = tmp_path / "long.mcap"
    frames = record(path, seeds=(1, 2), ticks=300, size=(32, 16))
    whole = path.read_bytes()
    cut = tmp_path / "cut.mcap"
    for share in (0.3, 0.8, 0.999):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(RecordingError, match="not a finished recording"):
            ReplayWorld(cut).open()
    cut.write_bytes(whole[: int(len(whole) * 0.8)])
    with ReplayWorld(cut, recover=True) as replay:
        assert [e.seed for e in replay.episodes] == [1, 2]
        assert replay.episodes[0].ticks == 300
        left = replay.episodes[1].ticks
        assert 0 < left < 300
        assert_same_frame(replay.reset(seed=2), frames[301], ignore=("episode",))
        for tick in range(1, left + 1):
            last = replay.step(Control())
            assert replay.last_control == control_at(tick)
        assert_same_frame(last, frames[301 + left], ignore=("episode",))
        with pytest.raises(EpisodeEnd):
            replay.step(Control())


def test_damage_in_the_middle_is_found_when_it_is_reached(
    drive: tuple[Path, list[SensorFrame]], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.mcap"
    data = bytearray(drive[0].read_bytes())
    data[len(data) // 2] ^= 0xFF  # in the middle of the only chunk; the index is intact
    damaged.write_bytes(data)
    with ReplayWorld(damaged) as replay:
        assert len(replay.episodes) == 2
        with pytest.raises(RecordingError, match="damaged at this frame"):
            replay.reset()


def test_files_that_are_not_recordings(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        ReplayWorld(tmp_path / "missing.mcap").open()
    with pytest.raises(RecordingError, match="No such file"):
        ReplayWorld(tmp_path / "missing.mcap", recover=True).open()
    text = tmp_path / "text.mcap"
    text.write_text("not a recording at all" * 10)
    with pytest.raises(RecordingError, match="not a finished recording"):
        ReplayWorld(text).open()
    with pytest.raises(RecordingError, match="no complete frame"):
        recover_recording(text, tmp_path / "out.mcap")
    assert not (tmp_path / "out.mcap").exists()
    (tmp_path / "folder").write_text("")
    with pytest.raises(RecordingError, match="cannot write"):
        Recorder(ToyWorld(16, 8), tmp_path / "folder" / "drive.mcap").open()
