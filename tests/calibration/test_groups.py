"""Groups of images that share a threshold, from the paths that real folders have."""

from pathlib import Path

import pytest

from clipada.calibration import group_of


@pytest.mark.parametrize(
    ("path", "rule", "group"),
    [
        ("/data/bottle/test/good/000.png", None, None),
        ("/data/bottle/test/good/000.png", "product", "bottle"),
        ("/data/bottle/test/broken/000.png", "product", "bottle"),
        ("/test/bottle/train/good/000.png", "product", "bottle"),
        ("/data/bottle/good/000.png", "product", "bottle"),
        ("/data/bottle/000.png", "product", "bottle"),
        ("/data/bottle/anomalous/000.png", "product", "bottle"),
        ("/data/bottle/OK/000.png", "product", "bottle"),
        ("/data/bottle/NG/000.png", "product", "bottle"),
        ("/000.png", "product", None),
        ("/data/line3/camera2/000.png", "folder", "camera2"),
        ("/000.png", "folder", None),
        ("/data/line3_cam2_000.png", r"_(cam\d+)_", "cam2"),
        ("/data/line3_cam2_000.png", r"line\d", "line3"),
        ("/data/000.png", r"line\d", None),
    ],
)
def test_the_group_of_a_path(path: str, rule: str | None, group: str | None) -> None:
    assert group_of(Path(path), rule) == group


def test_a_relative_path_gives_the_same_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bottle").mkdir()
    monkeypatch.chdir(tmp_path / "bottle")
    assert group_of(Path("000.png"), "product") == "bottle"
