"""Training with and without alignment, on images that are moved at random: metrics, fits, and time.

python benchmarks/alignment.py DATA CATEGORY --backbone FOLDER --out FOLDER [--align pose] [--shift 0] [--turn 0]
    [--every 1] [--others CATEGORY ...]

Images and masks of an MVTec AD tree are moved by up to ``--shift`` of their side and turned by up to ``--turn``
degrees; what appears at the border has the median color of the image's first and last rows. ``--every 3`` takes every
third image. Fits are those of the test images, and of the test images of ``--others``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import PIL.Image

from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.data import load_dataset
from clipada.evaluation.evaluate import evaluate_dataset
from clipada.files import ensure_folder
from clipada.images import read_rgb
from clipada.images.alignment import Alignment
from clipada.inspection import Inspector
from clipada.runs.alignment import load_alignment

Moved = tuple[Path, PIL.Image.Image, PIL.Image.Resampling, tuple[int, ...]]
"""File, its image, the interpolation, and the color of what appears."""


def moved_copy(asked: argparse.Namespace) -> Path:
    """Write the moved images and masks, once; return their folder."""
    root = Path(asked.out, "moved")
    found, rng = load_dataset(asked.data, "mvtec", categories=[asked.category]), np.random.default_rng(0)
    for sample in (*found.train[:: asked.every], *found.test[:: asked.every]):
        image = PIL.Image.fromarray(read_rgb(sample.path))
        shift = rng.uniform(-asked.shift, asked.shift, 2) * image.size
        turn = rng.uniform(-asked.turn, asked.turn)
        edge = np.median(np.asarray(image)[[0, -1]].reshape(-1, 3), axis=0)
        fill, still = tuple(int(one) for one in edge), not asked.shift and not asked.turn
        pairs: list[Moved] = [(sample.path, image, PIL.Image.Resampling.BICUBIC, fill)]
        pairs += [(one, PIL.Image.open(one).convert("L"), PIL.Image.Resampling.NEAREST, (0,)) for one in sample.masks]
        for path, picture, kind, color in pairs:
            target = root / path.relative_to(found.root)
            ensure_folder(target.parent)
            moved = picture if still else picture.rotate(turn, kind, translate=tuple(shift), fillcolor=color)
            moved.save(target)
    return root


def measured(asked: argparse.Namespace, data: Path, name: str) -> Inspector:
    """Train a run, or read the one that an earlier call has trained; print its metrics."""
    config = Config.preset(asked.preset).updated({"backbone.name": asked.backbone, "inspection.align": name})
    run = train(data, asked.out / name, config, runtime=RuntimeConfig(device="cpu"), resume=True)
    inspector, dataset = Inspector.load(run, device="cpu", engine="torch"), load_dataset(data, "mvtec")
    started = time.process_time()
    found = evaluate_dataset(inspector.engine, dataset, inspector.scoring)
    each = 1000 * (time.process_time() - started) / len(dataset.test)
    metrics = found.categories[asked.category]
    names = {"I-AUROC": "image_auroc", "P-AUROC": "pixel_auroc", "P-AP": "pixel_ap", "AUPRO": "aupro"}
    shown = ", ".join(f"{label} {100 * (getattr(metrics, field) or 0):.2f}" for label, field in names.items())
    print(
        f"{name}: {shown}; {len(dataset.test)} images, {len(found.failures)} refused, {each:.0f} ms each; trained in "
        f"{run.training.seconds:.0f} s, {len(run.training.unreadable)} left out",
        flush=True,
    )
    return inspector


def print_fits(asked: argparse.Namespace, data: Path, alignment: Alignment) -> None:
    """Print the fits of good and defective test images, and of other products."""
    reference = alignment.references[asked.category]
    print(f"reference {reference.photo}, least fit {reference.least:.2f}")
    own = load_dataset(data, "mvtec").test
    kinds = {"good": [one for one in own if not one.anomalous], "defective": [one for one in own if one.anomalous]}
    for other in asked.others:
        tree, name = Path(other).parent, Path(other).name
        kinds[name] = list(load_dataset(tree, "mvtec", categories=[name]).test[::6])
    for kind, samples in kinds.items():
        started = time.process_time()
        fits = [reference.find(read_rgb(one.path), alignment.motion).fit for one in samples]
        each = 1000 * (time.process_time() - started) / len(fits)
        low, middle, high = np.quantile(fits, [0, 0.5, 1])
        fitting = np.mean(np.array(fits) >= reference.least)
        print(
            f"  {kind}: {low:.2f} to {high:.2f}, median {middle:.2f}; {fitting:.1%} of {len(fits)} fit; {each:.0f} ms"
        )


def main() -> None:
    """Train both, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("category")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--align", default="pose", choices=["shift", "pose"])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--shift", type=float, default=0.0)
    parser.add_argument("--turn", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--others", nargs="*", default=[], metavar="FOLDER")
    asked = parser.parse_args()
    data = moved_copy(asked)
    for name in ("none", asked.align):
        inspector = measured(asked, data, name)
    alignment = None if inspector.run is None else load_alignment(inspector.run)
    if alignment is not None:
        print_fits(asked, data, alignment)


if __name__ == "__main__":
    main()
