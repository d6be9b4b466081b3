"""Clips: the motion given by poses and depth is the motion of the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from street_photos import write_drives
from support.toy_world import ToyWorld

from sim2street.bridge.errors import RecordingError
from sim2street.bridge.frame import SKY_DEPTH_M, Control, SensorFrame
from sim2street.bridge.labels import Tag
from sim2street.configs import ConfigError
from sim2street.neural_renderer.conditions.reprojection import (
    clip_moves,
    movers_in,
    reproject,
    sample,
    visible_before,
)
from sim2street.neural_renderer.data.batch import ClipBatch
from sim2street.neural_renderer.data.dataset import PhotoDataset, PhotoDatasetConfig
from sim2street.neural_renderer.data.motion_paths import MotionConfig
from sim2street.neural_renderer.data.photo_clips import photo_clips
from sim2street.neural_renderer.data.photos import PhotoSourceConfig
from sim2street.neural_renderer.data.prepare import load_photos
from sim2street.neural_renderer.data.splat import PointCloud, fill_from_nearest, splat
from sim2street.neural_renderer.data.town_clips import TownClips, TownClipsConfig
from sim2street.neural_renderer.data.town_pack import (
    PackConfig,
    PackedClip,
    decode_clip,
    depth_from_inverse,
    encode_clip,
    inverse_depth,
    pack_clips,
)
from sim2street.neural_renderer.networks.interface import LAYOUT_CHANNELS

SIZE = (96, 48)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PhotoDataset:
    root: Path = write_drives(tmp_path_factory.mktemp("street"))
    photos = load_photos(PhotoSourceConfig(name="demo", root=root, layout="camvid"))
    config = PhotoDatasetConfig(size_px=SIZE, zoom=(0.6, 0.8), roughen=None, exemplars=1)
    return PhotoDataset(config, {"demo": photos}, seed=3)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clips")
    config = PackConfig(clips=2, frames=4, every=1, warm_up=2)
    with ToyWorld() as world:
        pack_clips(world, drive, folder, config)
    return folder


def drive(frame: SensorFrame) -> Control:
    return Control(throttle=0.5)


def agreement(clip: ClipBatch, t: int, still: bool = False) -> tuple[float, float]:
    """Share of the picture that frame t - 1 showed, and of it the share with equal labels.

    `still`: as if nothing had moved.
    """
    pose, actors = clip.pose, clip.actor_pose
    moves = clip_moves(
        pose[:, t],
        pose[:, t if still else t - 1],
        actors[:, t],
        actors[:, t if still else t - 1],
        clip.actor_present[:, t] & clip.actor_present[:, t - 1],
    )
    slots = clip.instances[:, t, 0], clip.instances[:, t - 1, 0]
    motion = reproject(clip.depth_m[:, t, 0], clip.camera, moves, movers_in(slots[0]))
    visible = visible_before(motion, clip.depth_m[:, t - 1, 0], *slots)
    visible &= (clip.valid[:, t, 0] > 0) & (
        sample(clip.valid[:, t - 1], motion.source_px)[:, 0] > 0
    )
    before = sample(clip.tags[:, t - 1].float(), motion.source_px, "nearest").argmax(dim=1)
    same = before == clip.tags[:, t].float().argmax(dim=1)
    return float(visible.float().mean()), float(same[visible].float().mean())


def test_shapes_of_clips_from_photographs(dataset: PhotoDataset) -> None:
    clip = photo_clips(dataset, 4, batch_size=2, frames=3)
    b, t, (w, h) = 2, 3, SIZE
    a = clip.actor_present.shape[2]
    assert clip.rgb.shape == (b, t, 3, h, w)
    assert clip.has_rgb.tolist() == [[False, False, True]] * 2
    assert (clip.rgb[:, :-1] == 0).all()
    assert clip.tags.shape == (b, t, 29, h, w)
    assert clip.depth_m.shape == clip.valid.shape == (b, t, 1, h, w)
    assert clip.layout.shape == (b, t, LAYOUT_CHANNELS, h, w)
    assert clip.instances.shape == (b, t, 1, h, w)
    assert int(clip.instances.max()) <= a
    assert clip.actor_pose.shape == (b, t, a, 4, 4)
    assert clip.pose.shape == (b, t, 4, 4)
    assert (clip.depth_m > 0).all()
    assert (clip.depth_m <= SKY_DEPTH_M).all()
    again = photo_clips(dataset, 4, batch_size=2, frames=3)
    assert torch.equal(clip.tags, again.tags)
    assert torch.equal(clip.pose, again.pose)


def test_labels_of_clips_from_photographs_move_with_the_poses(dataset: PhotoDataset) -> None:
    motion = MotionConfig(step_m=(0.8, 1.2), standstill=0.0, mover_share=1.0)
    for step in range(3):
        clip = photo_clips(dataset, step, batch_size=2, frames=4, motion=motion)
        for t in (1, 2, 3):
            seen, same = agreement(clip, t)
            assert seen > 0.7
            assert same > 0.96
        assert agreement(clip, 3)[1] > agreement(clip, 3, still=True)[1]


def test_labels_stay_the_same_for_a_standing_camera(dataset: PhotoDataset) -> None:
    motion = MotionConfig(standstill=1.0, mover_share=0.0)
    clip = photo_clips(dataset, 1, batch_size=1, frames=3, motion=motion)
    assert torch.allclose(clip.pose[:, 0], clip.pose[:, -1])
    same = (clip.tags[:, 0] == clip.tags[:, 1]).all(dim=1)
    assert same.all()
    last = (clip.tags[:, 0] == clip.tags[:, 2]).all(dim=1)
    assert last.float().mean() > 0.95


def test_pixels_outside_the_photograph_are_not_valid(dataset: PhotoDataset) -> None:
    motion = MotionConfig(step_m=(3.0, 3.0), standstill=0.0)
    clip = photo_clips(dataset, 2, batch_size=4, frames=4, motion=motion)
    assert clip.valid[:, 0].mean() < clip.valid[:, -1].mean() - 0.03


def test_splat_keeps_the_nearest_point_and_gaps_are_filled_from_the_nearest_pixel() -> None:
    points = np.array([[0.0, 0.0, 8.0], [0.0, 0.0, 2.0], [1.0, 0.0, 4.0]], dtype=np.float32)
    cloud = PointCloud(points, np.zeros(3, bool), np.zeros(3, np.int64))
    index, depth = splat(cloud, np.eye(4)[None], (4.0, 4.0, 1.0, 0.0), (4, 1))
    assert index.tolist() == [[-1, 1, 2, -1]]
    assert depth.tolist() == [[0.0, 2.0, 4.0, 0.0]]
    assert fill_from_nearest(index, index >= 0).tolist() == [[1, 1, 2, 2]]
    back = np.eye(4)
    back[2, 3] = 6.0  # the other camera is six metres behind
    index, depth = splat(cloud, back[None], (4.0, 4.0, 1.0, 0.0), (4, 1))
    assert depth.tolist() == [[0.0, 8.0, 0.0, 0.0]]


def test_packed_clips_are_decoded_unchanged(packed: Path) -> None:
    files = sorted(packed.iterdir())
    assert [path.name for path in files] == ["clip_0000.npz", "clip_0001.npz"]
    clip = decode_clip(files[0].read_bytes(), "first")
    assert clip.labels.shape == clip.depth_m.shape == clip.instances.shape
    assert len(clip.labels) == 4
    again = decode_clip(encode_clip(clip), "again")
    for name in PackedClip.__slots__:
        assert np.array_equal(getattr(clip, name), getattr(again, name)), name


def test_packing_keeps_existing_clips(packed: Path, tmp_path: Path) -> None:
    name = "clip_0001.npz"
    (tmp_path / name).write_bytes(b"kept")
    done: list[int] = []
    with ToyWorld() as world:
        pack_clips(
            world, drive, tmp_path, PackConfig(clips=2, frames=2, warm_up=0),
            lambda index, total: done.append(index),
        )  # fmt: skip
    assert done == [1, 2]
    assert (tmp_path / name).read_bytes() == b"kept"
    assert (tmp_path / "clip_0000.npz").stat().st_size > 100


def test_inverse_depth_is_accurate_and_keeps_the_sky() -> None:
    depth_m = np.array([[0.6, 5.0, 30.0, 100.0, 900.0, SKY_DEPTH_M]], dtype=np.float32)
    back = depth_from_inverse(inverse_depth(depth_m))
    assert np.allclose(back[:, :4], depth_m[:, :4], rtol=2e-3)
    assert back[0, 4] < SKY_DEPTH_M
    assert back[0, 5] == SKY_DEPTH_M


def test_labels_of_town_clips_move_with_the_poses(packed: Path) -> None:
    town = TownClips(packed, TownClipsConfig(size_px=SIZE), seed=1)
    assert len(town) == 2
    clip = town.clips(step=0, batch_size=2, frames=3)
    w, h = SIZE
    assert clip.tags.shape == (2, 3, 29, h, w)
    assert (clip.tags.sum(dim=2) == 1).all()
    assert not clip.has_rgb.any()
    assert not clip.has_exemplars.any()
    assert torch.equal(clip.tags, town.clips(step=0, batch_size=2, frames=3).tags)
    for t in (1, 2):
        seen, same = agreement(clip, t)
        assert seen > 0.8
        assert same > 0.97
    sky = clip.tags[:, :, Tag.SKY : Tag.SKY + 1].bool()
    assert (clip.depth_m[sky] == SKY_DEPTH_M).all()
    present = clip.actor_present[0, 0]
    numbers = set(clip.instances[0, 0].unique().tolist()) - {0}
    assert numbers <= {i + 1 for i in range(len(present)) if present[i]}


def test_errors_in_clips_are_reported(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no packed clips"):
        TownClips(tmp_path, TownClipsConfig(), seed=1)
    with pytest.raises(ConfigError, match="has 4 frames, training asks for 9"):
        TownClips(packed, TownClipsConfig(size_px=SIZE), seed=1).clips(0, 1, 9)
    for data in (b"", b"no zip", (packed / "clip_0000.npz").read_bytes()[:500]):
        with pytest.raises(RecordingError, match="broken: not a packed clip"):
            decode_clip(data, "broken")
