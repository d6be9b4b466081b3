"""What an evaluation looks at; one YAML file each, `configs/evaluate/*.yaml`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sim2street.configs import StrictModel
from sim2street.neural_renderer.data.photos import PhotoSourceConfig

QUICK_STILLS = 16


class EvaluationConfig(StrictModel):
    """Which photographs, videos and clips.

    Attributes:
        size_px: (width, height) of everything rendered, divisible by 32.
        read_at_px: size that pictures and photographs alike are resized to for the segmenter,
            where it only takes pictures of a size of its own; None: as they are.
        sources: photographs whose label maps are rendered and compared with.
        stills: at most so many of them, evenly spread over each source; 0 = all.
        styles: more photographs that show the styles of drives. A drive is known by its
            source's name and its own, so a source and its style photographs share a name.
        exemplars: K of a style.
        video_step: photographs whose frame numbers are this far apart are a video.
        video_frames: of the longest video, at most so many; 0: no video.
        town_clips: folder of packed clips; None: none.
        clips: at most so many of them.
        retrieval_pictures: label maps rendered in each drive's style, for style retrieval.
        style_photos: drives with fewer photographs are left out of style retrieval.
        failures: worst pictures by label agreement that are drawn; needs a segmenter.
        seed: of the bootstrap.
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
    seed: int = 0

    def quick(self) -> EvaluationConfig:
        """A rough and fast look: fewer pictures, so that no number compares with a full one."""
        return self.model_copy(
            update={
                "stills": min(self.stills or QUICK_STILLS, QUICK_STILLS),
                "clips": min(self.clips, 2),
                "video_frames": min(self.video_frames, 8),
                "retrieval_pictures": 1,
            }
        )


class Judges(StrictModel):
    """Files of the networks that score; each measure without its file is left out.

    Attributes:
        segmenter: exported with torch.export (.pt2), see `metrics.label_agreement`.
        alexnet: torchvision's AlexNet convolutions: KID and style retrieval, and LPIPS.
        lpips: LPIPS' linear heads for AlexNet.
        kid_features: TorchScript network, pictures (B, 3, 299, 299) in [-1, 1] to (B, F),
            such as the usual Inception v3; KID takes it instead of AlexNet.
    """

    segmenter: Path | None = None
    alexnet: Path | None = None
    lpips: Path | None = None
    kid_features: Path | None = None

    def files(self) -> dict[str, Path]:
        """Those given, by name."""
        named = {
            "--segmenter": self.segmenter,
            "--alexnet": self.alexnet,
            "--lpips": self.lpips,
            "--kid-features": self.kid_features,
        }
        return {name: path for name, path in named.items() if path is not None}


def under(config: EvaluationConfig, root: Path) -> EvaluationConfig:
    """The same evaluation with relative data folders looked up under `root`."""

    def moved(sources: tuple[PhotoSourceConfig, ...]) -> tuple[PhotoSourceConfig, ...]:
        return tuple(s.model_copy(update={"root": root / s.root}) for s in sources)

    update = {"sources": moved(config.sources), "styles": moved(config.styles)}
    return config.model_copy(update=update)
