"""The configuration of a training run; one YAML file each in `configs/train/`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sim2street.configs import StrictModel, did_you_mean
from sim2street.neural_renderer.data.photos import PhotoSourceConfig


class LossWeights(StrictModel):
    """Weights of the loss terms; 0 switches a term off.

    "With a target" means that there is a photograph (or a teacher's image) of just these labels,
    "without a target" that there is none: clips of a simulated world, and labels that are painted
    in another photograph's style.

    Attributes:
        segmentation: the segmentation head must read the labels from images with a target.
        segmentation_unpaired: the same for images without a target. Higher values let patterns
            through that only the segmentation head takes for a car.
        adversarial: hinge loss of the patch and the feature discriminator.
        perceptual: L1 between VGG16 features of image and target.
        feature_matching: L1 between hidden maps of the patch discriminator, image and target.
        coarse_colour: L1 between image and target at an eighth of the size.
        pixel: L1 between image and target at full size; for distillation.
        style: VGG16 statistics of each label group against the exemplars', without a target.
        temporal: L1 between a frame of a clip and its warped predecessor.
        steady: the same for the frame before the history is blended in.
        take: share of the canvas that the generator replaces by its own pixels.
        grid: differences between neighbours in the grid of gain and offset (`harmonise`).
        temporal_adversarial: hinge loss of the temporal discriminator; needs real video.
        r1: gradient penalty of the patch and the temporal discriminator.
    """

    segmentation: float = 1.0
    segmentation_unpaired: float = 0.3
    adversarial: float = 1.0
    perceptual: float = 5.0
    feature_matching: float = 10.0
    coarse_colour: float = 5.0
    pixel: float = 0.0
    style: float = 0.0
    temporal: float = 12.0
    steady: float = 2.0
    take: float = 0.4
    grid: float = 0.5
    temporal_adversarial: float = 0.0
    r1: float = 40.0


class Phase(StrictModel):
    """A part of the training with its own image size and mix of data.

    Every step is either a step of stills (single photographs) or a step of clips (consecutive
    frames). All shares are probabilities in [0, 1].

    Attributes:
        steps: number of steps.
        size_px: (width, height) of the training images, multiples of 32.
        zoom: range of a crop's width as a fraction of the photograph's width. At the same
            `size_px`, half the zoom shows objects at twice the resolution.
        batch_size: stills in one batch.
        clip_batch_size: clips in one batch.
        mix: share of each photo source, by name; normalised to add up to 1.
        clip_share: share of the steps that train on clips.
        frames: frames in a clip.
        town_share: share of the clip steps on packed clips of a simulated world (no target).
        town_zoom: `zoom` for the views of those clips; None: the same. A packed canvas is as sharp
            as in serving only where a crop keeps the view's pixels.
        video_share: share of the clip steps on real video (a target in every frame), from sources
            with a `video_step`, whatever their share in `mix`. The rest of the clip steps moves the
            camera through single photographs.
        swap_share: share of the still steps that paint each photograph's labels in the style of
            the next photograph in the batch (no target).
        rare_share: share of the stills whose crop is moved to a person, cyclist or sign.
    """

    steps: int = Field(ge=1)
    size_px: tuple[int, int]
    zoom: tuple[float, float] = (0.62, 1.0)
    batch_size: int = Field(ge=1)
    clip_batch_size: int = Field(2, ge=1)
    mix: dict[str, float]
    clip_share: float = Field(0.0, ge=0.0, le=1.0)
    frames: int = Field(2, ge=2, le=16)
    town_share: float = Field(0.0, ge=0.0, le=1.0)
    town_zoom: tuple[float, float] | None = None
    video_share: float = Field(0.0, ge=0.0, le=1.0)
    swap_share: float = Field(0.0, ge=0.0, le=1.0)
    rare_share: float = Field(0.0, ge=0.0, le=1.0)

    @field_validator("size_px")
    @classmethod
    def _check_size(cls, size_px: tuple[int, int]) -> tuple[int, int]:
        if min(size_px) < 32 or size_px[0] % 32 or size_px[1] % 32:
            raise ValueError(f"width and height must be multiples of 32, got {size_px}")
        return size_px


class TrainConfig(StrictModel):
    """One training run.

    Attributes:
        size: size of the generator, "tiny" or "small".
        kind: "few-shot" (styles from exemplars), "spade" (the same network without styles) or
            "plain" (encoder and decoder as in pix2pixHD).
        accumulate: batches in one step, computed one after the other. Gradients are averaged:
            like a larger batch, without more memory.
        workers: processes that prepare batches ahead; 0: the training process does it itself.
        teacher: a checkpoint whose images are the targets, in place of the photographs
            (distillation); None: photographs.
        canvas: whether the generator uses a canvas of an atlas' textures.
        atlas: the .atlas file; None: the shipped one.
        history_map: whether the previous frame is also an input of the generator; if not, it is
            only blended into the output. As an input, learnt from clips of few frames, it lets long
            drives drift.
        seed: start of all random numbers.
        exemplars: photographs that a style is read from, K in the papers.
        sources: photographs to train on.
        validation: photographs that the sample sheets show; empty: those of `sources`.
        town_clips: folder of clips packed by `sim2street pack`, for phases with a `town_share`.
        phases: trained one after the other.
        lr_generator, lr_discriminator: learning rates (Adam).
        decay_steps: the learning rates fall linearly to a tenth over the last so many steps.
        ema_decay: decay of the moving average of the generator's weights, which is exported.
        weights: of the loss terms.
        vgg16: weights of VGG16; None: no `perceptual` and no `style` term.
        efficientnet_lite0: weights of EfficientNet-Lite0; None: no feature discriminator, and so no
            `segmentation` term.
        checkpoint_every_s: seconds between writes of the state and the checkpoint.
        sample_every: steps between sample sheets.
        license: text that the exported checkpoint carries and that users of it are shown.
    """

    size: str = "small"
    kind: Literal["few-shot", "spade", "plain"] = "few-shot"
    accumulate: int = Field(1, ge=1)
    workers: int = Field(0, ge=0)
    teacher: Path | None = None
    canvas: bool = False
    atlas: Path | None = None
    history_map: bool = True
    seed: int = 1
    exemplars: int = Field(2, ge=1)
    sources: tuple[PhotoSourceConfig, ...]
    validation: tuple[PhotoSourceConfig, ...] = ()
    town_clips: Path | None = None
    phases: tuple[Phase, ...] = Field(min_length=1)
    lr_generator: float = 2e-4
    lr_discriminator: float = 4e-4
    decay_steps: int = 1000
    ema_decay: float = 0.998
    weights: LossWeights = LossWeights()
    vgg16: Path | None = None
    efficientnet_lite0: Path | None = None
    checkpoint_every_s: float = 120.0
    sample_every: int = 250
    license: str = "research use only: trained on data sets with non-commercial terms"

    @model_validator(mode="after")
    def _check_consistency(self) -> TrainConfig:
        names = [source.name for source in self.sources]
        for phase in self.phases:
            for name in phase.mix:
                if name not in names:
                    raise ValueError(f"a phase mixes '{name}'{did_you_mean(name, names)}")
            if phase.town_share + phase.video_share > 1.0:
                raise ValueError("a phase's town_share and video_share add up to more than 1")
            if phase.clip_share and phase.town_share and self.town_clips is None:
                raise ValueError("a phase has a town_share, but there is no town_clips folder")
            if phase.video_share and not any(source.video_step for source in self.sources):
                raise ValueError("a phase has a video_share, but no source has a video_step")
        has_video = any(phase.clip_share and phase.video_share for phase in self.phases)
        if self.weights.temporal_adversarial and not has_video:
            raise ValueError(
                "temporal_adversarial needs a phase with a video_share and a clip_share above 0"
            )
        if self.kind == "plain" and not self.history_map:
            raise ValueError(
                "history_map: false has no meaning for kind 'plain': it has no history"
            )
        if self.kind == "plain" and self.canvas:
            raise ValueError("canvas: true has no meaning for kind 'plain': it cannot use one")
        return self

    @property
    def total_steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def with_packs(self, folder: Path) -> TrainConfig:
        """The same run; relative paths of feature networks and town clips start at `folder`."""
        paths = {
            name: getattr(self, name) for name in ("vgg16", "efficientnet_lite0", "town_clips")
        }
        return self.model_copy(update={n: folder / path for n, path in paths.items() if path})

    def phase_at(self, step: int) -> tuple[int, Phase]:
        """Index and phase of a step, counted from 0; beyond the end, the last phase."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, phase
            step -= phase.steps
        return len(self.phases) - 1, self.phases[-1]
