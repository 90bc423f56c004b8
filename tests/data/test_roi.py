"""Files with regions of interest: for all products, for each, and those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipada.config.image_rules import ImageRules
from clipada.data import Dataset, load_dataset
from clipada.data.roi import read_regions
from clipada.errors import DatasetError
from tiny import save, write_products

SIZE = [48, 40]
HALF = [[24, 0], [48, 0], [48, 40], [24, 40]]
RULES = ImageRules()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_products(tmp_path_factory.mktemp("products")))


def written(path: Path, size: list[int] | None = None, polygons: object = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"size": size or SIZE, "polygons": [HALF] if polygons is None else polygons}))
    return path


def mask(marked: int = 255) -> np.ndarray:
    image = np.zeros((40, 48), np.uint8)
    image[10:30, 5:40] = marked
    return image


def test_one_file_is_for_all_products(tmp_path, dataset):
    found = read_regions(written(tmp_path / "roi.json"), dataset, RULES)
    assert set(found.products) == {"plate", "disc"}
    inside = found.inside("disc", (40, 48))
    assert inside[:, 26:].all()
    assert not inside[:, :22].any()


def test_a_folder_has_a_file_for_some_products_and_the_others_count_as_a_whole(tmp_path, dataset):
    save(tmp_path / "disc.png", mask())
    (tmp_path / ".DS_Store").write_text("")
    found = read_regions(tmp_path, dataset, RULES)
    np.testing.assert_array_equal(found.inside("disc", (40, 48)), mask() > 0)
    assert found.inside("plate", (40, 48)) is None


def test_masks_of_any_two_levels_count_where_they_are_bright(tmp_path, dataset):
    for marked in (1, 200, 255):
        save(tmp_path / "mask.png", mask(marked))
        np.testing.assert_array_equal(
            read_regions(tmp_path / "mask.png", dataset, RULES).inside("disc", (40, 48)), mask() > 0
        )


def test_the_file_of_a_run_is_read_again(tmp_path, dataset):
    save(tmp_path / "in" / "disc.png", mask())
    found = read_regions(tmp_path / "in", dataset, RULES)
    (tmp_path / "roi.json").write_text(json.dumps(found.to_dict()))
    assert read_regions(tmp_path / "roi.json", dataset, RULES) == found


def test_files_that_cannot_be_used_are_refused_with_a_reason(tmp_path, dataset):
    def refused(path: Path, message: str) -> None:
        with pytest.raises(DatasetError, match=message) as error:
            read_regions(path, dataset, RULES)
        assert error.value.expected

    refused(tmp_path / "gone.json", "no region of interest in .*gone.json\n")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "got: an empty folder")
    refused(
        written(tmp_path / "names" / "plat.json").parent, "unknown product\n.*\n  got: plat\n  remedy: did you mean"
    )
    refused(
        written(tmp_path / "wrong.json", size=[40, 48]),
        "inside of 40 x 48 pixels",
    )
    refused(
        written(tmp_path / "large.json", [480, 400], [[[0, 0], [9, 0], [9, 9]]]),
        "expected: 48 x 40 pixels.*\n  got: 480 x 400",
    )
    refused(
        written(tmp_path / "out.json", polygons=[[[0, 0], [90, 0], [9, 9]]]),
        r"inside of 48 x 40 pixels\n  got: \(90, 0\)",
    )
    refused(written(tmp_path / "none.json", polygons=[]), "at least one pixel inside")
    (tmp_path / "text.json").write_text("{")
    refused(tmp_path / "text.json", "is no region of interest")
    (tmp_path / "products.json").write_text(json.dumps({"products": {"plate": {"size": SIZE}}}))
    refused(tmp_path / "products.json", "plate: the content")
    save(tmp_path / "black.png", np.zeros((40, 48), np.uint8))
    refused(tmp_path / "black.png", "is empty")
    save(tmp_path / "photo.png", np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8))
    refused(tmp_path / "photo.png", "a picture: ")
    save(tmp_path / "small.png", mask()[:20])
    refused(tmp_path / "small.png", "does not fit the images of")
    (tmp_path / "broken.png").write_bytes(b"no image")
    refused(tmp_path / "broken.png", "is no region of interest")
    written(tmp_path / "twice" / "disc.json")
    save(tmp_path / "twice" / "disc.png", mask())
    refused(tmp_path / "twice", "two files")
