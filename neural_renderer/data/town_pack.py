"""Clips of a simulated world on disk: labels, depth, instances, poses and actors, no images.

One `.npz` file per clip, about 40 kB for a frame of 512x256 pixels. Inverse depth is stored in 16
bits as differences along the rows: on a plane it is an affine function of the pixel, so that the
differences repeat and compress well.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from sim2street.bridge.errors import RecordingError
from sim2street.bridge.frame import SKY_DEPTH_M, ByteArray, Control, FloatArray, SensorFrame, View
from sim2street.bridge.labels import taxonomy_fingerprint
from sim2street.bridge.world import World
from sim2street.configs import StrictModel
from sim2street.neural_renderer.canvas.source import CanvasSource

NEAREST_M = 0.5
"""Smaller depths are stored as this."""

FORMAT = 2

CANVAS_QUALITY = 92
"""Of WebP, 0 to 100."""


class PackConfig(StrictModel):
    """How many clips are recorded and how.

    Attributes:
        clips: number of clips, each from an episode of its own.
        frames: frames in each clip.
        every: ticks of the simulation from one frame to the next.
        warm_up: ticks before the first frame, so that traffic is moving.
        seed: of the first episode; each following episode has the next number.
    """

    clips: int = Field(60, ge=1)
    frames: int = Field(16, ge=2)
    every: int = Field(2, ge=1)
    warm_up: int = Field(40, ge=0)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PackedClip:
    """A clip in memory.

    Attributes:
        labels: uint8 (T, H, W) tags.
        depth_m: float32 (T, H, W), planar z, sky = 1000.
        instances: uint16 (T, H, W), 1..A actors, above A other instances, 0 none.
        camera: float32 (4,), fx, fy, cx, cy in pixels.
        pose: float32 (T, 4, 4), camera (OpenCV axes) to world.
        actor_pose: float32 (T, A, 4, 4), body to world, identity where absent.
        actor_present: bool (T, A).
        name: world and seed.
        canvas: of each frame, an image as `encode_canvas` writes it; empty without a canvas.
    """

    labels: ByteArray
    depth_m: FloatArray
    instances: npt.NDArray[np.uint16]
    camera: FloatArray
    pose: FloatArray
    actor_pose: FloatArray
    actor_present: npt.NDArray[np.bool_]
    name: str
    canvas: tuple[bytes, ...] = ()

    def canvas_planes(self, frame: int) -> FloatArray:
        """The canvas of a frame as the generator takes it: float32 (4, H, W)."""
        if not self.canvas:
            return np.zeros((4, *self.labels.shape[1:]), np.float32)
        return decode_canvas(self.canvas[frame])


def pack_clips(
    world: World,
    drive: Callable[[SensorFrame], Control],
    folder: Path,
    config: PackConfig,
    report: Callable[[int, int], None] = lambda done, total: None,
    recorded: bool = False,
    canvas: CanvasSource | None = None,
) -> int:
    """Drive an opened world and write clips; returns the number of bytes written.

    Clips that exist are kept, so that an interrupted call can be repeated.

    Args:
        world: opened, with labels and depth.
        drive: the driver.
        folder: where the clips go.
        config: how many clips and how.
        report: called after each clip with its number and the number of clips.
        recorded: the world is a recording, whose episodes have numbers and no seeds.
        canvas: adds the canvas of each frame; None: clips without canvases.

    Raises:
        RecordingError: the folder cannot be written, or a view has no labels or no depth.
        EpisodeEnd: a recorded episode is shorter than a clip.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(f"cannot write clips to {folder}: {error.strerror}") from error
    written = 0
    for index in range(config.clips):
        path = folder / f"clip_{index:04d}.npz"
        if not path.exists():
            number = config.seed + index
            start = world.reset(options={"episode": number}) if recorded else world.reset(number)
            frames = drive_clip(world, drive, config, start)
            name = f"{world.spec.name}/{number}"
            packed = clip_from_frames(frames, name)
            if canvas is not None:
                drawn = [canvas.planes(f.view, number, f.actors) for f in frames]
                packed = replace(packed, canvas=tuple(map(encode_canvas, drawn)))
            data = encode_clip(packed)
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(data)
            temporary.rename(path)  # so that there are no incomplete clips
            written += len(data)
        report(index + 1, config.clips)
    return written


def drive_clip(
    world: World, drive: Callable[[SensorFrame], Control], config: PackConfig, start: SensorFrame
) -> list[SensorFrame]:
    """Drive the episode that begins with `start`; every n-th frame after the warm-up.

    Raises:
        EpisodeEnd: a recorded episode is shorter than the clip.
    """
    frame, frames = start, []
    last = config.warm_up + config.every * (config.frames - 1)
    for tick in range(last + 1):
        if tick >= config.warm_up and (tick - config.warm_up) % config.every == 0:
            frames.append(frame)
        if tick < last:
            frame = world.step(drive(frame))
    return frames


def clip_from_frames(frames: Sequence[SensorFrame], name: str) -> PackedClip:
    """Pack consecutive frames with one view each.

    Raises:
        RecordingError: a view has no labels or no depth.
    """
    views = [frame.view for frame in frames]
    actors = sorted({actor.actor_id for frame in frames for actor in frame.actors})
    labels, depth_m = zip(*(_labels_and_depth(view, name) for view in views), strict=True)
    pose = np.tile(np.eye(4, dtype=np.float32), (len(frames), len(actors), 1, 1))
    present = np.zeros((len(frames), len(actors)), dtype=bool)
    place = {actor_id: i for i, actor_id in enumerate(actors)}
    for t, frame in enumerate(frames):
        for actor in frame.actors:
            pose[t, place[actor.actor_id]] = actor.pose
            present[t, place[actor.actor_id]] = True
    camera = views[0].camera
    intrinsics = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    return PackedClip(
        np.stack(labels),
        np.stack(depth_m),
        _renumbered(views, actors),
        np.array(intrinsics, dtype=np.float32),
        np.stack([view.pose for view in views]),
        pose,
        present,
        name,
    )


def encode_clip(clip: PackedClip) -> bytes:
    """The content of a clip's `.npz` file."""
    header = {"format": FORMAT, "taxonomy": taxonomy_fingerprint(), "name": clip.name}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        labels=clip.labels,
        depth=_differences(inverse_depth(clip.depth_m)),
        instances=clip.instances,
        camera=clip.camera,
        pose=clip.pose,
        actor_pose=clip.actor_pose,
        actor_present=clip.actor_present,
        canvas=np.frombuffer(b"".join(clip.canvas), np.uint8),
        canvas_bytes=np.array([len(image) for image in clip.canvas], np.int64),
    )
    return buffer.getvalue()


def decode_clip(data: bytes, source: str) -> PackedClip:
    """Decode the content of a clip's file.

    source: name of the file, for error messages.

    Raises:
        RecordingError: no packed clip, or one of another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in arrays.files}
        header = json.loads(parts["header"].tobytes())
        if header["format"] != FORMAT or header["taxonomy"] != taxonomy_fingerprint():
            raise RecordingError(
                f"{source}: clip format {header['format']} with taxonomy {header['taxonomy']}, "
                f"expected {FORMAT} with {taxonomy_fingerprint()}; pack the clips again"
            )
        return PackedClip(
            parts["labels"],
            depth_from_inverse(_sums(parts["depth"])),
            parts["instances"],
            parts["camera"],
            parts["pose"],
            parts["actor_pose"],
            parts["actor_present"],
            str(header["name"]),
            _split(parts["canvas"].tobytes(), parts["canvas_bytes"]),
        )
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise RecordingError(f"{source}: not a packed clip ({error})") from error


def encode_canvas(planes: FloatArray) -> bytes:
    """A canvas, float32 (4, H, W), as WebP: 8 bits, colours as they are where it is opaque."""
    coverage = planes[3:]
    rgb = (planes[:3] / np.maximum(coverage, 1e-3) + 1.0) * 127.5
    rgba = np.concatenate([rgb[::-1], coverage * 255.0]).transpose(1, 2, 0)
    pixels = np.clip(np.rint(rgba), 0, 255).astype(np.uint8)
    return cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, CANVAS_QUALITY])[1].tobytes()


def decode_canvas(image: bytes) -> FloatArray:
    """What `encode_canvas` wrote: float32 (4, H, W)."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise RecordingError("a packed canvas cannot be decoded: pack the clips again")
    if pixels.shape[2] == 3:  # WebP leaves out an alpha channel that is opaque everywhere
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    planes = pixels.transpose(2, 0, 1).astype(np.float32)
    coverage = planes[3] / np.float32(255.0)
    rgb = (planes[2::-1] / np.float32(127.5) - np.float32(1.0)) * coverage
    return np.concatenate([rgb, coverage[None]])


def _split(data: bytes, sizes: npt.NDArray[np.int64]) -> tuple[bytes, ...]:
    ends = np.cumsum(sizes).tolist()
    return tuple(data[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True))


def inverse_depth(depth_m: FloatArray) -> npt.NDArray[np.uint16]:
    """Inverse depth in 16 bits: 65535 at 0.5 m and nearer, 0 for the sky."""
    scaled = np.rint(65535.0 * NEAREST_M / np.maximum(depth_m, NEAREST_M))
    scaled = np.maximum(scaled, 1.0)
    return np.where(depth_m >= SKY_DEPTH_M, 0.0, scaled).astype(np.uint16)


def depth_from_inverse(inverse: npt.NDArray[np.uint16]) -> FloatArray:
    """Depth in metres from `inverse_depth`; within 0.2 % at 100 m."""
    depth = 65535.0 * NEAREST_M / np.maximum(inverse.astype(np.float32), 1.0)
    return np.where(inverse == 0, SKY_DEPTH_M, np.minimum(depth, 999.0)).astype(np.float32)


def _labels_and_depth(view: View, name: str) -> tuple[ByteArray, FloatArray]:
    if view.labels is None or view.depth_m is None:
        raise RecordingError(
            f"{name}: clips need views with labels and depth, and this world's views lack them"
        )
    return view.labels, view.depth_m


def _renumbered(views: Sequence[View], actors: list[int]) -> npt.NDArray[np.uint16]:
    """Instances renumbered: actors first, then other instances, ascending by id."""
    maps = [
        view.instances if view.instances is not None else np.zeros_like(view.labels, np.uint32)
        for view in views
    ]
    ids = np.unique(np.stack(maps))
    others = [int(i) for i in ids if i and int(i) not in set(actors)]
    known = {actor_id: i + 1 for i, actor_id in enumerate([*actors, *others])}
    numbers = np.array([known.get(int(i), 0) for i in ids], dtype=np.uint16)
    return numbers[np.searchsorted(ids, np.stack(maps))]


def _differences(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Differences along the rows, modulo 2**16."""
    return np.diff(values, axis=-1, prepend=np.uint16(0)).astype(np.uint16)


def _sums(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Inverse of `_differences`."""
    return np.cumsum(values, axis=-1, dtype=np.uint16)
