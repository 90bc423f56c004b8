"""Tables and figures made from finished runs, and the page with all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.errors import RunError
from clipada.files import write_text
from clipada.images import write_png
from clipada.inspection import Inspector
from clipada.research.paper.baselines import COMPARED, BaselineRun, baseline_notes, measured_methods
from clipada.research.paper.curves import share_curves
from clipada.research.paper.experiments import ABLATION, MAIN, Experiment
from clipada.research.paper.grids import chosen_samples, heat_grid
from clipada.research.paper.published import DatasetName, paper_dataset
from clipada.research.paper.results import MeasuredMethod, described, described_schedule
from clipada.research.paper.speed import run_speed
from clipada.research.paper.tables import TITLES, PaperTable, build_table
from clipada.runs import ADAPTER, read_run
from clipada.runs.description import COPY_AGAIN
from clipada.runs.tensors import count_values
from clipada.types import Progress, ProgressReport

PAGE = "README.md"

SHARE_NOTE = (
    "Every training has the same number of epochs: with a tenth of the images, a tenth of the steps. The images of a "
    "smaller share are a subset of those of a larger one. The paper shows this only as a picture, without numbers."
)
"""Note on the comparison of the shares."""

_PICTURES: Mapping[str, str] = {
    "figure3": "Figure 3: anomalies on MVTec AD",
    "figure4": "Figure 4: anomalies on VisA",
    "figure5": "Figure 5: maps after 0, 1 and 2 refinement passes",
}


_CAPTION = (
    "Images drawn at random by seed. Colors are centered on the value below which good parts of the product stay in "
    "each model: where no color is shown, the map is below it."
)


def item_table(
    item: str,
    name: DatasetName,
    dataset: Dataset,
    experiments: Sequence[Experiment],
    runtime: RuntimeConfig,
    methods: Sequence[MeasuredMethod],
    baselines: Sequence[BaselineRun],
    report: ProgressReport,
) -> PaperTable | None:
    """Build the item's table from its finished runs; ``None`` for a grid of images."""
    if item not in TITLES:
        return None
    extras: dict[str, dict[str, float]] = {}
    notes = _measurement_notes(experiments)
    if item == "table6":
        extras, speed_note = _speeds(experiments, runtime, report)
        notes.append(speed_note)
    if item == "figure6":
        notes.append(SHARE_NOTE)
    if item in COMPARED:
        notes += baseline_notes(baselines)
    return build_table(
        item,
        paper_dataset(name),
        dataset.categories,
        experiments,
        methods=(*measured_methods(baselines), *methods) if item in COMPARED else (),
        extras=extras,
        notes=notes,
    )


def _speeds(
    experiments: Sequence[Experiment], runtime: RuntimeConfig, report: ProgressReport
) -> tuple[dict[str, dict[str, float]], str]:
    """Measure parameters and images per second of each variant's first seed; return them with a note on the method."""
    extras: dict[str, dict[str, float]] = {}
    note = ""
    for experiment in experiments:
        if experiment.variant in extras:
            continue
        report(Progress(stage=f"timing {experiment.label}", done=1, total=1))
        run = read_run(experiment.folder)
        speed = run_speed(run, runtime.device, experiment.config.backbone.name)
        extras[experiment.variant] = {
            "parameters_millions": count_values(run.folder / ADAPTER, COPY_AGAIN) / 1e6,
            "images_per_second_batch_1": speed.rates[1],
            "images_per_second_best": speed.rates[speed.best_batch],
            "best_batch": speed.best_batch,
        }
        note = f"Measured speed: {speed.how}; {speed.engine} on {speed.machine}."
    return extras, note


def draw_item(
    item: str,
    folder: Path,
    dataset: Dataset,
    experiments: Sequence[Experiment],
    table: PaperTable | None,
    runtime: RuntimeConfig,
) -> list[Path]:
    """Draw the item into ``folder`` if it is a figure, and return the files written."""
    if item == "figure6" and table is not None:
        rows = {
            100 if row.variant == MAIN else float(row.variant.partition("-")[2]): row
            for row in table.rows
            if row.origin == "measured"
        }
        write_text(folder / "figure6.svg", share_curves(rows, table.title))
        return [folder / "figure6.svg"]
    if item not in _PICTURES:
        return []
    firsts = {experiment.variant: experiment for experiment in reversed(experiments)}
    inspectors = {
        described(variant): _inspector(firsts[variant], runtime)
        for variant in dict.fromkeys(experiment.variant for experiment in experiments)
    }
    samples = chosen_samples(dataset, experiments[0].config.training.seed)
    grid = heat_grid(samples, inspectors)
    if grid is None:
        return []
    write_png(folder / f"{item}.png", grid)
    return [folder / f"{item}.png"]


def _inspector(experiment: Experiment, runtime: RuntimeConfig) -> Inspector:
    backbone = experiment.config.backbone.name
    return Inspector.load(experiment.folder, backbone=backbone, engine="torch", device=runtime.device, calibrated=False)


def _measurement_notes(experiments: Sequence[Experiment]) -> list[str]:
    """Describe the measurement of the measured rows."""
    first = read_run(experiments[0].folder)
    metrics, config = first.metrics or {}, first.config
    protocol = metrics.get("protocol", {})
    seeds = sorted({experiment.config.training.seed for experiment in experiments})
    machines = sorted({read_run(experiment.folder).training.machine for experiment in experiments})
    model, schedule = config.model, config.training
    beyond = f"; {model.prototypes} normal prototypes, which the paper does not have" if model.prototypes else ""
    spread = "; ± is the sample standard deviation over seeds" if len(seeds) > 1 else ""
    departs = _reading(config) != _reading(Config())
    own = ". The paper uses the plain product, multiplies the map in, and takes the last pass" if departs else ""
    return [
        f"Measured rows: {first.backbone_label}, {config.backbone.blocks_label}, {model.size[1]} x "
        f"{model.size[0]} pixels, {model.similarity} similarity, {model.attention} attention, "
        f"{described_schedule(schedule)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, trained on "
        f"{'; '.join(machines)}.",
        f"Final map: {'the last pass' if config.scoring.fusion == 'last' else 'the mean of all passes'}; "
        f"{protocol.get('masks', '')}; percent{spread}{beyond}{own}.",
    ]


def _reading(config: Config) -> tuple[str, str, str]:
    """Return the settings of the details that the paper leaves open."""
    return config.model.similarity, config.model.attention, config.scoring.fusion


def require_page_of(folder: Path, name: DatasetName) -> None:
    """Raise ``RunError`` if ``folder`` contains the results of another data set of the paper."""
    page = folder / PAGE
    text = page.read_text(encoding="utf-8") if page.exists() else _head(name)
    if not text.startswith(_head(name)):
        raise RunError(
            f"{folder} contains tables of another data set",
            expected=f"those of {paper_dataset(name).name}, or an empty folder",
            got=text.partition("\n")[0],
            remedy="choose another --out",
        )


def _head(name: DatasetName) -> str:
    return f"# CLIP-ADA on {paper_dataset(name).name}: published and measured\n"


def write_page(folder: Path, name: DatasetName) -> None:
    """Write one page with all tables and figures made so far."""
    parts = [_head(name)]
    for item in sorted({**TITLES, **_PICTURES}, key=lambda item: (item == ABLATION, item[:-1] == "figure", item)):
        text = folder / f"{item}.md"
        if text.exists():
            parts.append(text.read_text(encoding="utf-8"))
        for picture in (folder / f"{item}.svg", folder / f"{item}.png"):
            if picture.exists():
                heading = f"## {_PICTURES[item]}\n\n" if item in _PICTURES else ""
                caption = f"\n{_CAPTION}\n" if item in _PICTURES else ""
                parts.append(f"{heading}![{item}]({picture.name})\n{caption}")
    write_text(folder / PAGE, "\n".join(parts))
