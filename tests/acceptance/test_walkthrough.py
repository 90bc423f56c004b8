"""The way through: train, info, evaluate, predict, synthesize."""

import json
from pathlib import Path

import PIL.Image

from clipada.runs import ADAPTER, CARD, CONFIG, METRICS
from command_line import TINY, Command


def test_from_good_parts_to_verdicts(clipada: Command, clip_folder: Path, products: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "line3", tmp_path / "out"
    trained = clipada("train", products, "--out", run, "--backbone", clip_folder, *TINY)
    assert trained.code == 0, trained.err
    for line in ("MVTec AD layout, 2 categories", "plate: 6 train / 2 normal + 2 anomalous test"):
        assert line in trained.err
    assert f"next: clipada calibrate {run} HELD-OUT" in trained.err  # in one piece, however long the path
    assert {path.name for path in run.iterdir()} >= {CONFIG, ADAPTER, CARD}
    assert trained.out == ""

    told = clipada("info", run)
    assert told.code == 0
    for fact in ("disc (6), plate (6)", "32 x 32 pixels", "4 learned vectors", "1 pass, residual", "2 epochs"):
        assert fact in told.out
    assert "mean metrics" not in told.out

    evaluated = clipada("evaluate", run, products, "--device", "cpu")
    assert evaluated.code == 0, evaluated.err
    for word in ("pass 0 (coarse)", "pass 1 (refined)", "P-mAP", "AUPRO", "disc", "plate", "mean"):
        assert word in evaluated.out
    assert str(run / METRICS) in evaluated.err
    metrics = json.loads((run / METRICS).read_text())
    assert f"P-mAP {100 * metrics['mean']['pixel_ap']:.1f}" in " ".join(clipada("info", run).out.split())

    predicted = clipada("predict", run, products / "disc" / "test", "--out", out, "--device", "cpu")
    assert predicted.code == 0, predicted.err
    assert len(predicted.records) == 4
    assert f"inspected 4 images, left out 0; pictures in {out}" in predicted.err

    sheet = clipada("synthesize", products, "--out", out, "--count", 6, "--set", "model.image_size=32")
    assert sheet.code == 0, sheet.err
    with PIL.Image.open(out / "contact-sheet.png") as image:
        assert image.width > 64
        assert image.height > 64
