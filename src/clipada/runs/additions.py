"""Good parts that were added to a memory, each with all that a revision's memory is composed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipada.config.schema import build, require
from clipada.errors import ConfigError, RunError
from clipada.models.growth import Rows, Statistics
from clipada.runs.description import COPY_AGAIN, Run
from clipada.runs.records import damaged
from clipada.runs.revisions import AddedPart
from clipada.runs.tensors import read_metadata, read_tensors, write_parameters
from clipada.runs.verification import require_sealed

DESCRIPTION = "addition"
"""Name in a file's header under which its description is."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """Description of an addition, without its numbers.

    Attributes:
        product: The product.
        condition: Name of the light or camera in which the images show it; empty for a new product.
        sha256s: Hashes of the images, sorted.
        level: 95 % quantile of the peaks of their maps, 0..1.
        coverage: As in ``Study``, 0..1.
        copies: Kind of the changed copies that joined the images.
        folders: Absolute paths of the folders of the images; empty in earlier versions.
    """

    product: str
    condition: str
    sha256s: tuple[str, ...]
    level: float
    coverage: float
    copies: str = "none"
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.product), "product", "a name", self.product, "field")
        require(0 <= self.level <= 1, "level", "0 to 1", self.level, "field")


@dataclass(frozen=True, kw_only=True, eq=False)
class Addition:
    """Good parts of a new product, or of a product in another light or of another camera.

    Attributes:
        described: What it is.
        views: Rows, and statistics of the distances of these images, by the prefix of the view's tensors.
        box: The box that is read, as in ``Crops``, ``(4,)``.
        statistics: Statistics of ``m`` images for the input check, ``(m, S)`` float64.
        descriptors: Descriptors of the images, ``(m, D)`` float32 of unit length.
    """

    described: Described
    views: Mapping[str, tuple[Rows, Statistics]]
    box: Tensor
    statistics: NDArray[np.float64]
    descriptors: NDArray[np.float32]

    @property
    def images(self) -> int:
        """Number of images that were read."""
        return len(self.statistics)


def write_addition(path: Path, addition: Addition) -> None:
    """Write an addition to a file."""
    tensors = {
        "box": addition.box.float(),
        "statistics": torch.from_numpy(addition.statistics),
        "descriptors": torch.from_numpy(addition.descriptors).half(),
    }
    for prefix, (rows, statistics) in addition.views.items():
        tensors |= {f"{prefix}rows": rows.rows, f"{prefix}usual": rows.usual.half()}
        tensors |= {f"{prefix}distance_mean": statistics.mean, f"{prefix}distance_std": statistics.std}
    write_parameters(path, tensors, **{DESCRIPTION: json.dumps(asdict(addition.described))})


def read_additions(run: Run, parts: Sequence[AddedPart]) -> list[Addition]:
    """Read parts that were added to the memory of a run.

    Raises:
        RunError: A file is damaged, or is not the one that the run was sealed with.
    """
    require_sealed(run, *(part.name for part in parts))
    return [read_addition(run.folder / part.name) for part in parts]


def read_addition(path: Path) -> Addition:
    """Read an addition from a file.

    Raises:
        RunError: The file is damaged.
    """
    tensors, text = read_tensors(path, COPY_AGAIN), read_metadata(path, COPY_AGAIN).get(DESCRIPTION, "")
    try:
        return _built(tensors, json.loads(text))
    except ConfigError as error:
        raise damaged(path, error, COPY_AGAIN) from error
    except (KeyError, ValueError) as error:
        expected = "rows of a product and their statistics"
        raise RunError(f"{path} is damaged", expected=expected, got=str(error), remedy=COPY_AGAIN) from error


def _built(tensors: Mapping[str, Tensor], description: Any) -> Addition:
    """Build an addition; raise ``ConfigError``, ``KeyError`` or ``ValueError`` unless it is whole."""
    statistics = tensors["statistics"].double().numpy()
    views = {}
    for name in tensors:
        if name.endswith("rows"):
            prefix = name.removesuffix("rows")
            rows = Rows(tensors[name], tensors[f"{prefix}usual"])
            mean, std = tensors[f"{prefix}distance_mean"], tensors[f"{prefix}distance_std"]
            views[prefix] = (rows, Statistics(len(statistics), mean, std))
    descriptors = torch.nn.functional.normalize(tensors["descriptors"].float(), dim=-1).numpy()
    return Addition(
        described=build(Described, description, "", "field"),
        views=views,
        box=tensors["box"],
        statistics=statistics,
        descriptors=descriptors,
    )
