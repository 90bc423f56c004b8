"""Training with and without a region of interest: metrics inside of it on both sides, and time.

python benchmarks/roi.py DATA CATEGORY ROI --backbone FOLDER --out FOLDER [--preset quick] [--every 1] [--tile SIDE]

The metrics of the run without one are also those of its maps inside of the region; its image scores are of the whole
image. Both runs are kept in ``--out`` and read again by a later call. ``--every 3`` tests on every third image.
``--tile`` cuts images into tiles of that side.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.data import load_dataset
from clipada.evaluation.evaluate import ScoredImage, evaluate_dataset
from clipada.evaluation.metrics import CategoryMetrics, CategoryTest
from clipada.images.roi import RegionOfInterest, masked
from clipada.inspection import Inspector
from clipada.runs.roi import load_roi


def trained(asked: argparse.Namespace, name: str, roi: Path | None) -> Inspector:
    """Train a run, or read the one that an earlier call has trained."""
    view = {} if asked.tile is None else {"inspection.view": "tiles", "inspection.tile": asked.tile}
    config = Config.preset(asked.preset).updated({"backbone.name": asked.backbone, **view})
    runtime, categories = RuntimeConfig(device="cpu"), [asked.category]
    run = train(asked.data, asked.out / name, config, runtime=runtime, categories=categories, roi=roi, resume=True)
    print(f"{name}: trained in {run.training.seconds:.0f} s", flush=True)
    return Inspector.load(run, device="cpu", engine="torch")


def measured(asked: argparse.Namespace, inspector: Inspector, name: str, region: RegionOfInterest) -> None:
    """Print the metrics of a run, and those of its maps inside of a region."""
    found = load_dataset(asked.data, categories=[asked.category])
    tested = found.test[:: asked.every]
    inside = CategoryTest()

    def add(image: ScoredImage) -> None:
        area = region.inside(image.maps[-1].shape)
        values = masked(image.maps[-1], area)
        inside.update(image.scores[-1], image.sample.anomalous, values, image.mask, inside=area)

    started = time.process_time()
    dataset = replace(found, samples=tuple(tested))
    whole = evaluate_dataset(inspector.engine, dataset, inspector.scoring, on_image=add).categories[asked.category]
    each = 1000 * (time.process_time() - started) / len(tested)
    print(f"{name}, as evaluated:", described(whole), f"{each:.0f} ms of processor time an image", flush=True)
    print(f"{name}, maps inside: ", described(inside.compute()), f"{len(tested)} images", flush=True)


def described(metrics: CategoryMetrics) -> str:
    """Write the metrics in percent."""
    names = {"I-AUROC": "image_auroc", "P-AUROC": "pixel_auroc", "P-AP": "pixel_ap", "AUPRO": "aupro"}
    return ", ".join(f"{label} {100 * (getattr(metrics, field) or 0):.2f}" for label, field in names.items())


def main() -> None:
    """Train both, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("category")
    parser.add_argument("roi", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--tile", type=int)
    asked = parser.parse_args()
    without, limited = trained(asked, "without", None), trained(asked, "with", asked.roi)
    regions = None if limited.run is None else load_roi(limited.run)
    if regions is None:
        raise SystemExit("the run has no region of interest")
    region = regions.products[asked.category]
    measured(asked, limited, "with", region)
    measured(asked, without, "without", region)


if __name__ == "__main__":
    main()
