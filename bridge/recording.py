"""Drives as files: `Recorder` writes the frames of a World, `ReplayWorld` plays them back.

A recording is an MCAP file (https://mcap.dev). It holds `/reset`, `/control` and `/frame`
messages in order of simulated time, with frames packed as on the wire, one metadata record for
the world's spec, and one per episode. Replayed frames equal the recorded ones bit by bit. Further
channels show the drive in viewers such as Foxglove, see `recording_file`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mcap.reader import SeekingReader

from sim2street.bridge.errors import EpisodeEnd, RecordingError, WorldError
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.recording_file import (
    CONTROL_TOPIC,
    DAMAGE_ERRORS,
    EPISODE_RECORD,
    FRAME_TOPIC,
    INCOMPLETE_RECORD,
    LIMITS,
    SPEC_RECORD,
    EpisodeInfo,
    RecordingWriter,
    recover_recording,
)
from sim2street.bridge.wire.codec import Message, decode, encode, pack, unpack
from sim2street.bridge.wire.world_messages import (
    control_body,
    frame_parts,
    read_control,
    read_frame,
    read_spec,
    reset_body,
    spec_body,
)
from sim2street.bridge.world import World
from sim2street.configs import ConfigError

RECOVER_HINT = (
    "`sim2street replay FILE --recover` films what is whole; as a world, a recording has the key "
    "`recover: true`"
)


def partial_path(path: Path) -> Path:
    """Where a recording is written until it is complete: `drive.partial.mcap`."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class Recorder(World):
    """Wraps a World and writes every frame to a file; the frames pass through unchanged.

    The file is written as `NAME.partial.mcap` and renamed to `NAME.mcap` by `close`, so a file
    with that name is always complete. It keeps the partial name, and can be read with `recover`,

    * after `interrupt`, or an error in a `with` block: every frame is in it;
    * if writing fails (the disk is full; the call raises RecordingError) or the process is killed:
      the last frames may be missing.
    """

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self._path = path
        self._part = partial_path(path)
        self._file: IO[bytes] | None = None
        self._writer: RecordingWriter | None = None
        self._interrupted: str | None = None
        self._frames = 0

    @property
    def spec(self) -> WorldSpec:
        return self.world.spec

    @property
    def option_names(self) -> frozenset[str] | None:
        return self.world.option_names

    def open(self, sensors: bool = True) -> None:
        if self._path.exists():
            raise RecordingError(f"{self._path} exists already: remove it or choose another name")
        self.world.open(sensors)
        self._interrupted, self._frames = None, 0
        try:
            with self._writing():
                self._part.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._new_part()
                self._writer = RecordingWriter(self._file, spec_body(self.world.spec))
        except RecordingError:
            self.world.close()
            raise

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        plain = reset_body(seed, options)
        frame = self.world.reset(seed, options)
        with self._writing():
            self._opened_writer().begin_episode(frame.episode, **plain)
        self._write(frame, None)
        return frame

    def step(self, control: Control) -> SensorFrame:
        frame = self.world.step(control)
        self._write(frame, json.dumps(control_body(control)))
        return frame

    def note(self, topic: str, content: Mapping[str, Any]) -> None:
        """Add plain JSON about the last frame, such as a reward, to a topic below `/env/`."""
        with self._writing():
            self._opened_writer().add_note(topic, content)

    def interrupt(self, reason: str) -> Path:
        """Mark the recording as incomplete. `close` then leaves it at the path returned here.

        Without a single frame, nothing is left.
        """
        self._interrupted = reason
        return self._part

    def close(self) -> None:
        """Finish the file and close the world. Calling it twice is allowed."""
        try:
            self._finish()
        finally:
            self.world.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an error the recording stays incomplete."""
        if isinstance(error, Exception):
            self.interrupt(str(error) or type(error).__name__)
        elif error is not None:
            self._abandon()  # Ctrl-C may have come in the middle of a record
        self.close()

    def _write(self, frame: SensorFrame, control: str | None) -> None:
        body, arrays = frame_parts(frame)
        message = Message("frame", frame.tick, "recording", frame.episode, body, arrays)
        blob = pack(encode(message))
        with self._writing():
            self._opened_writer().add_frame(blob, frame, control)
        self._frames += 1

    def _opened_writer(self) -> RecordingWriter:
        if self._writer is None:
            raise RecordingError(
                f"{self._path} is not being written: call open first, or record to another file"
            )
        return self._writer

    def _finish(self) -> None:
        """Write the index, then rename the file to its final name if it is complete."""
        if self._file is None or self._writer is None:
            return
        with self._writing():
            self._writer.finish(self._interrupted)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if self._interrupted is None:
                os.replace(self._part, self._path)
            elif not self._frames:
                self._part.unlink()
        self._file = self._writer = None

    def _abandon(self) -> None:
        """Close the file as it is, without an index."""
        file, self._file, self._writer = self._file, None, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()  # flushing fails again on a full disk
                if not self._frames:
                    self._part.unlink()

    def _new_part(self) -> IO[bytes]:
        try:
            return self._part.open("xb")
        except FileExistsError as error:
            raise RecordingError(
                f"{self._part} is there already: it is being written, or was interrupted. Remove "
                f"it or choose another name; {RECOVER_HINT}"
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """End the recording with a RecordingError if writing fails in the block."""
        try:
            yield
        except OSError as error:
            was_open = self._file is not None
            self._abandon()
            kept = f"The frames written so far are in {self._part.name}: free some space, then "
            raise RecordingError(
                f"cannot write {self._path}: {error.strerror}"
                + (f". {kept}recover or remove that file" if was_open else "")
            ) from error


class ReplayWorld(World):
    """Plays a recording back as a World: `step` returns the next frame and ignores the control.

    `reset` chooses the episode: `options={"episode": i}` the i-th of the file (from 0), otherwise
    a seed the first episode recorded with that seed. With neither, episodes follow in the order
    of the file, starting over at its end. Frames are bit-exact, except that `frame.episode`
    counts resets, starting at the first recorded number.

    Attributes:
        episodes: the episodes in the file; empty before `open`.
        last_control: the recorded control that led to the last frame; None for tick 0.
    """

    def __init__(self, path: Path, recover: bool = False, any_seed: bool = False) -> None:
        """Name the file; `open` reads it.

        Args:
            recover: read an unfinished or truncated file up to the damage.
            any_seed: accept seeds that were not recorded; they choose an episode by
                `seed % number of episodes`.
        """
        self._path = path
        self._recover = recover
        self._any_seed = any_seed
        self._stack = contextlib.ExitStack()
        self._reader: SeekingReader | None = None
        self._spec: WorldSpec | None = None
        self._sensors = True
        self._frames: Iterator[tuple[Control | None, SensorFrame]] = iter(())
        self._episode_index: int | None = None
        self._resets = 0
        self.episodes: tuple[EpisodeInfo, ...] = ()
        self.last_control: Control | None = None

    @property
    def spec(self) -> WorldSpec:
        if self._spec is None:
            raise WorldError("the spec of a ReplayWorld is in its file: call open first")
        return self._spec

    @property
    def option_names(self) -> frozenset[str]:
        return frozenset({"episode"})

    def open(self, sensors: bool = True) -> None:
        """Open the file and read its index.

        Raises:
            RecordingError: the file does not exist, or is not a finished recording.
        """
        self.close()
        self._sensors = sensors
        try:
            path = self._recovered() if self._recover else self._path
            stream = self._stack.enter_context(path.open("rb"))
            self._read_index(SeekingReader(stream, validate_crcs=True))
        except OSError as error:
            raise RecordingError(f"cannot read {self._path}: {error.strerror}") from error
        except DAMAGE_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise RecordingError(
                f"{self._path} is not a finished recording ({reason}). If it was cut off: "
                f"{RECOVER_HINT}"
            ) from error
        finally:
            if self._reader is None:
                self.close()

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        index = self._choose_index(seed, dict(options or {}))
        self._resets += 1
        self._episode_index = index
        self._frames = self._play(self.episodes[index])
        return self._next()

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        return self._next()

    def close(self) -> None:
        """Close the file. Calling it twice is allowed."""
        self._frames, self._reader, self._episode_index = iter(()), None, None
        self._stack.close()

    def _recovered(self) -> Path:
        """A temporary copy with the complete frames; removed by `close`."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        copy = Path(folder) / "recovered.mcap"
        recover_recording(self._path, copy, viewable=False)
        return copy

    def _read_index(self, reader: SeekingReader) -> None:
        if reader.get_summary() is None:
            raise ValueError("no index")
        records = [(record.name, record.metadata) for record in reader.iter_metadata()]
        specs = [data["json"] for name, data in records if name == SPEC_RECORD]
        if not specs:
            raise ValueError("no sim2street frames")
        reasons = [data["reason"] for name, data in records if name == INCOMPLETE_RECORD]
        if reasons:
            raise RecordingError(
                f"{self._path} is incomplete: recording ended early ({reasons[0]}). {RECOVER_HINT}"
            )
        self._spec = read_spec(json.loads(specs[0]))
        self.episodes = tuple(
            EpisodeInfo(**json.loads(data["json"]))
            for name, data in records
            if name == EPISODE_RECORD
        )
        self._reader = reader

    def _choose_index(self, seed: int | None, options: dict[str, Any]) -> int:
        index = options.pop("episode", None)
        if options:
            raise ConfigError(
                f"a recording has only the reset option 'episode', got {sorted(options)}"
            )
        if self._reader is None:
            raise WorldError(f"{self._path} is not open: call open first")
        if not self.episodes:
            raise WorldError(f"{self._path} contains no episode")
        if index is None and seed is not None:
            return self._index_of_seed(seed)
        if index is None:
            return (
                0 if self._episode_index is None else (self._episode_index + 1) % len(self.episodes)
            )
        if not isinstance(index, int) or not 0 <= index < len(self.episodes):
            raise ConfigError(
                f"option episode must be in 0..{len(self.episodes) - 1} for {self._path}, "
                f"got {index!r}"
            )
        return index

    def _index_of_seed(self, seed: int) -> int:
        seeds = [info.seed for info in self.episodes]
        if seed not in seeds and self._any_seed:
            return seed % len(seeds)
        if seed not in seeds:
            raise ConfigError(
                f"{self._path} has no episode with seed {seed}, only {seeds}; "
                "use one of these or options={'episode': index}"
            )
        return seeds.index(seed)

    def _play(self, info: EpisodeInfo) -> Iterator[tuple[Control | None, SensorFrame]]:
        assert self._reader is not None
        control = None
        messages = self._reader.iter_messages(
            [CONTROL_TOPIC, FRAME_TOPIC], starting_at=info.start_ns, ending_before=info.end_ns + 1
        )
        for _, channel, message in messages:
            if channel.topic == CONTROL_TOPIC:
                control = read_control(json.loads(message.data))
                continue
            frame = read_frame(decode(unpack(message.data, LIMITS), LIMITS))
            episode = self.episodes[0].episode + self._resets - 1
            views = frame.views if self._sensors else {}
            yield control, dataclasses.replace(frame, episode=episode, views=views)

    def _next(self) -> SensorFrame:
        if self._episode_index is None:
            raise WorldError("no episode to step: call reset first")
        try:
            self.last_control, frame = next(self._frames)
        except StopIteration:
            raise EpisodeEnd(
                f"episode {self._episode_index} of {self._path} ends after "
                f"{self.episodes[self._episode_index].ticks} ticks: call reset"
            ) from None
        except DAMAGE_ERRORS as error:
            self._frames = iter(())
            raise RecordingError(
                f"{self._path} is damaged at this frame ({error}): {RECOVER_HINT}"
            ) from error
        return frame
