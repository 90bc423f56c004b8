"""Writer of the demo's images in the MVTec AD layout."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clipada.config import DemoConfig, RuntimeConfig
from clipada.data.demo.product import GOOD, Product
from clipada.errors import DatasetError
from clipada.files import parse_json, write_json
from clipada.types import Progress, ProgressReport, unreported

RECIPE = "demo.json"
"""File with the configuration of a finished folder."""

HELD_OUT = "held-out"
"""Split of the good parts for calibration."""


@dataclass(frozen=True)
class _Job:
    """Part to photograph and write."""

    product: Product
    split: str
    kind: str
    index: int

    def write(self, folder: Path, seed: int) -> None:
        part = self.product.part(seed, self.split, self.kind, self.index)
        name, root = f"{self.index:03}", folder / self.product.name
        place = root if self.split == HELD_OUT else root / self.split / self.kind
        _save(place / f"{name}.png", part.image)
        if self.kind != GOOD:
            _save(root / "ground_truth" / self.kind / f"{name}_mask.png", part.mask.astype(np.uint8) * 255)


def write_products(
    folder: Path, products: Sequence[Product], config: DemoConfig, report: ProgressReport = unreported
) -> None:
    """Photograph parts of every product into ``folder``, which is either complete or absent.

    A folder that was finished with the same config is left unchanged.

    Args:
        folder: A new or empty folder.
        products: The categories.
        config: Numbers of parts, and the seed.
        report: Called after every part.

    Raises:
        DatasetError: The folder has other content, or it cannot be written.
    """
    _photograph("drawing parts", _jobs(products, config), folder, config, report)


def write_held_out(
    folder: Path, products: Sequence[Product], config: DemoConfig, report: ProgressReport = unreported
) -> None:
    """Photograph further good parts for calibration, a folder per product; otherwise like ``write_products``."""
    jobs = [_Job(product, HELD_OUT, GOOD, index) for product in products for index in range(config.held_out)]
    _photograph("drawing held-out parts", jobs, folder, config, report)


def _photograph(stage: str, jobs: Sequence[_Job], folder: Path, config: DemoConfig, report: ProgressReport) -> None:
    if _finished(folder, config):
        return
    aside = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        with ThreadPoolExecutor(RuntimeConfig().worker_count) as threads:
            for done, _ in enumerate(threads.map(lambda job: job.write(aside, config.seed), jobs), start=1):
                report(Progress(stage=stage, done=done, total=len(jobs)))
        write_json(aside / RECIPE, asdict(config))
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except OSError as error:
        raise DatasetError(
            f"cannot write the demo's images to {folder}",
            expected="a place for a new folder",
            got=error.strerror,
            remedy="choose another folder",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a PNG file at the lowest compression level: sensor noise hardly compresses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(picture).save(path, compress_level=1)


def _jobs(products: Sequence[Product], config: DemoConfig) -> list[_Job]:
    """List all parts in the order of the layout."""
    return [
        _Job(product, split, kind, index)
        for product in products
        for split, kind, count in (
            ("train", GOOD, config.train),
            ("test", GOOD, config.good),
            *(("test", kind, config.defective) for kind in product.defects),
        )
        for index in range(count)
    ]


def _finished(folder: Path, config: DemoConfig) -> bool:
    """Return True if ``folder`` has exactly these images; raise if it has other content."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        got = parse_json((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        got = "other files"
    if got == asdict(config):
        return True
    raise DatasetError(
        f"{folder} is in the way",
        expected=f"a new or empty folder, or the demo's images of {asdict(config)}",
        got=str(got),
        remedy="choose another folder, or delete it",
    )
