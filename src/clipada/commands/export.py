"""Export of a run for machines without PyTorch, kept only if it agrees with PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from clipada.calibration import PRODUCT, group_of
from clipada.config import EngineOptions, EnginePrecision, ExportConfig, RuntimeName
from clipada.data import Dataset, load_dataset
from clipada.devices import package_version
from clipada.engines.aligned import alignment_of
from clipada.engines.export.folding import graph_shape
from clipada.engines.export.graphs import check_precision, write_graph
from clipada.engines.export.images import ReportedInputs, calibration_inputs, read_photos
from clipada.engines.export.parity import PARITY, Parity, judge, record_parity
from clipada.engines.export.practice import Practice, measure_practice
from clipada.engines.exports import Export, hashes, open_export, write_export
from clipada.engines.selection import as_inspecting
from clipada.engines.torch import TorchEngine
from clipada.errors import RunError
from clipada.files import ensure_folder, require_writable
from clipada.images.roi import regions_of, seen_inside
from clipada.inspection import Inspector
from clipada.models.clip_ada import ClipAda
from clipada.runs import EXPORTS, Run, load_calibration, load_model, read_run, replace_folder, writes_into_run
from clipada.runs.alignment import load_alignment
from clipada.runs.roi import load_roi
from clipada.scoring import final_map, image_score
from clipada.training.trained_images import find_dataset
from clipada.types import Engine, LocalizedImage, ProgressReport, unreported

__all__ = ["export"]

TILED_PHOTOS = 8
"""Most images that are inspected to measure an export of a run with tiles: each takes as long as all of its tiles."""


@writes_into_run
def export(
    run: Path | str,
    engine: RuntimeName = ExportConfig.engine,
    precision: EnginePrecision = ExportConfig.precision,
    data: Path | str | Dataset | None = None,
    *,
    backbone: str | None = None,
    config: ExportConfig | None = None,
    force: bool = False,
    report: ProgressReport = unreported,
) -> tuple[Path, Parity]:
    """Write a run for a machine without PyTorch into its ``exports/``, and keep it only if it agrees with PyTorch.

    The comparison is written to ``exports/parity.json`` in either case, marked if the export was refused.

    Args:
        run: The run folder.
        engine: The runtime to export for.
        precision: Its arithmetic.
        data: Real images to compare on and to calibrate int8 with; by default the data the run was trained on.
        backbone: Present name or folder of the backbone.
        config: Tolerances and numbers of images.
        force: Keep the export even if it is beyond tolerance.
        report: Called after every step.

    Returns:
        The export's folder, and its agreement with PyTorch.

    Raises:
        RunError: The run is incomplete, or the export is beyond tolerance.
        CalibrationError: The run's calibration is damaged.
        DatasetError: There is no image to compare on.
        BackboneError: The backbone is missing or is not the run's own.
        ConfigError: The runtime does not offer the precision.
    """
    check_precision(engine, precision)
    config, described = config or ExportConfig(), read_run(Path(run))
    dataset = data if isinstance(data, Dataset) else _find_images(described, data)
    final, record = described.folder / EXPORTS / f"{engine}-{precision}", described.folder / PARITY
    require_writable(ensure_folder(final.parent))
    torch, calibration = TorchEngine(load_model(described, backbone), "cpu"), load_calibration(described)[0]
    model = torch.model
    reference = as_inspecting(torch, described.config.inspection, load_roi(described), load_alignment(described))
    if calibration is not None and calibration.model_sha256 != described.model_sha256:
        calibration = None  # of the memory before its latest change
    with _written_aside(described.folder, final) as folder:
        inputs = calibration_inputs(reference, dataset, config.calibration_images) if precision == "int8" else []
        write_graph(model, folder, engine, precision, ReportedInputs(inputs, report))
        made = _describe(described, model, folder, engine, precision)
        parity = judge(reference, made, folder, dataset, described.config, config, report)
        inspector = Inspector(reference, described.config.scoring, run=described, calibration=calibration)
        practice = _practice(inspector, model, made, folder, dataset, config.images, report)
        parity = replace(parity, practice=practice)
        if parity.failures and not force:
            record_parity(record, made.name, parity, refused=True)
            raise _refusal(made, parity, practice)
        write_export(folder, _with_findings(made, parity))
    record_parity(record, made.name, parity, refused=False)
    return final, parity


def _describe(run: Run, model: ClipAda, folder: Path, engine: RuntimeName, precision: EnginePrecision) -> Export:
    """Describe the graph in ``folder`` before it is judged: without shortcuts."""
    return Export(
        engine=engine,
        precision=precision,
        shape=graph_shape(model),
        attention=run.config.model.attention,
        cold_below=0.0,
        end_below=0.0,
        adapter_sha256=run.trained_sha256,
        files=hashes(folder),
        clipada_version=package_version(),
        products=() if model.head is None else model.head.products,
    )


def _practice(
    inspector: Inspector,
    model: ClipAda,
    made: Export,
    folder: Path,
    dataset: Dataset,
    count: int,
    report: ProgressReport,
) -> Practice:
    """Measure verdicts, size and time of the export in ``folder`` on real images.

    With tiles, these are at most ``TILED_PHOTOS``.
    """
    reference, run = inspector.engine, cast("Run", inspector.run)
    options, rules = EngineOptions(device="cpu"), run.config.model.rules

    def opened(place: Path, export: Export) -> Engine:
        plain = open_export(place, export, options, rules)
        return as_inspecting(plain, run.config.inspection, regions_of(reference), alignment_of(reference))

    engines: dict[str, Engine] = {"torch": reference, "export": opened(folder, made)}
    total = min(count, len(dataset.samples), TILED_PHOTOS if run.config.inspection.tiled else count)
    with TemporaryDirectory(ignore_cleanup_errors=True) as other:
        if made.precision == "int8":
            write_graph(model, Path(other), made.engine, "fp32", [])
            engines["fp32"] = opened(Path(other), replace(made, precision="fp32"))
        return measure_practice(
            engines,
            read_photos(reference, dataset.samples, total),
            total,
            lambda photo, found: _is_defective(inspector, photo.path, found),
            by="marked regions, as the run is not calibrated" if inspector.calibration is None else "the calibration",
            size=sum(file.stat().st_size for file in folder.iterdir()),
            report=report,
        )


def _is_defective(inspector: Inspector, path: Path, found: LocalizedImage) -> bool:
    """Decide by the calibrated threshold of an image's score, else by the existence of a region in its map."""
    inside = seen_inside(inspector.engine, found, group_of(path, PRODUCT))(found.size)
    final = final_map(found.maps, inspector.scoring, found.view, inside)
    threshold = inspector.score_threshold(path)
    if threshold is None:
        return bool(final.max() > inspector.region_level(group_of(path, PRODUCT)))
    return (image_score(final, inspector.scoring, found.view) if found.score is None else found.score) > threshold


def _with_findings(made: Export, parity: Parity) -> Export:
    """Add the shortcuts' thresholds, and the failures of an export kept by force."""
    made = replace(made, beyond_tolerance=parity.failures)
    if parity.shortcut is None or parity.cascade is None:
        return made
    return replace(made, cold_below=parity.shortcut.cold_below, end_below=parity.cascade.end_below)


def _find_images(run: Run, data: Path | str | None) -> Dataset:
    """Load the given data, or else the data the run was trained on."""
    if data is not None:
        return load_dataset(Path(data))
    return find_dataset(run, otherwise="that of other images of the same parts")


def _refusal(made: Export, parity: Parity, practice: Practice) -> RunError:
    """Make the error for an export beyond tolerance."""
    return RunError(
        f"export {made.name} does not agree with torch: {'; '.join(parity.failures)}",
        expected="the model's own maps within tolerance",
        got=f"{parity.describe_maps()}; {practice.describe_verdicts()}",
        remedy=f"choose another --precision, or pass --force to keep it anyway; the figures are in {PARITY}",
    )


@contextmanager
def _written_aside(run: Path, final: Path) -> Iterator[Path]:
    """Give a temporary folder; move it to ``final``, and seal the run, when the block ends without an error."""
    aside = final.with_name(f".{final.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        replace_folder(run, aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
