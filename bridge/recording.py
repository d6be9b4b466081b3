"""Drives as files: a World that also writes, and a World that reads.

A recording is an MCAP file: `/reset`, `/control` and `/frame` messages in order of
simulated time, frames packed as on the wire (`wire.codec.pack`), and a metadata record
for the spec and for every episode. Replay is bit-exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mcap.reader import SeekingReader

from sim2street.bridge.errors import EpisodeEnd, RecordingError, WorldError
from sim2street.bridge.frame import Control, SensorFrame, WorldSpec
from sim2street.bridge.recording_file import (
    BROKEN,
    CONTROL_TOPIC,
    EPISODE_RECORD,
    FRAME_TOPIC,
    LIMITS,
    SPEC_RECORD,
    EpisodeInfo,
    FrameFile,
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

__all__ = ["EpisodeInfo", "Recorder", "ReplayWorld", "recover_recording"]


class Recorder(World):
    """Writes every tick of the world it wraps to a file, and passes it on unchanged.

    The file is written as `PATH.part` and renamed when this world is closed. If it cannot
    be written (a full disk), the call at hand raises RecordingError, the `.part` stays for
    `recover_recording`, and nothing of the name PATH appears.
    """

    def __init__(self, world: World, path: Path, include_rgb: bool = True) -> None:
        """`include_rgb`: also keep rendered pictures, where the world has them."""
        self.world = world
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._include_rgb = include_rgb
        self._file: IO[bytes] | None = None
        self._frames: FrameFile | None = None

    @property
    def spec(self) -> WorldSpec:
        return self.world.spec

    @property
    def option_names(self) -> frozenset[str] | None:
        return self.world.option_names

    def open(self, sensors: bool = True) -> None:
        if self._path.exists():
            raise RecordingError(f"{self._path} exists already: remove it or take another name")
        self.world.open(sensors)
        spec = self.world.spec
        if not self._include_rgb:
            spec = dataclasses.replace(spec, fields=spec.fields - {"rgb"})
        try:
            with self._writing():
                self._part.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._part.open("wb")
                self._frames = FrameFile(self._file, spec_body(spec))
        except RecordingError:
            self.world.close()
            raise

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        plain = reset_body(seed, options)
        frame = self.world.reset(seed, options)
        with self._writing():
            self._open_frames().begin(frame.episode, **plain)
        self._write(frame, None)
        return frame

    def step(self, control: Control) -> SensorFrame:
        frame = self.world.step(control)
        self._write(frame, json.dumps(control_body(control)))
        return frame

    def close(self) -> None:
        """Finish the file and close the world. Allowed more than once."""
        try:
            self._finish()
        finally:
            self.world.close()

    def _write(self, frame: SensorFrame, control: str | None) -> None:
        if not self._include_rgb:
            views = {n: dataclasses.replace(v, rgb=None) for n, v in frame.views.items()}
            frame = dataclasses.replace(frame, views=views)
        body, arrays = frame_parts(frame)
        message = Message("frame", frame.tick, "recording", frame.episode, body, arrays)
        blob = pack(encode(message))
        with self._writing():
            self._open_frames().add(blob, frame.tick, frame.time_s, control)

    def _open_frames(self) -> FrameFile:
        if self._frames is None:
            raise RecordingError(f"{self._path} is not being written: open it, or start another")
        return self._frames

    def _finish(self) -> None:
        """Write the index, then let the file appear under its name: all of it or nothing."""
        if self._file is None or self._frames is None:
            return
        with self._writing():
            self._frames.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
        self._file = self._frames = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Ends the recording at the first failure to write, with a RecordingError."""
        try:
            yield
        except OSError as error:
            file, self._file, self._frames = self._file, None, None
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()  # flushes, which fails once more on a full disk
            raise RecordingError(
                f"cannot write {self._path}: {error.strerror}. What was written so far is in "
                f"{self._part.name}: make room, then recover or remove it"
            ) from error


class ReplayWorld(World):
    """A recording as a World: `step` returns the next recorded frame, whatever the control.

    `reset(options={"episode": i})` replays the i-th episode of the file (from 0); else a
    seed chooses the first episode recorded with it, and without either the episodes come
    one after the other, over and over. Frames are bit-exact; `frame.episode` goes on from
    the first recorded number, so that no two resets share one.
    """

    def __init__(self, path: Path, recover: bool = False, any_seed: bool = False) -> None:
        """`recover`: read as far as an unfinished or truncated file goes.

        `any_seed`: a seed that was never recorded chooses an episode too.
        """
        self._path = path
        self._recover = recover
        self._any_seed = any_seed
        self._stack = contextlib.ExitStack()
        self._reader: SeekingReader | None = None
        self._spec: WorldSpec | None = None
        self._sensors = True
        self._frames: Iterator[tuple[Control | None, SensorFrame]] = iter(())
        self._playing: int | None = None
        self._resets = 0
        self.episodes: tuple[EpisodeInfo, ...] = ()
        self.last_control: Control | None = None

    @property
    def spec(self) -> WorldSpec:
        if self._spec is None:
            raise WorldError("open this ReplayWorld first: its spec is in the file")
        return self._spec

    @property
    def option_names(self) -> frozenset[str]:
        return frozenset({"episode"})

    def open(self, sensors: bool = True) -> None:
        """Read the index.

        Raises:
            RecordingError: there is no such file, or it is not a finished recording.
        """
        self.close()
        self._sensors = sensors
        try:
            path = self._recovered() if self._recover else self._path
            stream = self._stack.enter_context(path.open("rb"))
            self._read_index(SeekingReader(stream, validate_crcs=True))
        except OSError as error:
            raise RecordingError(f"cannot read {self._path}: {error.strerror}") from error
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            raise RecordingError(
                f"{self._path} is no finished recording ({reason}): it was cut off, or is "
                "another file. With `recover` (--recover) what is complete in it is replayed"
            ) from error
        finally:
            if self._reader is None:
                self.close()

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> SensorFrame:
        index = self._choose(seed, dict(options or {}))
        self._resets += 1
        self._playing = index
        self._frames = self._play(self.episodes[index])
        return self._next()

    def step(self, control: Control) -> SensorFrame:
        control.validate()
        return self._next()

    def close(self) -> None:
        """Close the file. Allowed more than once."""
        self._frames, self._reader, self._playing = iter(()), None, None
        self._stack.close()

    def _recovered(self) -> Path:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        whole = Path(folder) / "recovered.mcap"
        recover_recording(self._path, whole)
        return whole

    def _read_index(self, reader: SeekingReader) -> None:
        if reader.get_summary() is None:
            raise ValueError("it has no index")
        records = [(record.name, record.metadata) for record in reader.iter_metadata()]
        specs = [data["json"] for name, data in records if name == SPEC_RECORD]
        if not specs:
            raise ValueError("it holds no sim2street frames")
        self._spec = read_spec(json.loads(specs[0]))
        self.episodes = tuple(
            EpisodeInfo(**json.loads(data["json"]))
            for name, data in records
            if name == EPISODE_RECORD
        )
        self._reader = reader

    def _choose(self, seed: int | None, options: dict[str, Any]) -> int:
        index = options.pop("episode", None)
        if options:
            raise ConfigError(f"a recording knows the option 'episode', not {sorted(options)}")
        if self._reader is None or not self.episodes:
            raise WorldError(f"{self._path}: not open, or without an episode")
        if index is None and seed is not None:
            return self._of_seed(seed)
        if index is None:
            return 0 if self._playing is None else (self._playing + 1) % len(self.episodes)
        if not isinstance(index, int) or not 0 <= index < len(self.episodes):
            raise ConfigError(
                f"episode must be in 0..{len(self.episodes) - 1} (of {self._path}), got {index!r}"
            )
        return index

    def _of_seed(self, seed: int) -> int:
        seeds = [info.seed for info in self.episodes]
        if seed not in seeds and self._any_seed:
            return seed % len(seeds)
        if seed not in seeds:
            raise ConfigError(
                f"{self._path} holds no episode of seed {seed}, its seeds are {seeds}; "
                "or choose one by options={'episode': index}"
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
        if self._playing is None:
            raise WorldError("no episode to step: call reset first")
        try:
            self.last_control, frame = next(self._frames)
        except StopIteration:
            raise EpisodeEnd(
                f"episode {self._playing} of {self._path} ends after "
                f"{self.episodes[self._playing].ticks} ticks: reset"
            ) from None
        except BROKEN as error:
            self._frames = iter(())
            raise RecordingError(
                f"{self._path} is damaged here ({error}): with `recover` (--recover) what comes "
                "before is replayed"
            ) from error
        return frame
