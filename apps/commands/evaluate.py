"""`sim2street evaluate`: measures weights: a table, a JSON file and a sheet of images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from sim2street.apps.commands.options import DeviceOption, chosen_device
from sim2street.apps.commands.style import FitOption, Vgg16Option, style_fit
from sim2street.apps.compose import needs_extra, weights_file
from sim2street.apps.console import out, progress, say
from sim2street.apps.output import partial_file
from sim2street.apps.video import save_image
from sim2street.configs import ConfigError, load

if TYPE_CHECKING:
    from sim2street.neural_renderer.evaluation.progress import EvaluationProgress
    from sim2street.neural_renderer.evaluation.report import Report

SegmenterOption = Annotated[
    Path | None,
    typer.Option("--segmenter", help="Exported segmentation network (.pt2), for label agreement."),
]
AlexnetOption = Annotated[
    Path | None,
    typer.Option("--alexnet", help="AlexNet's weights, for KID, style retrieval and LPIPS."),
]
LpipsOption = Annotated[
    Path | None, typer.Option("--lpips", help="LPIPS' linear layers for AlexNet.")
]
KidFeaturesOption = Annotated[
    Path | None,
    typer.Option("--kid-features", help="TorchScript feature network for KID, such as Inception."),
]
TownClipsOption = Annotated[
    Path | None,
    typer.Option("--town-clips", help="Folder of packed town clips (see sim2street pack)."),
]
FailuresOption = Annotated[
    int,
    typer.Option("--failures", min=0, help="Save this many images with the worst label agreement."),
]


def evaluate(
    weights: Annotated[
        Path, typer.Argument(help="The weights to measure: a file, or tiny, small.")
    ],
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Folder that relative paths of the config start from."),
    ] = Path(),
    config: Annotated[
        str,
        typer.Option("--config", "-c", help="Which data to measure on: photos, or a YAML file."),
    ] = "photos",
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for NAME.json and NAME.png.")
    ] = Path("out/evaluate"),
    segmenter: SegmenterOption = None,
    alexnet: AlexnetOption = None,
    lpips: LpipsOption = None,
    kid_features: KidFeaturesOption = None,
    town_clips: TownClipsOption = None,
    stills: Annotated[
        int | None,
        typer.Option("--stills", min=1, help="At most this many photographs per source."),
    ] = None,
    clips: Annotated[
        int | None, typer.Option("--clips", min=1, help="At most this many town clips.")
    ] = None,
    failures: FailuresOption = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use few images: a quick look, no figures to compare.")
    ] = False,
    fit: FitOption = 0,
    vgg16: Vgg16Option = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure weights: label agreement, distance to photographs, temporal stability, style."""
    with needs_extra("neural"):
        from sim2street.neural_renderer.evaluation.config import (
            EvaluationConfig,
            ScoringNetworks,
            with_data_root,
        )
        from sim2street.neural_renderer.evaluation.evaluate import evaluate as run_evaluation
    weights = weights_file(weights)
    given = {"town_clips": town_clips, "stills": stills, "clips": clips, "failures": failures}
    changes = {key: value for key, value in given.items() if value is not None}
    configured = with_data_root(load(EvaluationConfig, "evaluate", config), data)
    settings = configured.model_copy(update=changes)
    settings = settings.quick() if quick else settings
    networks = ScoringNetworks(
        segmenter=segmenter, alexnet=alexnet, lpips=lpips, kid_features=kid_features
    )
    with watched() as watch:
        report = run_evaluation(
            weights, settings, networks, chosen_device(device), watch, folder / "photos",
            style_fit(fit, vgg16, 0, lambda done, of: watch.advance()),
        )  # fmt: skip
    _check_measured(report)
    show(report)
    save(report, folder, weights.stem)


def _check_measured(report: Report) -> None:
    """Raise ConfigError where nothing could be measured."""
    if not report.rows:
        raise ConfigError(
            f"nothing was measured: {'; '.join(report.left_out) or 'the config has no data'}. "
            "Name networks to measure with, such as `sim2street evaluate --segmenter`, or clips "
            "with `sim2street evaluate --town-clips`"
        )


def save(report: Report, folder: Path, name: str) -> None:
    """Write NAME.json, NAME.png and, with `--failures`, NAME_failures.png."""
    target = folder / f"{name}.json"
    with partial_file(target) as unfinished:
        unfinished.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    save_image(report.sheet(), target.with_suffix(".png"))
    if report.failures is not None:
        worst = folder / f"{name}_failures.png"
        save_image(report.failures, worst)
        say(f"failures  {escape(str(worst))}")
    say(f"numbers   {escape(str(target))}")
    say(f"pictures  {escape(str(target.with_suffix('.png')))}")


@contextmanager
def watched() -> Iterator[EvaluationProgress]:
    """Show a progress bar for each stage of an evaluation."""
    from sim2street.neural_renderer.evaluation.progress import EvaluationProgress

    with progress() as bar:
        task = bar.add_task("evaluating", total=None)

        def stage(what: str, pictures: int) -> None:
            bar.reset(task, description=what, total=pictures or None)

        yield EvaluationProgress(stage, lambda: bar.advance(task))


def show(report: Report) -> None:
    """Print the report as a table, then what could not be measured and why."""
    table = Table("measure", box=box.SIMPLE_HEAD)
    table.add_column("value", justify="right")
    table.add_column("")
    table.add_column("beside")
    for row in report.rows:
        arrow = "↑" if row.better == "up" else "↓"
        table.add_row(row.measure, f"{row.value:.4g}", arrow, row.beside)
    out.print(table)
    for reason in report.left_out:
        say(f"[dim]left out: {escape(reason)}[/]")
