"""A verdict as people see it in Python: its overlay, its file, and its box in a notebook."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector, Verdict
from clipada.config import ScoringConfig
from clipada.errors import ImageError
from clipada.inspection.overlays import overlay
from stand_in import BrightEngine
from tiny import save


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    """The verdict on a dark part with a bright spot, of a name that HTML must quote."""
    part = np.full((60, 90, 3), 20, np.uint8)
    part[20:40, 30:60] = 250
    save(tmp_path / "a&b.png", part)
    return Inspector(BrightEngine(), ScoringConfig(sigma=1.0)).inspect(tmp_path / "a&b.png")


def test_the_overlay_is_the_picture_that_predict_writes(verdict: Verdict) -> None:
    picture = verdict.overlay()
    assert isinstance(picture, PIL.Image.Image)
    expected = overlay(verdict.image, verdict.anomaly_map, verdict.threshold)
    np.testing.assert_array_equal(np.asarray(picture), expected)


def test_it_is_saved_as_png(verdict: Verdict, tmp_path: Path) -> None:
    path = verdict.save(str(tmp_path / "part.overlay.png"))
    with PIL.Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(verdict.overlay()))
    with pytest.raises(ImageError, match="cannot save the verdict") as caught:
        verdict.save(tmp_path / "part.jpg")
    assert ".png" in str(caught.value.expected)
    assert not (tmp_path / "part.jpg").exists()


def test_a_notebook_shows_decision_figures_and_picture(verdict: Verdict) -> None:
    html = verdict._repr_html_()
    assert "NOT CALIBRATED" in html
    assert "a&amp;b.png" in html
    assert f"score {verdict.score:.4f}" in html
    assert "1 region above" in html
    assert 'src="data:image/jpeg;base64,' in html
    assert "http" not in html
    assert len(html) < 100_000


def test_a_text_path_is_a_path_everywhere(tmp_path: Path) -> None:
    inspector = Inspector(BrightEngine(), ScoringConfig(sigma=1.0))
    save(tmp_path / "part.png", np.full((8, 8, 3), 9, np.uint8))
    (found,) = inspector.inspect_files([str(tmp_path / "part.png")])
    assert isinstance(found, Verdict)
    assert found.path == tmp_path / "part.png"


def test_an_inspector_says_what_it_is() -> None:
    assert repr(Inspector(BrightEngine(), ScoringConfig())) == (
        "<Inspector: BrightEngine, 64 x 64 pixels, not calibrated>"
    )
