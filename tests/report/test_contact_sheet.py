"""The contact sheet shows every sample, its outline and its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.commands.synthesize import synthesize
from clipada.config import Config
from clipada.inspection.overlays import LINE
from clipada.report.contact_sheet import PAPER, SheetSample, contact_sheet
from tiny import save


def sample(level: int, caption: str) -> SheetSample:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:20] = True
    return SheetSample(caption=caption, image=np.full((40, 60, 3), level, np.uint8), mask=mask)


def test_each_sample_stands_beside_its_outline_and_above_its_caption() -> None:
    sheet = contact_sheet([sample(level, "disc: good") for level in (60, 120, 180)], ["three samples"], columns=2)
    blank = contact_sheet([sample(level, "") for level in (60, 120, 180)], [""], columns=2)
    assert sheet.shape == blank.shape
    text = (sheet != blank).any(axis=2)
    for level in (60, 120, 180):
        rows, columns = np.nonzero((sheet == level).all(axis=2))
        assert len(rows) > 1.5 * 40 * 60  # twice, but for the outline
        below = slice(rows.max() + 1, rows.max() + 20), slice(columns.min(), columns.max())
        assert text[below].any()
        assert not text[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].any()
    bright = (np.abs(sheet.astype(int) - LINE).max(axis=2) < 60).sum()
    assert bright > 3 * 4 * 10  # around the three masks


def test_a_caption_that_is_too_long_is_shortened() -> None:
    long = contact_sheet([sample(60, "x" * 500)], ["y" * 500])
    assert long.shape == contact_sheet([sample(60, "")], [""]).shape
    assert (long[:, -4:] == PAPER).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_turned_parts_have_no_black_corners(tmp_path: Path, seed: int) -> None:
    """No camera gives them, so that they would distract from what is to be checked."""
    rng = np.random.default_rng(seed)
    for index in range(4):
        save(
            tmp_path / "data" / "disc" / "train" / "good" / f"{index}.png",
            rng.integers(150, 200, (48, 48, 3), np.uint8),
        )
    config = Config().updated(
        {
            "model.image_size": 32,
            "synthesis.rotate_probability": 1.0,
            "synthesis.anomaly_probability": 0.0,
            "training.seed": seed,
        }
    )
    path, failures = synthesize(tmp_path / "data", tmp_path / "out", config, count=8)
    sheet = np.asarray(PIL.Image.open(path))
    assert failures == ()
    parts = ((sheet > 140) & (sheet < 210)).all(axis=2)
    assert parts.sum() >= 8 * 2 * 32 * 32 - 8  # all pixels of all cells are the part's
