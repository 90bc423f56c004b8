"""Folders of methods' results on a data set's test images, so that a comparison resumes and repeats nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clipada.config.schema import build
from clipada.data import Dataset
from clipada.errors import ConfigError
from clipada.evaluation.metrics import CategoryMetrics, mean_metrics
from clipada.evaluation.paired import CategoryScores, load_scores, save_scores
from clipada.files import fitting_name, read_json, write_json
from clipada.runs.records import damaged

REMEDY = "delete it and run the command again"


@dataclass(frozen=True, kw_only=True)
class MethodScores:
    """Results of a method on a data set's test images, by category.

    Attributes:
        label: Name for a person.
        metrics: Exact metrics.
        scores: Scores and counted pixels of every image.
    """

    label: str
    metrics: Mapping[str, CategoryMetrics]
    scores: Mapping[str, CategoryScores]

    @property
    def mean(self) -> CategoryMetrics:
        """The mean over categories."""
        return mean_metrics(self.metrics.values())


class MethodFolder:
    """Folder of one method's results: two files for each category, written together.

    Args:
        folder: The folder; its name contains a hash of everything that determines the results.
        label: Name of the method for a person.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder
        self.label = label

    def missing(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the categories with test images that are not finished, in order."""
        return tuple(name for name in _tested(dataset) if not self._file(name, ".json").exists())

    def keep(self, category: str, metrics: CategoryMetrics, scores: CategoryScores, how: Mapping[str, Any]) -> None:
        """Write the results of a category, which is finished then."""
        save_scores(self._file(category, ".npz"), scores)
        content = {"method": self.label, "category": category, "metrics": metrics.to_dict(), **how}
        write_json(self._file(category, ".json"), content)

    def read(self, dataset: Dataset) -> MethodScores:
        """Read the results of all categories; raise ``RunError`` if a file is damaged."""
        metrics = {name: self._metrics(self._file(name, ".json")) for name in _tested(dataset)}
        scores = {name: load_scores(self._file(name, ".npz")) for name in _tested(dataset)}
        return MethodScores(label=self.label, metrics=metrics, scores=scores)

    def _file(self, category: str, ending: str) -> Path:
        return self.folder / fitting_name(quote(category, safe=" "), ending)

    @staticmethod
    def _metrics(path: Path) -> CategoryMetrics:
        content = read_json(path, REMEDY)
        try:
            found: CategoryMetrics = build(CategoryMetrics, content.get("metrics"), "metrics.")
        except ConfigError as error:
            raise damaged(path, error, REMEDY) from error
        return found


def _tested(dataset: Dataset) -> tuple[str, ...]:
    """Return the categories that have test images, in order."""
    return tuple(dict.fromkeys(sample.category for sample in dataset.test))
