"""Measure the value of a backbone's pre-training: run the demo with it and with random weights of the same shapes.

python benchmarks/pretraining.py BACKBONE --out OUT [--seeds 3] [--set NAME=VALUE ...]

BACKBONE is nano or the folder of a `transformers` CLIP. Both runs use the same images, synthetic anomalies and
schedule; OUT keeps the images and the runs.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import CLIPConfig, CLIPModel

from clipada import Progress, demo
from clipada.cli.tables import print_metrics_table
from clipada.commands.demo import DATA
from clipada.config import EMBEDDED_BACKBONE, Config
from clipada.data.demo import write_demo
from clipada.models.backbones import EMBEDDED_FOLDER, with_defaults


def random_copy(folder: Path, out: Path, seed: int) -> Path:
    """Write the CLIP in ``folder`` with newly drawn weights to ``out``."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"), dirs_exist_ok=True)
    torch.manual_seed(seed)
    CLIPModel(CLIPConfig.from_pretrained(folder)).save_pretrained(out)
    return out


def measure(backbone: Path, out: Path, settings: dict[str, Any], seed: int, console: Console) -> None:
    """Run the demo with one backbone and print its table."""
    shown: set[tuple[str, int]] = set()

    def show(step: Progress) -> None:
        quarter = (step.stage, 4 * step.done // step.total)
        if quarter not in shown:
            shown.add(quarter)
            console.print(f"{out.name}: {step.stage}, {step.done} of {step.total}")

    config = Config.preset("demo").updated({**settings, "backbone.name": str(backbone), "training.seed": seed})
    result = demo(out, config, report=show)
    table = result.evaluation.categories
    title = f"{out.name}, trained in {result.run.training.seconds:.0f} s"
    print_metrics_table(console, table, title)


def main() -> None:
    """Measure both, for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    embedded = options.backbone == EMBEDDED_BACKBONE
    folder = EMBEDDED_FOLDER if embedded else Path(options.backbone)
    settings: dict[str, Any] = {name: value for name, _, value in (text.partition("=") for text in options.settings)}
    if embedded:  # the copy with random weights has another name
        settings = {"backbone.blocks": with_defaults(Config.preset("demo")).backbone.blocks} | settings
    write_demo(options.out / "parts")
    for seed in range(options.seeds):
        untrained = random_copy(folder, options.out / f"random-weights-{seed}", seed)
        for name, backbone in (("pretrained", folder), ("random", untrained)):
            out = options.out / f"{name}-{seed}"
            if not (out / DATA).exists():
                shutil.copytree(options.out / "parts", out / DATA)
            measure(backbone, out, settings, seed, Console())


if __name__ == "__main__":
    main()
