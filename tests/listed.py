"""The samples of a data set as plain values."""

from clipada.data import Dataset


def listing(dataset: Dataset) -> list[tuple[str, ...]]:
    """Every sample as plain text: category, split, defect, image, mask."""
    root = dataset.root
    return [
        (
            sample.category,
            sample.split,
            sample.defect,
            sample.path.relative_to(root).as_posix(),
            sample.mask.relative_to(root).as_posix() if sample.mask else "",
        )
        for sample in dataset.samples
    ]
