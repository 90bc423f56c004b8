"""Test protocol of a run: criteria before the test, independent data, procedure, record sheets, signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clipada.calibration import Calibration, needed_images, threshold_rank
from clipada.config import CalibrationConfig, ProtocolConfig
from clipada.evaluation.kinds import KindCount, describe_calibrated
from clipada.evaluation.metrics import CategoryMetrics
from clipada.report.blocks import Grid, Section, Steps
from clipada.report.card import LIMITS, images_fingerprint, training_command
from clipada.report.guarantee import calibration_summary
from clipada.report.tables import metric_columns, metrics_rows
from clipada.runs import Run

USUAL_RATE = 0.05
"""False-alarm rate that is proposed for a run without a calibration."""

TOLERATED = 3
"""Numbers of tolerated wrong decisions that the table of sample sizes shows: 0 up to this one less one."""


def write_protocol(
    run: Run, calibration: Calibration | None, kinds: tuple[KindCount, ...], settings: ProtocolConfig, engine: str
) -> list[Section]:
    """Write the sections of a run's test protocol.

    Args:
        run: The run to be tested.
        calibration: Its thresholds, if it has any.
        kinds: Found and missed defects of its last evaluation at these thresholds, if there was one.
        settings: The criteria that are proposed.
        engine: The options of the engine that the line uses, as on the command line; empty for the default.
    """
    return [
        _identification(run, calibration),
        _criteria(calibration, kinds, settings),
        _data(run, calibration, settings),
        _procedure(run, engine),
        *_sheets(run, kinds, settings),
        _measured(run, calibration, kinds),
        _changes(),
        _signatures(),
    ]


def _identification(run: Run, calibration: Calibration | None) -> Section:
    facts = {
        "document number, revision": "",
        "site, line, station": "",
        "products": ", ".join(run.training.categories),
        "intended use: which decision follows from a verdict": "",
        "camera, lens, light, and their settings": "",
        "run": run.label,
        "clipada that trained it": run.clipada_version,
        "model sha256": run.model_sha256,
        "backbone": run.backbone_label,
        "manifest sha256": run.manifest_sha256 or "none: the run is not sealed; run `clipada verify RUN --seal` first",
        "calibration": "none: nothing can be tested before `clipada calibrate`"
        if calibration is None
        else calibration.id,
        "engine of the calibration": "" if calibration is None else calibration.engine,
    }
    return Section(
        title="What is tested",
        blocks=(
            "This protocol was drafted from a run's files. It is a draft until its blanks are filled in and section 2 "
            "is signed. It supports a qualification; it does not state compliance with any standard or law.",
            Grid(head=("item", "value"), rows=tuple(facts.items())),
        ),
    )


def _criteria(calibration: Calibration | None, kinds: tuple[KindCount, ...], settings: ProtocolConfig) -> Section:
    rate = _alarm_rate(calibration, settings)
    percent = f"{100 * settings.confidence:g} %"
    rows = [
        (
            "A",
            "false alarms",
            f"of good parts, at most {100 * rate:g} % are called defective, with {percent} confidence",
        ),
        *(
            (f"B{number}", f"found: {kind}", f"at least {100 * settings.detection:g} %, with {percent} confidence")
            for number, kind in enumerate(_defects(kinds) or ("(kind of defect)",), start=1)
        ),
        ("C", "not inspectable", "of good parts photographed as planned, at most ____ %"),
        ("D", "repeatability", "the same part, placed again ten times: the same decision each time, for ____ parts"),
        ("E", "integrity", "`clipada verify` reports no changed file, before and after the test"),
    ]
    return Section(
        title="Acceptance criteria, signed before the test",
        blocks=(
            "Fix these before anybody sees a verdict on the test parts. Criteria, thresholds, data and sample sizes do "
            "not change after that. A criterion that fails is reported as failed; a repeated test takes new parts.",
            Grid(head=("no.", "property", "criterion"), rows=tuple(rows)),
            "Numbers of parts that show it (exact binomial bound), by the number of wrong decisions among them:",
            _sample_sizes(rate, settings),
            Grid(head=("criteria fixed by", "role", "date", "signature"), rows=(("",) * 4, ("",) * 4)),
        ),
    )


def _sample_sizes(rate: float, settings: ProtocolConfig) -> Grid:
    """Return the number of parts that each criterion needs, by the number of tolerated wrong decisions."""
    head = ("criterion", *(f"{wrong} wrong" for wrong in range(TOLERATED)))
    rows = tuple(
        (name, *(str(_parts_needed(share, wrong, settings.confidence)) for wrong in range(TOLERATED)))
        for name, share in (("A: good parts", rate), ("B: parts of each kind", 1 - settings.detection))
    )
    return Grid(head=head, rows=rows)


def _parts_needed(share: float, wrong: int, confidence: float) -> int:
    """Return the fewest parts for which ``wrong`` wrong decisions show that at most a ``share``, 0..1, is wrong.

    This is the calibration's own question: ``wrong + 1`` is the rank of a threshold that so many images allow.
    """
    asked = CalibrationConfig(false_alarm_rate=share, confidence=confidence)
    count = needed_images(asked)
    while threshold_rank(count, asked) <= wrong:
        count += 1
    return count


def _data(run: Run, calibration: Calibration | None, settings: ProtocolConfig) -> Section:
    images = run.training_sha256s
    trained = sum(run.training.categories.values())
    fingerprint = "" if images is None else f"fingerprint {images_fingerprint(images)}"
    rate = _alarm_rate(calibration, settings)
    calibrated = (
        "calibration",
        "" if calibration is None else str(len(calibration.images)),
        "hashes in calibration.json",
    )
    return Section(
        title="Independent data",
        blocks=(
            Steps(
                items=(
                    "Test parts are other parts than those trained on, calibrated on, or used to choose settings; not "
                    "other photos of the same ones.",
                    "They come from several batches, shifts and days, and cover the usual variation of good parts.",
                    "Two people label each part without seeing a verdict; where they differ, a third decides. Their "
                    "agreement is recorded.",
                    "Defects are real. Made ones are allowed only for kinds that cannot be collected, are marked as "
                    "made, and are counted apart.",
                    "Photos are taken by the line's own camera and settings, and are kept with their hashes.",
                )
            ),
            Grid(
                head=("data", "images", "identified by"),
                rows=(
                    ("training", str(trained), fingerprint),
                    calibrated,
                    (f"test: good parts, at least {_parts_needed(rate, 0, settings.confidence)}", "", ""),
                    (
                        "test: of each kind of defect, at least "
                        f"{_parts_needed(1 - settings.detection, 0, settings.confidence)}",
                        "",
                        "",
                    ),
                ),
            ),
        ),
    )


def _procedure(run: Run, engine: str) -> Section:
    name, options = run.folder, f" {engine}" if engine else ""
    return Section(
        title="Procedure",
        blocks=(
            Steps(
                items=(
                    f"Check that nothing has changed: `clipada verify {name}`. Record its manifest sha256.",
                    f"Print what is tested: `clipada info {name}`. Attach it.",
                    "Put the photos into `test-parts/PRODUCT/test/good` and `test-parts/PRODUCT/test/KIND-OF-DEFECT`.",
                    "Inspect all of them once, with the line's engine: "
                    f"`clipada predict {name} test-parts --out protocol-test{options}`. Attach `predictions.jsonl`.",
                    f"Write the report: `clipada report {name} protocol-test{options}`. Attach it.",
                    "Enter each part in the record sheet, and the counts in the summary. Images that are not "
                    "inspectable count as not found for defects, and under C for good parts.",
                    "Place the parts of criterion D again, ten times each, and inspect the photos in the same way.",
                    f"Check again that nothing has changed: `clipada verify {name}`.",
                )
            ),
        ),
    )


def _sheets(run: Run, kinds: tuple[KindCount, ...], settings: ProtocolConfig) -> Iterator[Section]:
    head = ("no.", "part or file", "label", "verdict", "score", "p-value", "correct?", "initials")
    rows = tuple((str(number), *("",) * 7) for number in range(1, settings.rows + 1))
    yield Section(title="Record sheet (copy as needed)", blocks=(Grid(head=head, rows=rows),))
    names = [*_defects(kinds), *("",) * 3]
    summary = [(product, "good", "", "", "", "") for product in run.training.categories]
    summary += [("", name, "", "", "", "") for name in names]
    yield Section(
        title="Summary and result",
        blocks=(
            Grid(head=("product", "kind", "parts", "wrong", "not inspectable", "criterion met?"), rows=tuple(summary)),
            Grid(
                head=("deviation from this protocol", "reason", "effect on the result", "initials"),
                rows=(("",) * 4,) * 3,
            ),
            "Result: all criteria met ____  /  not met ____  (name them)",
        ),
    )


def _measured(run: Run, calibration: Calibration | None, kinds: tuple[KindCount, ...]) -> Section:
    blocks: list[str | Grid | Steps] = [
        "These figures are from development. They are no substitute for the test: the data may have been seen when "
        "settings were chosen.",
        f"Training: {sum(run.training.categories.values())} images, {run.training.machine}; `{training_command(run)}`.",
    ]
    if calibration is None:
        blocks.append("Calibration: none. Nothing is guaranteed, and no part is called defective.")
    else:
        blocks += ["Calibration:", Steps(items=tuple(calibration_summary(calibration)))]
    blocks += _metrics(run.metrics)
    if kinds:
        head = ("product", "kind", "images", "called defective", "not inspectable")
        rows = (
            (one.category, one.kind, str(one.images), str(one.defective), str(one.not_inspectable)) for one in kinds
        )
        blocks += ["Evaluation at the calibrated thresholds:", Grid(head=head, rows=tuple(rows))]
    if shared := ((run.metrics or {}).get("decisions") or {}).get("calibrated_on"):
        blocks.append(f"Note: {describe_calibrated(len(shared))}.")
    return Section(title="What was measured before", blocks=(*blocks, LIMITS))


def _metrics(metrics: Mapping[str, Any] | None) -> Iterator[str | Grid]:
    if metrics is None:
        yield "Evaluation: none. Which defects are found is not known."
        return
    protocol = metrics["protocol"]
    categories = {name: CategoryMetrics(**values) for name, values in metrics["categories"].items()}
    rows = tuple(tuple(row) for row in metrics_rows(categories, CategoryMetrics(**metrics["mean"])))
    yield f"Evaluation on {protocol['data']}, in percent, engine {protocol.get('engine') or 'not recorded'}:"
    yield Grid(head=("category", *metric_columns(categories.values())), rows=rows)
    for note in protocol.get("notes", ()):
        yield f"Note: {note}"


def _changes() -> Section:
    return Section(
        title="When the test must be repeated",
        blocks=(
            Steps(
                items=(
                    "Another run, calibration, engine or precision: another manifest or calibration in verdicts.",
                    "Another camera, lens, light, mounting or exposure; another product, supplier, material or finish.",
                    "A drift warning of `predict`, `watch` or `serve` that an open cause explains.",
                    "A new kind of defect; a complaint about a part that was called good.",
                    "The date fixed by the site: every ____ months.",
                )
            ),
        ),
    )


def _signatures() -> Section:
    head = ("", "name", "role", "date", "signature")
    rows = tuple((step, "", "", "", "") for step in ("prepared", "carried out", "reviewed", "approved"))
    return Section(title="Signatures", blocks=(Grid(head=head, rows=rows),))


def _alarm_rate(calibration: Calibration | None, settings: ProtocolConfig) -> float:
    calibrated = USUAL_RATE if calibration is None else calibration.settings.false_alarm_rate
    return settings.false_alarm_rate or calibrated


def _defects(kinds: tuple[KindCount, ...]) -> list[str]:
    """Return the kinds of defects of an evaluation, each with its product."""
    return [f"{kind.category} / {kind.kind}" for kind in kinds if not kind.is_good]
