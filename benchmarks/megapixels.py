"""Time and memory of one image against its megapixels, whole and in tiles; each in a process of its own.

``python benchmarks/megapixels.py RUN PHOTO --tile 1000 --engine onnx``
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import conditions, in_new_process

from clipada.config import EngineOptions, InspectionConfig
from clipada.engines.tiled import TiledEngine, image_tiles, inner
from clipada.images import read_rgb
from clipada.inspection import Inspector

MEGAPIXELS = (1, 4, 12, 25, 50, 100)
ASPECT = 4 / 3


def write_photo(source: Path, megapixels: float, path: Path) -> None:
    """Write an image of so many megapixels: a photo and its mirror images, side by side."""
    import PIL.Image

    photo = read_rgb(source)
    height = round((1e6 * megapixels / ASPECT) ** 0.5)
    width = round(1e6 * megapixels / height)
    pair = np.concatenate([photo, photo[:, ::-1]], axis=1)
    square = np.concatenate([pair, pair[::-1]], axis=0)
    times = -(-height // square.shape[0]), -(-width // square.shape[1])
    PIL.Image.fromarray(np.tile(square, (*times, 1))[:height, :width]).save(path, quality=92)


def inspect(run: Path, path: Path, settings: InspectionConfig | None, engine: str) -> tuple[float, int, int]:
    """Inspect an image; return the seconds, and the numbers of its tiles and regions."""
    inspector = Inspector.load(run, engine=EngineOptions(name=engine), calibrated=False)  # type: ignore[arg-type]
    tiles = 0
    if settings is not None:
        inspector.engine = TiledEngine(inner(inspector.engine), settings)
    else:
        inspector.engine = inner(inspector.engine)
    started = time.perf_counter()
    verdict = inspector.inspect(path)
    if settings is not None:
        height, width = verdict.anomaly_map.shape
        tiles = len(image_tiles(settings, inspector.engine.size, (height, width)))
    return time.perf_counter() - started, tiles, len(verdict.regions)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--tile", type=int, default=1000)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    given = parser.parse_args()
    tiled = replace(InspectionConfig(), view="tiles", tile=given.tile)
    print(conditions(int(os.environ.get("OMP_NUM_THREADS", "0")), "torch", "pillow"), flush=True)
    print("megapixels  view   tiles  seconds  ms a tile  peak MiB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in given.megapixels:
            path = Path(folder) / "photo.jpg"
            write_photo(given.photo, megapixels, path)
            for settings in (None, tiled):
                (seconds, tiles, _), peak = in_new_process(inspect, given.run, path, settings, given.engine)
                each = f"{1000 * seconds / (tiles + 1):9.0f}" if tiles else "         "
                name = "tiles" if tiles else "whole"
                print(f"{megapixels:10.0f}  {name}  {tiles or 1:5d}  {seconds:7.1f}  {each}  {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
