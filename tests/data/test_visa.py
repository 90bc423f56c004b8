"""The VisA layout."""

import pytest

from clipada.data import load_dataset
from clipada.errors import DatasetError
from listed import listing


def test_visa_is_listed_whole(visa):
    dataset = load_dataset(visa)
    assert dataset.layout == "visa"
    normal = "candle/Data/Images/Normal"
    assert listing(dataset) == [
        ("candle", "train", "good", f"{normal}/0000.JPG", ""),
        ("candle", "train", "good", f"{normal}/0001.JPG", ""),
        ("candle", "train", "good", f"{normal}/0003.JPG", ""),
        ("candle", "test", "bad", "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        ("candle", "test", "good", f"{normal}/0002.JPG", ""),
        ("pcb1", "train", "good", "pcb1/Data/Images/Normal/0000.JPG", ""),
    ]
    assert dataset.describe() == (
        "VisA layout, 2 categories",
        "candle: 3 train / 1 normal + 1 anomalous test",
        "pcb1: 1 train / 0 normal + 0 anomalous test",
    )


def test_visa_categories_not_unpacked_are_left_out_and_said(visa):
    (visa / "pcb1/Data/Images/Normal/0000.JPG").unlink()
    dataset = load_dataset(visa)
    assert dataset.categories == ("candle",)
    assert dataset.describe()[-1] == "left out: pcb1, as none of its images exists"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label,", "", "got: no column label"),
        ("pcb1,train", "pcb1,valid", r"got: line 7: pcb1,valid,normal,pcb1/.*"),
        ("test,anomaly", "test,odd", "expected: object, train or test, normal or anomaly"),
        ("test,anomaly", "train,anomaly", "anomalous training image"),
        ("pcb1/Data/Images/Normal/0000.JPG", "", "got: line 7: pcb1,train,normal,,"),
        ("Normal/0001", "Normal/0000", r"each image and each mask once\n  got: .*0000\.JPG twice"),
        ("Normal/0001", "Normal/0009", r"got: 1 that are not there, first .*0009\.JPG\n  remedy: unpack the whole"),
        ("Masks/Anomaly/000", "Masks/Anomaly/001", r"got: 1 that are not there, first .*001\.png"),
        ("0003.JPG,", "0003.JPG,candle/Data/Masks/Anomaly/000.png", "normal image .* has a mask"),
        ("object", '"' + "x" * 200_000, "expected: comma-separated values"),
    ],
)
def test_bad_visa_tables_are_refused(visa, old, new, message):
    table = visa / "split_csv" / "1cls.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(DatasetError, match=message):
        load_dataset(visa)


def test_a_visa_table_that_is_no_text_is_refused(visa):
    (visa / "split_csv" / "1cls.csv").write_bytes(b"\x89PNG\xff\xfe\n\x00")
    with pytest.raises(DatasetError, match="no column object, split, label, image, mask"):
        load_dataset(visa)


def test_a_byte_order_mark_is_no_matter(visa):
    table = visa / "split_csv" / "1cls.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert len(load_dataset(visa)) == 6
