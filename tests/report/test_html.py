"""The HTML report as its reader meets it: real runs through the real command line."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import evaluate, predict, report_run
from clipada.commands.report import REPORT
from clipada.errors import BackboneError, ClipAdaError, RunError
from clipada.inspection import Inspector
from clipada.inspection.overlays import LINE
from clipada.inspection.record import verdict_record
from clipada.report import read_scores, write_report
from clipada.report.cases import SIDE
from clipada.runs import METRICS, SCORES, read_run
from pages import read
from tiny import write_products

Command = Callable[..., tuple[int, str]]


def test_a_report_tells_of_its_run(clipada: Command, evaluated: Path) -> None:
    code, _, err = clipada("report", evaluated)
    assert (code, f"the report is {evaluated / REPORT}" in err) == (0, True), err
    page = read(evaluated / REPORT)
    run = read_run(evaluated)
    for fact in (str(evaluated), run.backbone_label, "products, 8 images", f"clipada report {evaluated}", "seed 0"):
        assert fact in page.words
    metrics = json.loads((evaluated / METRICS).read_text())
    assert metrics["protocol"]["masks"] in page.words
    table = page.words[page.words.index("Metrics in percent") :]
    for name, values in [*metrics["categories"].items(), ("mean", metrics["mean"])]:
        cells = [f"{100 * values[column]:.1f}" for column in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")]
        assert [name, *cells] == table[table.index(f"\n{name}\n") :].split()[:5]
    assert len(page.all("svg")) == 2  # a histogram for each category
    assert len(page.all("img")) == 2 * (2 * 4 + 2 * 3)  # good parts have no truth to show
    assert page.words.count("good part: no defect") == 4
    assert len(page.text) < 1e6


def test_pictures_show_the_part_its_truth_and_what_was_found(evaluated: Path, parts: Path) -> None:
    page = read(report_run(evaluated, device="cpu").path)
    found = {image["alt"]: image["src"] for image in page.all("img")}
    name = "disc/test/scratch/000.png"

    def pixels(label: str) -> np.ndarray:
        source = next(str(src) for alt, src in found.items() if alt == f"{label}: {name}")
        return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))), np.int16)

    scale = SIDE / 48
    margin = (pixels("image").shape[1] - SIDE) // 2
    own = np.asarray(PIL.Image.open(parts / name).resize((SIDE, round(40 * scale))), np.int16)
    shown = pixels("image")[margin:-margin, margin:-margin]
    assert np.abs(shown - own).mean() < 4
    outline = np.abs(pixels("truth") - LINE).max(axis=2) < 60
    rows, columns = (np.flatnonzero(outline.any(axis=axis)) for axis in (1, 0))
    box = [(edge - margin) / scale for edge in (columns[0], rows[0], columns[-1], rows[-1])]
    np.testing.assert_allclose(box, (12, 10, 30, 22), atol=1)  # where the scratch was drawn
    assert not np.array_equal(pixels("map"), pixels("image"))


def test_names_are_text_and_nothing_else(clipada: Command, evaluated: Path, tmp_path: Path) -> None:
    """A category, a defect and a file named as an attack, from the evaluation and from verdicts."""
    attack = "<script>alert(1)<\"'&>{{ 7*7 }}{% x %}"
    data = write_products(tmp_path / "data")
    (data / "disc").rename(data / attack)
    (data / attack / "test" / "scratch").rename(data / attack / "test" / f"scratch{attack}")
    (data / attack / "ground_truth" / "scratch").rename(data / attack / "ground_truth" / f"scratch{attack}")
    good = data / attack / "test" / "good"
    (good / "000.png").rename(good / f"{attack}.png")
    assert clipada("evaluate", evaluated, data)[0] == 0
    predicted = tmp_path / f"{attack}.jsonl"
    results = predict(evaluated, good, device="cpu")
    predicted.write_text("".join(json.dumps(verdict_record(result)) + "\n" for result in results))
    for words in ([], [predicted]):
        out = tmp_path / f"{attack}.html"
        code, _, err = clipada("report", evaluated, *words, "--out", out)
        assert code == 0, err
        page = read(out)
        assert f"{attack}.png" in page.words
        assert any(f"{attack}.png" in str(image["alt"]) for image in page.all("img"))
        assert "{{ 7*7 }}" in page.text


def test_verdicts_on_bytes_count_without_a_picture(clipada: Command, finished_run: Path, parts: Path) -> None:
    """A server inspects what it is sent: such a verdict names no file."""
    image = parts / "plate" / "test" / "good" / "000.png"
    inspector = Inspector.load(finished_run, device="cpu")
    records = [verdict_record(inspector.inspect(source)) for source in (image.read_bytes(), image)]
    for kept, pictures in ((records, 3), (records[:1], 0)):
        out = finished_run.parent / "sent.jsonl"
        out.write_text("".join(json.dumps(record) + "\n" for record in kept))
        code, _, err = clipada("report", finished_run, out)
        assert (code, f"reported {len(kept)} images\n" in err) == (0, True), err
        page = read(out.with_suffix(".html"))
        assert page.words.count("1 inspected: scores") == len(kept)  # one of a product, one of none
        assert len(page.all("img")) == pictures


def test_verdicts_of_an_unlabeled_folder(clipada: Command, finished_run: Path, parts: Path, tmp_path: Path) -> None:
    """No evaluation is needed; what could not be inspected is counted and named."""
    folder = shutil.copytree(parts / "plate" / "test", tmp_path / "today")
    (folder / "broken.png").write_bytes(b"no image")
    assert clipada("predict", finished_run, folder, "--out", tmp_path / "out", "--threshold", 0.4)[0] == 0
    verdicts = tmp_path / "out" / "predictions.jsonl"
    code, _, err = clipada("report", finished_run, verdicts)
    assert code == 0, err
    page = read(verdicts.with_suffix(".html"))
    records = [json.loads(line) for line in verdicts.read_text().splitlines()]
    scores = sorted((record["score"] for record in records if "score" in record), reverse=True)
    above = sum(bool(record.get("regions")) for record in records)
    for fact in (
        "today, 4 images, 1 left out",
        "4 inspected",
        f"{above} of 4 have a region",
        str(folder / "broken.png"),
    ):
        assert fact in page.words
    assert re.findall(r"score (0\.\d+)", page.words) == [f"{score:#.3g}" for score in scores]
    assert "contour above 0.4" in page.words
    assert "Metrics" not in page.words
    assert len(page.all("svg")) == 1


def test_a_run_without_an_evaluation_is_told_how_to_get_one(clipada: Command, run_folder: Path, parts: Path) -> None:
    code, _, err = clipada("report", run_folder)
    assert (code, f"clipada evaluate {run_folder}" in err) == (2, True)
    evaluate(run_folder, parts, device="cpu")
    (run_folder / METRICS).unlink()
    with pytest.raises(RunError, match="not evaluated"):
        report_run(run_folder)
    assert not (run_folder / REPORT).exists()


@pytest.mark.parametrize(
    "content",
    ["", "\n", "[1]\n", '"error"\n', '{"path": "a.png"}\n', '{"path": 3, "score": 0.1}\n', "{\n", '{"error": 1}\n'],
)
def test_damaged_verdicts_are_refused(clipada: Command, finished_run: Path, tmp_path: Path, content: str) -> None:
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text(content)
    code, _, err = clipada("report", finished_run, verdicts)
    assert (code, "remedy: " in err) == (2, True), err
    assert str(verdicts) in err
    verdicts.unlink()
    assert clipada("report", finished_run, verdicts)[0] == 2


@pytest.mark.parametrize("change", ["categories", "protocol", "scores"])
def test_a_damaged_evaluation_is_refused(evaluated: Path, change: str) -> None:
    if change == "scores":
        (evaluated / SCORES).write_bytes(b"\xff\xfe\n")
    else:
        metrics = json.loads((evaluated / METRICS).read_text())
        metrics[change] = {"disc": {"image_auroc": 1}}
        (evaluated / METRICS).write_text(json.dumps(metrics))
    with pytest.raises(ClipAdaError, match="evaluate"):
        report_run(evaluated)


def test_verdicts_are_reported_as_they_were_judged(
    clipada: Command, finished_run: Path, parts: Path, tmp_path: Path
) -> None:
    """Independent of the run's present calibration."""
    images = sorted((parts / "plate" / "test").rglob("*.png"))[:2]
    lines = [
        {"path": str(path), "score": 0.3, "threshold": 0.4, "regions": [], "score_threshold": limit, "p_value": 0.125}
        | {"calibration": "0123456789ab"}
        for path, limit in zip(images, (0.2, 0.35), strict=True)
    ]
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, err = clipada("report", finished_run, verdicts)
    assert code == 0, err
    page = read(verdicts.with_suffix(".html")).words
    assert page.count("DEFECTIVE") == page.count("GOOD") == 2  # in the list and above the pictures
    for fact in ("threshold 0.200", "threshold 0.350", "p 0.12", "0.2 to 0.35"):
        assert fact in page
    assert "inspected with calibration 0123456789ab, not the run's present one; no guarantee is shown" in page


def test_what_can_no_longer_be_read_is_skipped_and_counted(
    clipada: Command, evaluated: Path, parts: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(parts, tmp_path / "data")
    evaluate(evaluated, data, device="cpu")
    (data / "disc" / "test" / "good" / "001.png").unlink()
    (data / "disc" / "test" / "scratch" / "000.png").write_bytes(b"")
    (data / "plate" / "ground_truth" / "scratch" / "001_mask.png").write_bytes(b"")
    code, _, err = clipada("report", evaluated)
    assert (code, "3 of those chosen not shown" in err) == (0, True), err
    page = read(evaluated / REPORT)
    assert page.words.count("cannot be shown") == 3
    for name in ("disc/test/good/001.png", "disc/test/scratch/000.png", "scratch/001_mask.png"):
        assert page.words.count(name) == 1  # among those left out alone
    shutil.rmtree(data)
    assert len(report_run(evaluated, device="cpu").failures) == 8
    assert read(evaluated / REPORT).all("img") == []


@pytest.mark.parametrize(("lacking", "images"), [("good", 4 * 4), ("scratch", 4 * 3)])
def test_a_test_set_of_one_kind(evaluated: Path, parts: Path, tmp_path: Path, lacking: str, images: int) -> None:
    """Only defects, or only good parts: metrics are undefined, the rest holds."""
    data = shutil.copytree(parts, tmp_path / "data")
    for folder in data.glob(f"*/test/{lacking}"):
        shutil.rmtree(folder)
    evaluate(evaluated, data, device="cpu")
    page = read(report_run(evaluated, device="cpu").path)
    assert len(page.all("img")) == images
    assert "–" in page.words
    assert "no higher than" not in page.words


def test_a_failed_report_leaves_the_last_one_as_it_was(evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    out.mkdir()
    path = report_run(evaluated, out=out, device="cpu").path
    before = path.read_bytes()
    with pytest.raises(BackboneError):
        report_run(evaluated, out=out, backbone=str(tmp_path))
    assert path.read_bytes() == before
    assert sorted(out.iterdir()) == [out / "report.csv", path]


def test_thresholds_of_the_image_score_are_drawn_and_counted(evaluated: Path, tmp_path: Path) -> None:
    parts = read_scores(read_run(evaluated))
    limits = {name: max(part.score for part in parts.scored if part.category == name) for name in ("disc", "plate")}
    out = tmp_path / "report.html"
    inspector = Inspector.load(evaluated, device="cpu")
    write_report(
        out,
        read_run(evaluated),
        parts,
        inspector.inspect_files,
        command="clipada report",
        image_threshold=lambda path: limits.get(path.parts[-4]),
    )
    page = read(out)
    assert [line["class"] for line in page.all("line")].count("threshold") == 2
    decided = page.words[page.words.index("defective above") :].split()
    for cells in (
        "scratch 2 0 2 0.0 –",
        "good parts 2 – – – 0",
        "all 8 0 4 0.0 0",
    ):  # a score that is equal is not above
        assert cells in " ".join(decided)


def test_images_that_are_not_inspectable_are_shown_with_their_reason_and_do_not_count(
    finished_run: Path, parts: Path, tmp_path: Path
) -> None:
    lane = shutil.copytree(parts / "plate" / "test" / "good", tmp_path / "plate")
    PIL.Image.new("RGB", (48, 40)).save(lane / "black.png")
    list(predict(finished_run, lane, tmp_path / "out", device="cpu"))
    page = read(report_run(finished_run, tmp_path / "out", device="cpu").path)
    assert "1 of 3 images are not inspectable: 1 dark." in page.text
    assert "not inspectable: dark: black pixels 100 %, training images at most 0 %" in page.text
    assert "2 inspected: scores " in page.text
    (lane / "000.png").unlink()
    (lane / "001.png").unlink()
    list(predict(finished_run, lane, tmp_path / "black", device="cpu"))
    black = read(report_run(finished_run, tmp_path / "black", device="cpu").path)
    assert "1 of 1 images are not inspectable: 1 dark." in black.text
