"""Descriptions of a run: the model card and the summary."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipada.config import PRESETS, Config, InspectionConfig, TrainingConfig, setting_names
from clipada.config.image_rules import ImageRules
from clipada.errors import RunError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.report.guarantee import calibration_summary
from clipada.report.tables import COLUMNS, metrics_markdown
from clipada.runs import INPUT_CHECK, MEMORY, PROTOTYPES, Run, Training, load_calibration
from clipada.runs.alignment import load_alignment
from clipada.runs.contents import ROI
from clipada.runs.start_record import read_start_record
from clipada.runs.training import LEAST_GOOD, LEAST_PHOTOS
from clipada.types.words import counted

LIMITS = (
    "Scores are comparable within one category and camera set-up. The figures hold for the data named; a model trained "
    "on synthetic anomalies can miss defects that change little of a part's look."
)
"""Limits of every model, shown with its scores."""


def run_summary(run: Run) -> dict[str, str]:
    """Describe a run as names and values, for ``clipada info``."""
    training, model, schedule = run.training, run.config.model, run.config.training
    summary = {
        "run": str(run.folder),
        "clipada": run.clipada_version,
        "backbone": f"{run.backbone_label}, {run.config.backbone.blocks_label}",
        "input": f"{model.size[1]} x {model.size[0]} pixels" + _view(run.config.inspection) + _rules(model.rules),
        **({} if run.alignment_sha256 is None else {"alignment": describe_alignment(run)}),
        **({} if run.roi_sha256 is None else {"region of interest": _region(run)}),
        **_detector(run),
        "trained on": ", ".join(f"{name} ({count})" for name, count in training.categories.items())
        + (f", a share of {schedule.image_share:g} of the images" if schedule.image_share < 1 else ""),
        "left out": counted(len(training.unreadable), "unreadable training image"),
        "schedule": _schedule(schedule),
        "training": f"{training.seconds:.0f} s{_throughput(training.images_per_second)} on {training.machine}",
        "command": training_command(run),
        "adapter": f"{run.adapter_bytes / 1e6:.2f} MB",
    }
    if training.changes:
        summary["changed since"] = "; ".join(change.describe() for change in training.changes)
    if run.prototypes_sha256 is not None:
        size = (run.folder / PROTOTYPES).stat().st_size
        summary["prototypes"] = f"up to {model.prototypes}, weight {model.prototype_weight:g}, {size / 1e6:.2f} MB"
    if (images := run.training_sha256s) is not None:
        summary["training data"] = (
            f"{counted(len(images), 'different image')}, fingerprint {images_fingerprint(images)}"
        )
    if run.encoders_sha256 is not None:
        summary["tuned encoders"] = f"{schedule.tune}, sha256 {run.encoders_sha256[:12]}"
    checked = run.path(INPUT_CHECK).exists()
    summary["input check"] = "against the training images" if checked else "none: trained by an older version"
    if (calibration := load_calibration(run)[0]) is not None:
        valid = calibration.model_sha256 == run.model_sha256
        summary["calibration"] = "; ".join(calibration_summary(calibration)) if valid else "of another model, not used"
    if run.metrics is not None:
        mean = run.metrics["mean"]
        shares = {head: mean[name] for head, name in COLUMNS.items() if isinstance(mean.get(name), float)}
        figures = [f"{head} {100 * share:.1f}" for head, share in shares.items()] or ["none"]
        summary["mean metrics"] = ", ".join(figures) + f" (percent, on {run.metrics['protocol']['data']})"
    return summary


def _detector(run: Run) -> dict[str, str]:
    """Describe what finds the anomalies: the prompt and its passes, or the memory and its filter."""
    config = run.config
    if run.memory_sha256 is None:
        prompt, model = config.prompt, config.model
        passes = counted(model.refinements, "pass", "passes")
        return {
            "prompt": counted(prompt.length, "learned vector") if prompt.learnable else f"fixed, {prompt.word!r}",
            "refinement": f"{passes}, {model.attention} in {model.attention_space} space",
        }
    size = run.path(MEMORY).stat().st_size
    covered = ", ".join(f"{name} {value:.2f}" for name, value in run.training.coverage.items())
    coverage = {"coverage of all patches, 0 to 1": covered} if covered else {}
    found = ", ".join(f"{name} {100 * value:.1f}" for name, value in run.training.recall.items())
    if config.memory.indexed(run.training.recall):
        coverage["search"] = "by an index" + (f", nearest row found for, percent: {found}" if found else "")
    copied = ", ".join(f"{name} {kind}" for name, kind in run.training.copies.items() if kind != "none")
    return coverage | {
        "memory": f"up to {config.memory.rows} patches of each product, block and view"
        + (f", at most {config.memory.megabytes:g} MB a product" if config.memory.megabytes else "")
        + f", {size / 1e6:.2f} MB"
        + (f"; with copies of the few images: {copied}" if copied else ""),
        "filter": _filter(run),
        **({"known defects": "; ".join(learned)} if (learned := describe_learned(run.training)) else {}),
    }


def describe_alignment(run: Run) -> str:
    """Describe the motion of parts that a run undoes, and the photo that each product is aligned to, if it does."""
    if (alignment := load_alignment(run)) is None:
        return "none"
    photos = ", ".join(f"{name} {one.photo}" for name, one in alignment.references.items())
    return f"{alignment.motion}, to the photos {photos}"


def _region(run: Run) -> str:
    return "; ".join([f"{ROI}, outside of which nothing is scored", *describe_skipped(run.training)])


def describe_skipped(training: Training) -> list[str]:
    """Describe in lines the tiles of an image that show nothing of the region of interest, if there are any."""
    shows = "tiles of an image show nothing of the region of interest and are not read"
    return [
        f"{name}: {skipped} of {read + skipped} {shows}" for name, (read, skipped) in training.tiles.items() if skipped
    ]


def _filter(run: Run) -> str:
    """Describe what the memory's filter learned from, or the reason why there is none."""
    settings = run.config.filter
    if run.filter_sha256 is None:
        return f"none: fewer than {settings.least_images} good images of each product" if settings.images else "none"
    drawn = counted(settings.images, "synthetic anomaly", "synthetic anomalies")
    learned = run.training.filtered
    some = 0 < len(learned) < len(run.training.categories)
    return f"trained on {drawn} of each product" + (f" with enough images: {', '.join(learned)}" if some else "")


def _view(settings: InspectionConfig) -> str:
    """Describe the tiles that images are cut into, if they are, after the size."""
    tiles = f"; images whole and in tiles of {settings.tile} pixels, overlap {settings.overlap:g}"
    return tiles if settings.tiled else ""


def _rules(rules: ImageRules) -> str:
    """Describe the rules by which image files are read, as far as they were chosen, after the size."""
    channels = "" if rules.channels == "rgb" else f"; channels {rules.channels}"
    bits = "" if rules.depth is None else f"; of 16-bit files, the lowest {rules.depth} bits"
    return channels + bits + ("" if rules.page is None else f"; page {rules.page} of TIFF files")


def images_fingerprint(sha256s: Iterable[str]) -> str:
    """Return the first digits of a hash of the images' hashes; it does not depend on their names or order."""
    return hashlib.sha256("".join(sorted(sha256s)).encode()).hexdigest()[:12]


def _schedule(training: TrainingConfig) -> str:
    """Describe the epochs of a training; without any, a memory alone was filled."""
    epochs = f"{counted(training.epochs, 'epoch')} of batch {training.batch_size}" if training.epochs else "no epochs"
    return f"{epochs}, seed {training.seed}"


def _throughput(images_per_second: float) -> str:
    """Describe the throughput of a training; nothing if it had no epochs."""
    return f" at {images_per_second:.1f} images/s" if images_per_second else ""


def training_command(run: Run) -> str:
    """Return the command that repeats the training: as it was started, or the nearest preset and what differs."""
    with suppress(RunError):  # a damaged record says nothing
        if (started := read_start_record(run.folder)) is not None:
            out, backbone = run.folder.resolve().name, _as_given(started.backbone)
            words = ["clipada", "start", "PHOTOS", "--out", out, "--backbone", backbone, "--preset", started.preset]
            return shlex.join(words + _defects_given(started.defects))
    return _train_command(run)


def _train_command(run: Run) -> str:
    """Return the command ``train`` with the nearest preset and the settings that differ from it."""
    values = {name: run.config.value(name) for name in setting_names()}
    presets = {preset: Config.preset(preset) for preset in PRESETS}
    differences = {
        preset: {name: value for name, value in values.items() if value != usual.value(name)}
        for preset, usual in presets.items()
    }
    preset = min(PRESETS, key=lambda one: len(differences[one]))
    changed = differences[preset]
    backbone = changed.pop("backbone.name", None)
    words = ["clipada", "train", "DATA", "--out", run.folder.resolve().name, "--preset", preset]
    words += [] if backbone is None else ["--backbone", _as_given(backbone)]
    for name, value in changed.items():
        shown = Path(value).name if name == "synthesis.textures" and value else value
        words += ["--set", f"{name}={','.join(map(str, shown)) if isinstance(shown, tuple) else shown}"]
    words += [] if run.roi_sha256 is None else ["--roi", ROI]
    return shlex.join(words + _defects_given(run.training.defects_data))


def _defects_given(folder: str) -> list[str]:
    """Return the option of a folder of known defects, without the folders above; nothing without one."""
    return ["--defects", Path(folder).name] if folder else []


def _as_given(backbone: str) -> str:
    """Return a backbone without the folder that it is in on this machine."""
    return Path(backbone).name if Path(backbone).is_absolute() else backbone


def model_card(run: Run, name: str | None = None) -> str:
    """Return the run folder's ``README.md``: description, training, metrics, limits.

    Args:
        run: The run.
        name: The name that others load it by; by default the folder's name.
    """
    called = name or run.folder.resolve().name
    summary = {fact: value.replace("|", r"\|") for fact, value in run_summary(run).items() if fact != "run"}
    products = counted(len(run.training.categories), "category", "categories")
    facts = "\n".join(f"| {fact} | {value} |" for fact, value in summary.items())
    return f"""# {called}: a clipada run

{_INTRODUCTIONS[run.memory_sha256 is not None].format(products=products)}

| | |
|---|---|
{facts}

Use it with `clipada predict {called} IMAGES --out DIR`. The backbone is not part of this folder; its hash above is
checked when the run is loaded.
{_metrics_section(run.metrics)}
## Limits

{LIMITS}
"""


_INTRODUCTIONS = (
    "One CLIP-ADA adapter (arXiv 2403.09493) for {products}: a prompt and a\n"
    "projection per pass over a frozen backbone, trained on normal images and synthetic anomalies.",
    "One memory of good parts for {products} over a frozen backbone: patches that are unlike\n"
    "those of every normal image of their category are anomalous.",
)
"""First sentence of a card: of a model without a memory, and of one with it."""


def without_path(note: str) -> str:
    """Return a remark on an evaluation without the path of its example: a card is published."""
    return note.partition(" (first: ")[0]


def _metrics_section(metrics: dict[str, Any] | None) -> str:
    """Return a Markdown table of the metrics; empty before an evaluation."""
    if metrics is None:
        return ""
    protocol = metrics["protocol"]
    categories = {name: CategoryMetrics(**values) for name, values in metrics["categories"].items()}
    notes = "".join(f"\n- {note}" for note in map(without_path, protocol.get("notes", ())))
    saturated = f", sPRO up to {protocol['spro_fpr_limit']}" if "spro_fpr_limit" in protocol else ""
    return f"""
## Metrics on {protocol["data"]}

{metrics_markdown(categories, CategoryMetrics(**metrics["mean"]))}

Percent, at {protocol["image_size"]} pixels; {protocol["masks"]}; AUPRO up to a false-positive rate of
{protocol["aupro_fpr_limit"]}{saturated}.
{notes}
""".replace("\n\n\n", "\n\n")


def describe_learned(training: Training) -> list[str]:
    """Describe in a line for each product what was learned from photos of known defects."""
    lines = []
    for name, learned in training.defects.items():
        text = f"{name}: {learned.used} of {counted(learned.photos, 'photo')} of known defects used"
        if learned.used < LEAST_PHOTOS:
            lines.append(f"{text}: {LEAST_PHOTOS} that show a defect are needed, and {LEAST_GOOD} good images")
        elif not learned.weight:
            lines.append(f"{text}, which would not find more: the memory alone decides")
        elif learned.auroc_with is not None and learned.auroc_without is not None:
            before, after = 100 * learned.auroc_without, 100 * learned.auroc_with
            lines.append(f"{text}; image AUROC of those not learned from: {before:.1f} without them, {after:.1f} with")
    return lines
