"""The MCAP files of recordings: how they are written, and how a damaged file is recovered."""

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
from sim2street.bridge.wire.codec import PROTOCOL, Body, Limits, decode, unpack
from sim2street.bridge.wire.schema import ControlBody, ResetBody
from sim2street.bridge.wire.world_messages import read_frame

RESET_TOPIC = "/reset"
CONTROL_TOPIC = "/control"
FRAME_TOPIC = "/frame"
TOPICS = (RESET_TOPIC, CONTROL_TOPIC, FRAME_TOPIC)

SPEC_RECORD = "sim2street/spec"
EPISODE_RECORD = "sim2street/episode"

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
    """Writes resets, controls and packed frames to an open file."""

    def __init__(self, file: IO[bytes], spec: Mapping[str, Any]) -> None:
        """Start the file. `spec` is the world's spec as a message body."""
        self._writer = Writer(file)
        self._writer.start(profile="sim2street", library=PROTOCOL)
        self._writer.add_metadata(SPEC_RECORD, {"json": json.dumps(spec)})
        self._channels = {topic: self._channel(topic) for topic in TOPICS}
        self._episode: EpisodeInfo | None = None
        self._next_start_ns = 0

    def begin_episode(self, episode: int, seed: int | None, options: Mapping[str, Any]) -> None:
        """End the current episode, if any, and start the next one."""
        self.end_episode()
        start_ns = self._next_start_ns
        self._episode = EpisodeInfo(episode, seed, dict(options), 0, start_ns, start_ns)
        self._add(RESET_TOPIC, start_ns, json.dumps({"seed": seed, "options": dict(options)}))

    def add_frame(self, blob: bytes, tick: int, time_s: float, control: str | None) -> None:
        """Write a packed frame, after the control (as JSON) that led to it."""
        if self._episode is None:
            raise RecordingError("no episode to record: call reset first")
        time_ns = self._episode.start_ns + max(0, round(time_s * 1e9))
        if control is not None:
            self._add(CONTROL_TOPIC, time_ns, control, tick)
        self._add(FRAME_TOPIC, time_ns, blob, tick)
        self._episode = dataclasses.replace(self._episode, ticks=tick, end_ns=time_ns)

    def end_episode(self) -> None:
        """Write the metadata record of the current episode, if any."""
        if self._episode is not None:
            self._writer.add_metadata(EPISODE_RECORD, self._episode.as_metadata())
            self._next_start_ns = self._episode.end_ns + EPISODE_GAP_NS
            self._episode = None

    def finish(self) -> None:
        """End the last episode and write the index of the file."""
        self.end_episode()
        self._writer.finish()

    def _channel(self, topic: str) -> int:
        if topic == FRAME_TOPIC:
            return self._writer.register_channel(topic, PROTOCOL, 0)
        model: type[Body] = ResetBody if topic == RESET_TOPIC else ControlBody
        text = json.dumps(model.model_json_schema()).encode()
        schema = self._writer.register_schema(model.__name__, "jsonschema", text)
        return self._writer.register_channel(topic, "json", schema)

    def _add(self, topic: str, time_ns: int, data: bytes | str, number: int = 0) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self._writer.add_message(self._channels[topic], time_ns, raw, time_ns, number)


def recover_recording(broken: Path, out: Path) -> int:
    """Copy the complete frames of an unfinished or truncated recording to `out`.

    Returns:
        The number of frames copied. Frames after the first damage are not copied.

    Raises:
        RecordingError: no frame is complete, or a file cannot be opened.
    """
    try:
        with broken.open("rb") as source, out.open("wb") as target:
            count = _copy_complete_frames(source, target)
    except OSError as error:
        raise RecordingError(f"cannot recover {broken}: {error.strerror}") from error
    if count == 0:
        out.unlink(missing_ok=True)
        raise RecordingError(f"cannot recover {broken}: it contains no complete frame")
    return count


def _copy_complete_frames(source: IO[bytes], target: IO[bytes]) -> int:
    copy: RecordingWriter | None = None
    reset: Mapping[str, Any] | None = None
    control: str | None = None
    count = 0
    for topic, data in _records_before_damage(source):
        if topic == SPEC_RECORD:
            copy = RecordingWriter(target, json.loads(data))
        elif topic == RESET_TOPIC:
            reset = json.loads(data)
        elif topic == CONTROL_TOPIC:
            control = data.decode()
        elif copy is not None:
            try:
                frame = read_frame(decode(unpack(data, LIMITS), LIMITS))
            except ProtocolError:
                break
            if frame.tick == 0:
                copy.begin_episode(frame.episode, **(reset or {"seed": None, "options": {}}))
                control = None
            copy.add_frame(data, frame.tick, frame.time_s, control)
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
