"""Configuration of an evaluation; the YAML files are in `configs/evaluate/`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sim2street.configs import StrictModel
from sim2street.neural_renderer.data.photos import PhotoSourceConfig

QUICK_STILLS = 16
QUICK_CLIPS = 2
QUICK_VIDEO_FRAMES = 8


class EvaluationConfig(StrictModel):
    """Which photographs, videos and clips are rendered and measured.

    Attributes:
        size_px: (width, height) of all rendered images, divisible by 32.
        read_at_px: (width, height) that images and photographs are resized to for the segmenter,
            if it needs a size of its own; None: `size_px`.
        sources: photographs whose label maps are rendered, and which the images are compared with.
        stills: maximum number of photographs per source, evenly spaced; 0: all.
        styles: further photographs to take the styles of drives from. A drive is identified by the
            source name and its own name, so a source and its style photographs must share a name.
        exemplars: number of photographs that a style is made from.
        video_step: photographs whose frame numbers differ by this much form a video.
        video_frames: maximum length of the video; the longest one is used. 0: no video.
        town_clips: folder of packed clips of a simulated world (`sim2street pack`); None: no clips.
        clips: maximum number of town clips.
        retrieval_pictures: number of label maps that style retrieval renders in each style.
        style_photos: style retrieval leaves out drives with fewer photographs.
        failures: number of images with the worst label agreement to draw; needs a segmenter.
    """

    size_px: tuple[int, int] = (512, 256)
    read_at_px: tuple[int, int] | None = None
    sources: tuple[PhotoSourceConfig, ...]
    stills: int = Field(0, ge=0)
    styles: tuple[PhotoSourceConfig, ...] = ()
    exemplars: int = Field(4, ge=1)
    video_step: int = Field(2, ge=1)
    video_frames: int = Field(30, ge=0)
    town_clips: Path | None = None
    clips: int = Field(6, ge=1)
    retrieval_pictures: int = Field(4, ge=1)
    style_photos: int = Field(5, ge=2)
    failures: int = Field(0, ge=0)

    def quick(self) -> EvaluationConfig:
        """A fast and rough version with fewer images; its numbers do not compare with full ones."""
        return self.model_copy(
            update={
                "stills": min(self.stills or QUICK_STILLS, QUICK_STILLS),
                "clips": min(self.clips, QUICK_CLIPS),
                "video_frames": min(self.video_frames, QUICK_VIDEO_FRAMES),
                "retrieval_pictures": 1,
            }
        )


class ScoringNetworks(StrictModel):
    """Files of the networks that measure; measures whose file is missing are left out.

    Attributes:
        segmenter: exported with torch.export (.pt2), see `metrics.label_agreement`.
        alexnet: torchvision's AlexNet, for KID, style retrieval and LPIPS.
        lpips: linear heads of LPIPS for AlexNet.
        kid_features: TorchScript network from (B, 3, 299, 299) in [-1, 1] to (B, F), such as
            Inception v3; KID then uses it instead of AlexNet.
    """

    segmenter: Path | None = None
    alexnet: Path | None = None
    lpips: Path | None = None
    kid_features: Path | None = None

    def files(self) -> dict[str, Path]:
        """The files that were given, by command-line option."""
        options = {
            "--segmenter": self.segmenter,
            "--alexnet": self.alexnet,
            "--lpips": self.lpips,
            "--kid-features": self.kid_features,
        }
        return {name: path for name, path in options.items() if path is not None}


def with_data_root(config: EvaluationConfig, root: Path) -> EvaluationConfig:
    """A copy whose relative folders of photographs are resolved against `root`."""

    def resolved(sources: tuple[PhotoSourceConfig, ...]) -> tuple[PhotoSourceConfig, ...]:
        return tuple(s.model_copy(update={"root": root / s.root}) for s in sources)

    update = {"sources": resolved(config.sources), "styles": resolved(config.styles)}
    return config.model_copy(update=update)
