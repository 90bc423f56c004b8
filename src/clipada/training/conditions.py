"""Studies of a product in another condition: another light, another camera."""

from __future__ import annotations

import torch
from torch import Tensor

from clipada.models.growth import Rows, join_parts
from clipada.training.answers import ProductRows
from clipada.training.study import Student

_KNOWN = -2
"""Source of the rows that were there before: none of the new images."""


class JoinedRows(ProductRows):
    """Rows of a product that were there before, and those chosen among new images.

    Args:
        known: The former.
        added: The latter.
    """

    def __init__(self, known: Rows, added: ProductRows) -> None:
        self.neighbors = added.neighbors
        before = torch.full(known.rows.shape[:2], _KNOWN)
        self.rows = join_parts([known.rows, added.rows], self.neighbors)
        self.images = join_parts([before, added.images], self.neighbors)
        self.units = torch.nn.functional.normalize(self.rows.float(), dim=-1)


class ConditionStudent(Student):
    """Studies a product in another condition: its images are searched in the product's rows and in new ones together.

    Args:
        student: The student of the run.
        known: The rows of the product that are there.
    """

    def __init__(self, student: Student, known: Rows) -> None:
        super().__init__(student.model, student.config, student.reader, student.report)
        self.known = known

    def choose_rows(self, name: str, units: Tensor, sources: Tensor, inside: Tensor | None = None) -> ProductRows:
        """Choose rows as for a new product, and join them with those that are there."""
        return JoinedRows(self.known, super().choose_rows(name, units, sources, inside))
