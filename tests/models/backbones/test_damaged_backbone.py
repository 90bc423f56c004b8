"""Damaged files of a backbone's folder: it is loaded, or the error names the folder."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings

from clipada.config import BackboneConfig
from clipada.errors import BackboneError
from clipada.models.backbones import load_clip
from damaged import DEEP, json_bytes

FILE = "preprocessor_config.json"


@pytest.fixture(scope="module")
def folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny CLIP whose file the tests of this module overwrite."""
    return shutil.copytree(clip_folder, tmp_path_factory.mktemp("damaged") / "clip")


@given(content=json_bytes({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}))
@settings(max_examples=25, deadline=None)
def test_any_normalization_is_loaded_or_an_error(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    try:
        assert load_clip(BackboneConfig(name=str(folder), blocks=(2,))).sha256()
    except BackboneError as error:
        assert str(folder / FILE) in error.what  # noqa: PT017 - most examples fail, some do not
        assert error.remedy  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    [
        "{",
        DEEP,
        "[]",
        json.dumps({"image_mean": [0.4, 0.5]}),
        json.dumps({"image_mean": [0.4, 0.5, "0.6"]}),
        json.dumps({"image_std": [0.4, 0.5, 0.0]}),
        json.dumps({"image_std": [0.4, 0.5, float("nan")]}),
        json.dumps({"image_std": [0.4, 0.5, 10**400]}),
    ],
)
def test_a_damaged_normalization_is_an_error(folder: Path, content: str) -> None:
    """A model trained with OpenAI's values instead would be worse, unnoticed."""
    (folder / FILE).write_text(content)
    with pytest.raises(BackboneError, match=f"{FILE} is damaged"):
        load_clip(BackboneConfig(name=str(folder), blocks=(2,)))


def test_without_the_file_openais_values_are_used(folder: Path) -> None:
    (folder / FILE).unlink()
    assert load_clip(BackboneConfig(name=str(folder), blocks=(2,))).mean.flatten().tolist() == pytest.approx(
        [0.48145466, 0.4578275, 0.40821073]
    )
