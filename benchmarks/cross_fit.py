"""Count false alarms of cross-fitted thresholds on good images that were neither trained on nor in the thresholds.

python benchmarks/cross_fit.py DATA --backbone NAME --out ROWS.jsonl [--images 16 32 64 200] [--draws 0 1 2 3 4]
python benchmarks/cross_fit.py --elpv --backbone NAME --out ROWS.jsonl
python benchmarks/cross_fit.py --demo --backbone NAME --out ROWS.jsonl

Each draw takes that many good images of a product, trains on them, and counts at rates of 5 % and 1 % how many of at
most ``--fresh`` other good images are above the thresholds: cross-fitted ones, and those of the memory's own images,
which are the mistake that is easy to make. With fewer images than a rate asks for, the threshold is the highest score.
Tokens come from the token cache, so that the same image costs once. ROWS.jsonl takes one line for each product, number
and draw; lines that are there are not measured again. Intervals are of Clopper and Pearson, over all draws together.
Theory's range has 95 % of the counts that thresholds from good images never seen would give, of the same number: each
draw's count is beta-binomial (Vovk 2012), since the rate of one threshold differs from the expected one.
``--elpv`` takes the cells without a defect of the package elpv-dataset (solar cells), if it is installed; ``--demo``
draws good parts of the demo's products.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import conditions
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from clipada.calibration import threshold, threshold_rank, with_attainable_rate
from clipada.config import CalibrationConfig, Config, DemoConfig, RuntimeConfig
from clipada.data import Dataset, load_dataset, read_batches
from clipada.data.demo import write_demo
from clipada.devices import to_tensor
from clipada.models.backbones import with_defaults
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.memory_head import MemoryHead, View
from clipada.training.cross_fit import divide_images
from clipada.training.memory import MemoryBuilder
from clipada.training.tokens import TokenReader
from clipada.types import Sample, unreported

RATES = (0.05, 0.01)
"""Rates that are asked for."""

DEMO_PARTS = 300
"""Good parts of each of the demo's products."""


class Scorer:
    """Image scores of a model with a memory, from cached tokens; the product is given."""

    def __init__(self, model: ClipAda, head: MemoryHead, reader: TokenReader, config: Config) -> None:
        self.model, self.head, self.reader, self.config = model, head, reader, config
        self.text = model.text_vector()

    @torch.inference_mode()
    def score(self, path: Path) -> float:
        """Score one image."""
        size = self.config.model.size
        images = next(iter(read_batches([path], size, 1, 1, rules=self.config.model.rules))).images
        product = torch.zeros(1, dtype=torch.int64)
        whole = self.view(images, self.head.glance)
        cut = (255 * self.head.crops.cut(to_tensor(images), product)).round().clamp(0, 255).byte()
        part = whole if self.head.one_view else self.view(cut.permute(0, 2, 3, 1).contiguous().numpy())
        return float(self.head(part, whole, product).scores[0])

    def view(self, images: NDArray[np.uint8], scale: float = 1.0) -> View:
        """Read a view of an image."""
        reading = self.reader.read(images, scale)
        patches = reading.patches.float()
        return View(
            reading._replace(patches=patches), self.model.similarity(self.model.projections[0](patches), self.text)
        )


def measure(samples: Sequence[Sample], fresh: Sequence[Path], config: Config) -> dict[str, Any]:
    """Train on the images of one product and score them cross-fitted, with their own rows, and the fresh ones."""
    started = time.monotonic()
    model = build_model(config).eval()
    reader = TokenReader(model.backbone, RuntimeConfig().cache_gigabytes)
    builder = MemoryBuilder(model, config, reader, RuntimeConfig().decoders, unreported)
    head = builder.build(samples)
    folds = divide_images(builder, head, samples, None, "this")
    scorer = Scorer(model, head, reader, config)
    crossed = []
    for path in folds.images:
        with folds.without(path):
            crossed.append(scorer.score(path))
    own = [scorer.score(path) for path in folds.images]
    found = np.array([scorer.score(path) for path in fresh])
    alarms = {
        f"{name} {rate:g}": count(scores, found, rate)
        for rate in RATES
        for name, scores in (("cross-fitted", crossed), ("own images", own))
    }
    return {"alarms": alarms, "fresh": len(found), "seconds": round(time.monotonic() - started, 1)}


def count(scores: Sequence[float], fresh: NDArray[np.float64], rate: float) -> dict[str, Any]:
    """Count the fresh images above the threshold that scores give for a rate."""
    ordered = np.sort(np.array(scores))
    settings = with_attainable_rate(CalibrationConfig(false_alarm_rate=rate, mode="marginal"), ordered.size)
    rank = threshold_rank(ordered.size, settings)
    above = int((fresh > threshold(ordered, rank)).sum())
    return {"above": above, "expected": rank / (ordered.size + 1)}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Format the observed rates as Markdown, of all products and draws together and of the products alone."""
    text = [
        "| images | thresholds, asked rate | expected % | theory's range % | product | observed %, 95 % interval "
        "| of images |",
        "|---" * 7 + "|",
    ]
    for images in sorted({line["images"] for line in lines}):
        some = [line for line in lines if line["images"] == images]
        for name in some[0]["alarms"]:
            names = dict.fromkeys(line["product"] for line in some)
            for product in ("all", *names) if len(names) > 1 else names:
                own = [line for line in some if product in ("all", line["product"])]
                above, total = sum(line["alarms"][name]["above"] for line in own), sum(line["fresh"] for line in own)
                interval = stats.binomtest(above, total).proportion_ci()
                observed = f"{100 * above / total:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
                expected = own[0]["alarms"][name]["expected"]
                low, high = theory([line["fresh"] for line in own], images, expected)
                cells = f"{100 * expected:.2f} | {100 * low:.1f} to {100 * high:.1f} | {product} | {observed} | {total}"
                text.append(f"| {images} | {name} | {cells} |")
    return "\n".join(text)


def theory(fresh: Sequence[int], images: int, expected: float) -> tuple[float, float]:
    """Return the range of 95 % of the rates of draws with so many fresh images each, by independent thresholds."""
    rank, chances = expected * (images + 1), np.ones(1)
    for count in fresh:
        chances = np.convolve(chances, stats.betabinom.pmf(np.arange(count + 1), count, rank, images + 1 - rank))
    low, high = np.searchsorted(chances.cumsum(), (0.025, 0.975))
    return float(low / sum(fresh)), float(high / sum(fresh))


def elpv_good(folder: Path) -> Path:
    """Write the solar cells without a defect as files."""
    from elpv_dataset.utils import load_dataset as load_cells

    cells, chances, _ = load_cells()
    for index in np.flatnonzero(np.asarray(chances) == 0):
        path = folder / "elpv" / "good" / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(cells[index])).save(path)
    return folder / "elpv"


def demo_good(folder: Path) -> Path:
    """Draw good parts of the demo's products."""
    write_demo(folder / "demo", DemoConfig(train=DEMO_PARTS, good=1, defective=1))
    return folder / "demo"


def measured(dataset: Dataset, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure what is missing; return all lines."""
    out: Path = options.out
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(line["product"], line["images"], line["draw"], line["preset"]) for line in lines}
    config = with_defaults(Config.preset(options.preset).updated({"backbone.name": options.backbone}))
    for draw in options.draws:
        for category in dataset.categories:
            good = [sample for sample in dataset.of(category).samples if not sample.anomalous]
            random.Random(f"{draw} {category}").shuffle(good)
            for images in options.images:
                if (category, images, draw, options.preset) in known or images + 20 > len(good):
                    continue
                samples = [replace(sample, split="train") for sample in good[:images]]
                fresh = [sample.path for sample in good[images:][-options.fresh :]]
                line = {"product": category, "images": images, "draw": draw, "preset": options.preset}
                lines.append({**line, **measure(samples, fresh, config)})
                with out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                shown = {name: f"{one['above']}/{lines[-1]['fresh']}" for name, one in lines[-1]["alarms"].items()}
                print(f"{category}, {images} images, draw {draw}: {shown}, {lines[-1]['seconds']:.0f} s", flush=True)
    return [line for line in lines if line["preset"] == options.preset]


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("data", type=Path, nargs="?")
    source.add_argument("--elpv", action="store_true")
    source.add_argument("--demo", action="store_true")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="accurate", choices=["accurate", "quick"])
    parser.add_argument("--images", type=int, nargs="+", default=[16, 32, 64, 200])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--fresh", type=int, default=100)
    options = parser.parse_args()
    print(conditions(torch.get_num_threads(), "torch", "transformers"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write = elpv_good if options.elpv else demo_good
        data = write(Path(folder)) if options.data is None else options.data
        print(table(measured(load_dataset(data), options)))


if __name__ == "__main__":
    main()
