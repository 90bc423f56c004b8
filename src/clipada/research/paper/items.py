"""Each table and figure from its finished runs, and the page that holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clipada.config import Config, RuntimeConfig
from clipada.data import Dataset
from clipada.errors import RunError
from clipada.files import write_text
from clipada.images import write_png
from clipada.inspection import Inspector
from clipada.research.paper.baselines import COMPARED, Contender, baseline_notes, measured_methods
from clipada.research.paper.curves import share_curves
from clipada.research.paper.experiments import ABLATION, MAIN, Experiment
from clipada.research.paper.grids import chosen_samples, heat_grid
from clipada.research.paper.published import DatasetName, paper_dataset
from clipada.research.paper.results import MeasuredMethod, Report, Step, described, lasting
from clipada.research.paper.speed import run_speed
from clipada.research.paper.tables import TITLES, Table, build_table
from clipada.runs import ADAPTER, read_run
from clipada.runs.tensors import count_values

PAGE = "README.md"

SHARE_NOTE = (
    "Every training has as many epochs: with a tenth of the images it takes a tenth of the steps. The images of a "
    "smaller share are among those of a larger one. The paper shows this only as a picture, so nothing is published."
)
"""How the shares compare."""

_PICTURES: Mapping[str, str] = {
    "figure3": "Figure 3: anomalies on MVTec AD",
    "figure4": "Figure 4: anomalies on VisA",
    "figure5": "Figure 5: maps after 0, 1 and 2 refinement passes",
}


_CAPTION = (
    "Images drawn by seed, not chosen; heat is centred on the value that good parts of the product stay below in each "
    "model: where there is none, the map stays below it."
)


def item_table(
    item: str,
    name: DatasetName,
    dataset: Dataset,
    experiments: Sequence[Experiment],
    runtime: RuntimeConfig,
    methods: Sequence[MeasuredMethod],
    contenders: Sequence[Contender],
    report: Report,
) -> Table | None:
    """The item's table from its finished experiments; ``None`` for a grid of pictures."""
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
        notes += baseline_notes(contenders)
    return build_table(
        item,
        paper_dataset(name),
        dataset.categories,
        experiments,
        methods=(*measured_methods(contenders), *methods) if item in COMPARED else (),
        extras=extras,
        notes=notes,
    )


def _speeds(
    experiments: Sequence[Experiment], runtime: RuntimeConfig, report: Report
) -> tuple[dict[str, dict[str, float]], str]:
    """Trained parameters and images per second of each variant's first seed, and how they were measured."""
    extras: dict[str, dict[str, float]] = {}
    note = ""
    for experiment in experiments:
        if experiment.variant in extras:
            continue
        report(Step(stage=f"timing {experiment.label}", done=1, total=1))
        run = read_run(experiment.folder)
        speed = run_speed(run, runtime.device, experiment.config.backbone.name)
        extras[experiment.variant] = {
            "parameters_millions": count_values(run.folder / ADAPTER) / 1e6,
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
    table: Table | None,
    runtime: RuntimeConfig,
) -> list[Path]:
    """Draw the item into ``folder``, if it is a figure; the files written."""
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
    """How the measured rows came about."""
    first = read_run(experiments[0].folder)
    metrics, config = first.metrics or {}, first.config
    protocol = metrics.get("protocol", {})
    seeds = sorted({experiment.config.training.seed for experiment in experiments})
    machines = sorted({read_run(experiment.folder).training.machine for experiment in experiments})
    model, schedule = config.model, config.training
    beyond = f"; {model.prototypes} normal prototypes, which go beyond the paper" if model.prototypes else ""
    spread = "; ± is the sample standard deviation over seeds" if len(seeds) > 1 else ""
    departs = _reading(config) != _reading(Config())
    own = ". The paper has the plain product, the map multiplied in, the last pass" if departs else ""
    return [
        f"Measured rows: {first.backbone_label}, block {config.backbone.patch_block}, {model.image_size} x "
        f"{model.image_size} pixels, {model.similarity} similarity, {model.attention} attention, "
        f"{lasting(schedule)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, trained on "
        f"{'; '.join(machines)}.",
        f"The map that counts: {'the last pass' if config.scoring.fusion == 'last' else 'the mean of all passes'}; "
        f"{protocol.get('masks', '')}; percent{spread}{beyond}{own}.",
    ]


def _reading(config: Config) -> tuple[str, str, str]:
    """How the settings read what the paper leaves open."""
    return config.model.similarity, config.model.attention, config.scoring.fusion


def require_page_of(folder: Path, name: DatasetName) -> None:
    """Raise ``RunError`` if ``folder`` holds what was made of another of the paper's data sets."""
    page = folder / PAGE
    text = page.read_text(encoding="utf-8") if page.exists() else _head(name)
    if not text.startswith(_head(name)):
        raise RunError(
            f"{folder} holds tables of another data set",
            expected=f"those of {paper_dataset(name).name}, or an empty folder",
            got=text.partition("\n")[0],
            remedy="choose another --out",
        )


def _head(name: DatasetName) -> str:
    return f"# CLIP-ADA on {paper_dataset(name).name}: published and measured\n"


def write_page(folder: Path, name: DatasetName) -> None:
    """All that has been made so far, on one page."""
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
