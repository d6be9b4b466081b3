"""What a training run is made of; one YAML file each, `configs/train/*.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sim2street.configs import StrictModel, did_you_mean
from sim2street.neural_renderer.data.photos import PhotoSourceConfig


class LossWeights(StrictModel):
    """Weight of every term of the generator's loss, and R1 of the discriminators'.

    `segmentation_unpaired` is for pictures without a target: nothing but discriminators
    holds them back from patterns that only the segmentation head takes for a car.
    `style` compares pictures without a target with their exemplars, region by region;
    `temporal` compares a frame with its predecessor as moved exactly, `steady` what the
    generator drew of it before the history was blended in; `temporal_adversarial` is the
    hinge loss of a discriminator on such pairs, taught by real video. `windows` is for the
    shade of windows that the generator is told of, see `surfaces.window_shade`; `paint` for
    cars and signs of few colours, see `surfaces.uneven_paint`, and, in pictures without a
    target, for cars that are no chrome, see `surfaces.lumpy_paint`; and in these `ground` for
    even roads, see `surfaces.lumpy_ground` and `surfaces.patchy_ground`, `walls` for facades
    without ledges, see `surfaces.restless_walls`, and `tone` for people who are no silhouettes,
    see `surfaces.out_of_tone`.
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
    windows: float = 1.0
    paint: float = 15.0
    ground: float = 0.0
    walls: float = 0.0
    tone: float = 2.0
    temporal_adversarial: float = 0.0
    r1: float = 40.0


class Phase(StrictModel):
    """A stretch of training at one resolution.

    Attributes:
        steps: how many.
        size_px: (width, height) of training pictures, divisible by 32.
        zoom: range of a crop's width as a fraction of the photograph's; half of the
            default at the same `size_px` trains for twice the resolution.
        batch_size: stills a step. clip_batch_size: clips a step.
        mix: share of each photo source by name.
        clip_share: share of steps on clips; `frames` views each.
        town_share: share of the clip steps that are town clips without a target picture.
        video_share: share of the clip steps that are real video, a target in every frame,
            of sources with a `video_step` (whatever their share in `mix`).
        swap_share: share of the still steps that paint every photograph's labels in the
            next one's style: without a target picture too.
        rare_share: share of the stills that are moved to people, cyclists or signs, see
            `PhotoDatasetConfig`.
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
    video_share: float = Field(0.0, ge=0.0, le=1.0)
    swap_share: float = Field(0.0, ge=0.0, le=1.0)
    rare_share: float = Field(0.0, ge=0.0, le=1.0)

    @field_validator("size_px")
    @classmethod
    def _fits_the_network(cls, size_px: tuple[int, int]) -> tuple[int, int]:
        if min(size_px) < 32 or size_px[0] % 32 or size_px[1] % 32:
            raise ValueError("width and height must be multiples of 32")
        return size_px


class TrainConfig(StrictModel):
    """One training run.

    Attributes:
        size, kind: of the generator, see `networks.baselines.build_frame_generator`.
        exemplars: K during training.
        accumulate: batches a step, one after the other: larger batches in the same memory.
        workers: processes that make batches ahead of time; 0: between the steps.
        teacher: a checkpoint whose pictures are the targets instead of the photographs
            (distillation); None: photographs.
        history_map: whether the history is a SPADE map too, or is blended in only; learnt
            from clips of few frames, the map lets long drives drift.
        validation: photographs for the sample sheets only.
        vgg16, efficientnet_lite0: files of pretrained features; without the first there is
            no perceptual loss, without the second no feature discriminator.
        town_clips: folder of packed town clips, for phases with a town share.
        decay_steps: learning rates fall linearly to a tenth over the last so many steps.
        checkpoint_every_s, sample_every: seconds and steps.
    """

    size: str = "small"
    kind: Literal["few-shot", "spade", "plain"] = "few-shot"
    accumulate: int = Field(1, ge=1)
    workers: int = Field(0, ge=0)
    teacher: Path | None = None
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
    r1_every: int = 16
    label_mix_every: int = 8
    weights: LossWeights = LossWeights()
    vgg16: Path | None = None
    efficientnet_lite0: Path | None = None
    checkpoint_every_s: float = 120.0
    sample_every: int = 250
    license: str = "research use only: trained on data sets with non-commercial terms"

    @model_validator(mode="after")
    def _knows_what_it_mixes(self) -> TrainConfig:
        known = [source.name for source in self.sources]
        for phase in self.phases:
            for name in phase.mix:
                if name not in known:
                    raise ValueError(f"a phase mixes '{name}'{did_you_mean(name, known)}")
            if phase.town_share + phase.video_share > 1.0:
                raise ValueError("a phase's town_share and video_share add up to more than 1")
            if phase.clip_share and phase.town_share and self.town_clips is None:
                raise ValueError("a phase has a town_share, but there is no town_clips folder")
            if phase.video_share and not any(source.video_step for source in self.sources):
                raise ValueError("a phase has a video_share, but no source has a video_step")
        seen = any(phase.clip_share and phase.video_share for phase in self.phases)
        if self.weights.temporal_adversarial and not seen:
            raise ValueError("temporal_adversarial needs a phase with a video_share of its clips")
        if self.kind == "plain" and not self.history_map:
            raise ValueError("history_map: false, but the kind 'plain' has no history at all")
        return self

    @property
    def total_steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def with_packs(self, folder: Path) -> TrainConfig:
        """The same run with relative feature networks and town clips looked up in `folder`."""
        named = {
            name: getattr(self, name) for name in ("vgg16", "efficientnet_lite0", "town_clips")
        }
        return self.model_copy(update={n: folder / path for n, path in named.items() if path})

    def phase_at(self, step: int) -> tuple[int, Phase]:
        """Index and phase of a step (the last one beyond the end)."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, phase
            step -= phase.steps
        return len(self.phases) - 1, self.phases[-1]
