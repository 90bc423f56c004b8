"""Numbers published in the paper, as data: section 5 of CLIP-ADA (arXiv 2403.09493), copied from its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

DatasetName = Literal["mvtec", "visa"]

MEAN = "mean"
"""Key of the mean over categories among values by category."""

OURS = "CLIP-ADA"
"""Method whose rows can be measured here."""


@dataclass(frozen=True, kw_only=True)
class PaperDataset:
    """A data set as the paper uses it.

    Attributes:
        name: Name.
        train: Number of training images.
        test: Number of test images.
        categories: Names of the category folders, in the paper's order.
    """

    name: str
    train: int
    test: int
    categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One row of a table, as published.

    Attributes:
        method: Name of the method.
        variant: Name of the variant of CLIP-ADA as in ``clipada.research.paper.experiments``; empty for other methods.
        figures: By metric and category, in percent; ``"mean"`` among the categories is the mean stated in the paper.
        extras: Further numbers: ``parameters_millions``, ``images_per_second``.
    """

    method: str
    variant: str
    figures: Mapping[str, Mapping[str, float]]
    extras: Mapping[str, float]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return content


def source() -> str:
    """Return the citation of the published numbers."""
    return str(_content()["source"])


def paper_dataset(name: DatasetName) -> PaperDataset:
    """Return a data set of the paper."""
    values = _content()["datasets"][name]
    return PaperDataset(**(values | {"categories": tuple(values["categories"])}))


def published_rows(table: str, main: str) -> tuple[PublishedRow, ...]:
    """Return the rows of a table in the paper's order; none for an item that the paper shows only as a picture.

    Args:
        table: ``"table1"`` ... ``"table6"``.
        main: The variant of CLIP-ADA's rows for which the paper names none.
    """
    return tuple(
        PublishedRow(
            method=row["method"],
            variant=row.get("variant", main if row["method"] == OURS else ""),
            figures=row["figures"],
            extras={name: row[name] for name in ("parameters_millions", "images_per_second") if name in row},
        )
        for row in _content()["tables"].get(table, ())
    )
