"""Tiles against the whole image on photos of 12 megapixels with defects of 4 to 40 pixels.

The photos are made here: small real photos of a texture and their mirror images, side by side, no two mosaics alike.
Each defect is a spot or a scratch of a known size in pixels. The threshold of a defect that counts as found is the
highest value of any good test photo's map.

``python benchmarks/high_resolution.py ../shared/data/mvtec-more/grid/train/good --backbone DIR --out DIR``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
from numpy.random import Generator
from numpy.typing import NDArray

from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.evaluation.metrics import average_precision
from clipada.files import ensure_folder
from clipada.images import read_rgb
from clipada.inspection import Inspector

SIZES = (4, 6, 10, 16, 25, 40)
"""Longer sides of the defects in pixels."""

EACH = 2
"""Defects of each size in a defective photo."""

STEP = 2
"""Pixels of every that many rows and columns count in the pixel AP."""

Pixels = NDArray[np.uint8]


def mosaic(photos: Sequence[Pixels], size: tuple[int, int], rng: Generator) -> Pixels:
    """Lay photos and their mirror images side by side until a photo of ``size`` (height, width) is full."""
    side = min(photos[0].shape[:2])
    rows, columns = (-(-length // side) for length in size)
    canvas = np.empty((rows * side, columns * side, 3), np.uint8)
    for row in range(rows):
        for column in range(columns):
            photo = photos[int(rng.integers(len(photos)))][:side, :side]
            photo = photo[:: -1 if row % 2 else 1, :: -1 if column % 2 else 1]
            canvas[row * side : (row + 1) * side, column * side : (column + 1) * side] = photo
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(canvas.shape, size, strict=False))
    return canvas[top : top + size[0], left : left + size[1]].copy()


def draw_defects(photo: Pixels, rng: Generator) -> tuple[Pixels, NDArray[np.uint8]]:
    """Draw defects of all sizes; return the photo and a mask ``(H, W)`` with the number of each, from 1."""
    height, width, _ = photo.shape
    changed, numbers = photo.astype(np.float32), np.zeros((height, width), np.uint8)
    for number in range(len(SIZES) * EACH):
        size = SIZES[number % len(SIZES)]
        while True:
            x, y = int(rng.integers(100, width - 100)), int(rng.integers(100, height - 100))
            if not numbers[y - 80 : y + 80, x - 80 : x + 80].any():
                break
        area = _area(size, scratch=bool(number // len(SIZES) % 2), rng=rng)
        half = area.shape[0] // 2
        where = slice(y - half, y - half + area.shape[0]), slice(x - half, x - half + area.shape[0])
        level = float(rng.choice([-1, 1]) * rng.uniform(50, 90))
        changed[where] += level * area[..., None]
        numbers[where][area > 0.5] = number + 1
    return changed.clip(0, 255).astype(np.uint8), numbers


def _area(size: int, *, scratch: bool, rng: Generator) -> NDArray[np.float32]:
    """Draw a spot or a scratch of a size in pixels, values 0..1, with soft edges."""
    side, scale = 2 * size + 8, 4
    canvas = PIL.Image.new("L", (scale * side, scale * side))
    middle, radius = scale * side / 2, scale * size / 2
    angle = rng.uniform(0, np.pi)
    across, down = radius * np.cos(angle), radius * np.sin(angle)
    draw = PIL.ImageDraw.Draw(canvas)
    if scratch:
        draw.line([(middle - across, middle - down), (middle + across, middle + down)], 255, width=scale * 2)
    else:
        draw.ellipse([middle - radius, middle - radius, middle + radius, middle + radius], fill=255)
    soft = canvas.filter(PIL.ImageFilter.GaussianBlur(scale / 2)).resize((side, side), PIL.Image.Resampling.BOX)
    return np.asarray(soft, np.float32) / np.float32(255)


def build(source: Path, out: Path, size: tuple[int, int], counts: tuple[int, int, int]) -> None:
    """Write a data set in the MVTec AD layout: training, good and defective photos as many as ``counts`` says."""
    rng = np.random.default_rng(0)
    photos = [read_rgb(path) for path in sorted(source.iterdir())]
    cut = len(photos) // 2
    for kind, count, some in zip(
        ("train/good", "test/good", "test/defect"), counts, (photos[:cut], photos[cut:], photos[cut:]), strict=True
    ):
        folder = ensure_folder(out / "texture" / kind)
        for index in range(count):
            photo = mosaic(some, size, rng)
            if kind == "test/defect":
                photo, numbers = draw_defects(photo, rng)
                masks = ensure_folder(out / "texture" / "ground_truth" / "defect")
                PIL.Image.fromarray(numbers).save(masks / f"{index:03}_mask.png")
            PIL.Image.fromarray(photo).save(folder / f"{index:03}.jpg", quality=95)


def measure(run: Path, data: Path) -> tuple[float, list[float], float]:
    """Return pixel AP, the share of defects found of each size, and seconds a photo."""
    inspector = Inspector.load(run, engine="torch", device="cpu", calibrated=False)
    started, photos, highest = time.perf_counter(), 0, 0.0
    scores, labels, peaks = [], [], []
    for path in sorted((data / "texture" / "test").glob("*/*.jpg")):
        found = inspector.inspect(path).anomaly_map
        mask = data / "texture" / "ground_truth" / "defect" / f"{path.stem}_mask.png"
        numbers = np.asarray(PIL.Image.open(mask)) if path.parent.name == "defect" else np.zeros(found.shape, np.uint8)
        photos += 1
        scores.append(found[::STEP, ::STEP].astype(np.float16).ravel())
        labels.append(numbers[::STEP, ::STEP].ravel() > 0)
        if path.parent.name == "good":
            highest = max(highest, float(found.max()))
        else:
            peaks.append([float(found[numbers == number].max()) for number in range(1, len(SIZES) * EACH + 1)])
    each = (time.perf_counter() - started) / photos
    recall = (np.array(peaks).reshape(-1, EACH, len(SIZES)) > highest).mean(axis=(0, 1))
    return average_precision(np.concatenate(scores).astype(np.float32), np.concatenate(labels)), list(recall), each


def main() -> None:
    """Build the set, train both views, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(3000, 4000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--photos", type=int, nargs=3, default=(8, 8, 16), metavar=("TRAIN", "GOOD", "DEFECTIVE"))
    given = parser.parse_args()
    data = given.out / "data"
    if not data.exists():
        build(given.source, data, tuple(given.size), tuple(given.photos))
    print("view   tile  pixel AP  " + "  ".join(f"{size:3d} px" for size in SIZES) + "  seconds a photo", flush=True)
    for view in ("whole", "tiles"):
        config = Config.preset("quick").updated({"backbone.name": given.backbone, "inspection.view": view})
        run = train(data, given.out / view, config, runtime=RuntimeConfig(device="cpu"))
        precision, recall, seconds = measure(run.folder, data)
        tile = run.config.inspection.tile or "-"
        found = "  ".join(f"{100 * share:4.0f} %" for share in recall)
        print(f"{view}  {tile:>4}  {100 * precision:8.1f}  {found}  {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
