"""The MCAP files of recordings: how they are written, and how a damaged file is recovered.

Channels that are read again: `/reset`, `/control` and `/frame`. All others are for viewers:
`recording_foxglove`, and as JSON `/ego/state` and whatever `add_note` is given.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import StreamReader
from mcap.writer import Writer

from sim2street.bridge.errors import ProtocolError, RecordingError
from sim2street.bridge.frame import EGO_UNKNOWN, EgoState, SensorFrame
from sim2street.bridge.recording_foxglove import FoxgloveChannels
from sim2street.bridge.wire.bodies import body_model, to_body
from sim2street.bridge.wire.codec import PROTOCOL, Limits, decode, unpack
from sim2street.bridge.wire.schema import ControlBody, ResetBody
from sim2street.bridge.wire.world_messages import read_frame

RESET_TOPIC = "/reset"
CONTROL_TOPIC = "/control"
FRAME_TOPIC = "/frame"
EGO_TOPIC = "/ego/state"
NOTE_TOPICS = "/env/"
"""Start of the topics of notes."""

SPEC_RECORD = "sim2street/spec"
EPISODE_RECORD = "sim2street/episode"
INCOMPLETE_RECORD = "sim2street/incomplete"
"""Only in the files of recordings that were interrupted; holds the reason."""

LIMITS = Limits()
"""Largest sizes that are accepted when a frame is read from a file."""

EPISODE_GAP_NS = 1_000_000_000
"""Time between the end of an episode and the start of the next one in the file's log time."""

DAMAGE_ERRORS = (
    McapError,
    ProtocolError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    KeyError,
    OverflowError,
    EOFError,
)
"""Exceptions that reading a damaged file may raise."""

_MAX_RECORD_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class EpisodeInfo:
    """One recorded episode.

    Attributes:
        episode: its number when it was recorded.
        seed, options: arguments of its reset.
        ticks: number of steps; there is one frame more than steps.
        start_ns, end_ns: log times in the file of its first and last frame. Log time is
            simulated time, with the episodes one after the other.
    """

    episode: int
    seed: int | None
    options: Mapping[str, Any]
    ticks: int
    start_ns: int
    end_ns: int

    def as_metadata(self) -> dict[str, str]:
        """Content of an MCAP metadata record that describes this episode."""
        return {"json": json.dumps(dataclasses.asdict(self))}


class RecordingWriter:
    """Writes resets, controls and frames to an open file, and the channels for viewers."""

    def __init__(self, file: IO[bytes], spec: Mapping[str, Any], viewable: bool = True) -> None:
        """Start the file.

        Args:
            spec: the world's spec as a message body.
            viewable: also write the channels for viewers.
        """
        self._writer = Writer(file)
        self._writer.start(profile="sim2street", library=PROTOCOL)
        self._writer.add_metadata(SPEC_RECORD, {"json": json.dumps(spec)})
        self._channels = {FRAME_TOPIC: self._writer.register_channel(FRAME_TOPIC, PROTOCOL, 0)}
        for topic, model in ((RESET_TOPIC, ResetBody), (CONTROL_TOPIC, ControlBody)):
            self._add_json_channel(topic, model.__name__, model.model_json_schema())
        self._viewable = FoxgloveChannels(self._writer) if viewable else None
        self._episode: EpisodeInfo | None = None
        self._next_start_ns = 0

    def begin_episode(self, episode: int, seed: int | None, options: Mapping[str, Any]) -> None:
        """End the current episode, if any, and start the next one."""
        self.end_episode()
        start_ns = self._next_start_ns
        self._episode = EpisodeInfo(episode, seed, dict(options), 0, start_ns, start_ns)
        self._add(RESET_TOPIC, start_ns, json.dumps({"seed": seed, "options": dict(options)}))

    def add_frame(self, blob: bytes, frame: SensorFrame, control: str | None) -> None:
        """Write a frame, packed in `blob`, after the control (as JSON) that led to it."""
        episode, tick = self._current_episode(), frame.tick
        time_ns = episode.start_ns + max(0, round(frame.time_s * 1e9))
        if control is not None:
            self._add(CONTROL_TOPIC, time_ns, control, tick)
        self._add(FRAME_TOPIC, time_ns, blob, tick)
        self._episode = dataclasses.replace(episode, ticks=tick, end_ns=time_ns)
        if self._viewable is not None:
            self._viewable.write(frame, time_ns)
            if EGO_UNKNOWN not in frame.flags:
                self._add_ego(frame.ego, time_ns, tick)

    def add_note(self, topic: str, content: Mapping[str, Any]) -> None:
        """Write plain JSON about the last frame, such as a reward, to a topic below `/env/`."""
        if not topic.startswith(NOTE_TOPICS):
            raise RecordingError(f"topics of notes start with {NOTE_TOPICS}, got {topic}")
        episode = self._current_episode()
        if topic not in self._channels:
            self._add_json_channel(topic, topic.removeprefix("/"), schema_of(content))
        self._add(topic, episode.end_ns, json.dumps(content), episode.ticks)

    def end_episode(self) -> None:
        """Write the metadata record of the current episode, if any."""
        if self._episode is not None:
            self._writer.add_metadata(EPISODE_RECORD, self._episode.as_metadata())
            self._next_start_ns = self._episode.end_ns + EPISODE_GAP_NS
            self._episode = None

    def finish(self, incomplete: str | None = None) -> None:
        """End the last episode and write the index of the file.

        incomplete: why the recording ends before it should; None: it is complete.
        """
        self.end_episode()
        if incomplete is not None:
            self._writer.add_metadata(INCOMPLETE_RECORD, {"reason": incomplete})
        self._writer.finish()

    def _current_episode(self) -> EpisodeInfo:
        if self._episode is None:
            raise RecordingError("no episode to record: call reset first")
        return self._episode

    def _add_ego(self, ego: EgoState, time_ns: int, tick: int) -> None:
        if EGO_TOPIC not in self._channels:
            schema = body_model(EgoState).model_json_schema()
            self._add_json_channel(EGO_TOPIC, EgoState.__name__, schema)
        self._add(EGO_TOPIC, time_ns, json.dumps(to_body(ego)), tick)

    def _add_json_channel(self, topic: str, name: str, schema: Mapping[str, Any]) -> None:
        text = json.dumps(plain_schema(schema)).encode()
        number = self._writer.register_schema(name, "jsonschema", text)
        self._channels[topic] = self._writer.register_channel(topic, "json", number)

    def _add(self, topic: str, time_ns: int, data: bytes | str, number: int = 0) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self._writer.add_message(self._channels[topic], time_ns, raw, time_ns, number)


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema without references and alternatives, which viewers do not read.

    Of the alternatives "a value or null", the value stays.
    """
    definitions = schema.get("$defs", {})

    def plain(part: Any) -> Any:
        if isinstance(part, list):
            return [plain(each) for each in part]
        if not isinstance(part, Mapping):
            return part
        if "$ref" in part:
            return plain(definitions[part["$ref"].rpartition("/")[2]])
        if "anyOf" in part:
            return plain(next(each for each in part["anyOf"] if each.get("type") != "null"))
        return {key: plain(value) for key, value in part.items() if key != "$defs"}

    made: dict[str, Any] = plain(schema)
    return made


def schema_of(value: Any) -> dict[str, Any]:
    """A JSON schema of plain JSON, with the types that `value` has."""
    if isinstance(value, Mapping):
        parts = {key: schema_of(each) for key, each in value.items() if each is not None}
        return {"type": "object", "properties": parts}
    if isinstance(value, list | tuple):
        return {"type": "array", "items": schema_of(value[0]) if value else {"type": "number"}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return {"type": "number" if isinstance(value, int | float) else "string"}


def recover_recording(broken: Path, out: Path, viewable: bool = True) -> int:
    """Copy the complete frames of an unfinished or truncated recording to `out`.

    Args:
        viewable: also write the channels for viewers, which takes time.

    Returns:
        The number of frames copied. Frames after the first damage are not copied.

    Raises:
        RecordingError: no frame is complete, or a file cannot be opened.
    """
    try:
        with broken.open("rb") as source, out.open("wb") as target:
            count = _copy_complete_frames(source, target, viewable)
    except OSError as error:
        raise RecordingError(f"cannot recover {broken}: {error.strerror}") from error
    if count == 0:
        out.unlink(missing_ok=True)
        raise RecordingError(f"cannot recover {broken}: it contains no complete frame")
    return count


def _copy_complete_frames(source: IO[bytes], target: IO[bytes], viewable: bool) -> int:
    copy: RecordingWriter | None = None
    reset: Mapping[str, Any] | None = None
    control: str | None = None
    count = 0
    for topic, data in _records_before_damage(source):
        if topic == SPEC_RECORD:
            copy = RecordingWriter(target, json.loads(data), viewable)
        elif topic == RESET_TOPIC:
            reset = json.loads(data)
        elif topic == CONTROL_TOPIC:
            control = data.decode()
        elif topic.startswith(NOTE_TOPICS) and copy is not None and count:
            copy.add_note(topic, json.loads(data))
        elif topic == FRAME_TOPIC and copy is not None:
            try:
                frame = read_frame(decode(unpack(data, LIMITS), LIMITS))
            except ProtocolError:
                break
            if frame.tick == 0:
                copy.begin_episode(frame.episode, **(reset or {"seed": None, "options": {}}))
                control = None
            copy.add_frame(data, frame, control)
            count += 1
    if copy is not None:
        copy.finish()
    return count


def _records_before_damage(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Topic (or name of a metadata record) and content of each record before the first damage."""
    topics: dict[int, str] = {}
    reader = StreamReader(source, validate_crcs=True, record_size_limit=_MAX_RECORD_BYTES)
    try:
        for record in reader.records:
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Metadata) and record.name == SPEC_RECORD:
                yield SPEC_RECORD, record.metadata["json"].encode()
            elif isinstance(record, Message):
                yield topics[record.channel_id], record.data
    except DAMAGE_ERRORS:
        return
