"""`clipada demo`."""

from pathlib import Path

from command_line import TINY, Command

FEW_PARTS = ("--train", "2", "--good", "1", "--defective", "1")


def test_the_demo_from_nothing_to_pictures(clipada: Command, clip_folder: Path, tmp_path: Path) -> None:
    tiny = [*TINY[: TINY.index("--device")], "--device", "cpu", "--workers", "1"]
    result = clipada("demo", "--out", tmp_path / "demo", "--backbone", clip_folder, *FEW_PARTS, *tiny)
    assert result.code == 0, result.err
    assert all(name in result.out for name in ("fabric", "metal", "tablets", "mean"))
    for line in ("drawing parts: 27 of 27", "training: ", "evaluating: 21 of 21", "predicting: 21 of 21"):
        assert line in result.err
    assert f"clipada info {tmp_path / 'demo' / 'run'}" in result.err  # what to try next
    assert "decisions at the calibrated thresholds, which allow 5 % false alarms" in result.out
    for word in ("weave", "false alarms: ", "clipada start", "clipada calibrate", "clipada report"):
        assert word in result.out + result.err
    assert len(list((tmp_path / "demo" / "pictures").rglob("*.overlay.png"))) == 21


def test_the_demo_can_stop_after_its_images(clipada: Command, tmp_path: Path) -> None:
    result = clipada("demo", "--data-only", tmp_path / "parts", *FEW_PARTS)
    assert result.code == 0, result.err
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert f"next: clipada train {tmp_path / 'parts'} --preset demo --out" in result.err
    refused = clipada("demo", "--data-only", tmp_path / "parts", *FEW_PARTS, "--seed", "1")
    refused.refused("in the way", "choose another folder")
