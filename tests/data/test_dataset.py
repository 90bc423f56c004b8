"""A data set's parts are what its samples say."""

from pathlib import Path

import pytest

from clipada.data import load_dataset
from clipada.errors import DatasetError


def test_splits_and_categories(mvtec):
    dataset = load_dataset(mvtec)
    assert dataset.categories == ("bottle", "cable")
    assert len(dataset) == 10
    assert len(dataset.train) == 4
    assert len(dataset.test) == 6
    assert not any(sample.anomalous for sample in dataset.train)
    assert dataset.train + dataset.test != dataset.samples
    assert set(dataset.train) | set(dataset.test) == set(dataset.samples)
    dataset.require_training()
    dataset.require_test()


def test_one_category_s_part(mvtec):
    part = load_dataset(mvtec).of("cable")
    assert part.categories == ("cable",)
    assert [sample.defect for sample in part.samples] == ["good", "bent"]
    assert part.root == mvtec


def test_selection_keeps_the_data_set_s_order_and_notes(mvtec, plant):
    plant("cable/ground_truth/bent/009.png", "x/y.txt")
    dataset = load_dataset(mvtec)
    assert dataset.select(["cable", "bottle", "cable"]) == dataset
    assert dataset.select(["bottle"]).notes == dataset.notes[-2:]
    assert len(dataset.of("cable").notes) == 4


def test_unknown_categories_name_the_known(mvtec):
    dataset = load_dataset(mvtec)
    with pytest.raises(
        DatasetError, match=r"no category 'vial', 'nut' in .*\n  expected: one or more of bottle, cable"
    ):
        dataset.select(["vial", "bottle", "nut"])
    with pytest.raises(DatasetError, match=r"no category chosen in .*\n.*\n  got: none"):
        dataset.select([])


def test_no_file_is_opened(mvtec, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    assert len(load_dataset(mvtec)) == 10
