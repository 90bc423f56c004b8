"""Pre-train nano, the embedded CLIP, from scratch on procedural images with captions, and print its probe results.

`OUT/nano` is the finished `transformers` folder, `OUT/figures.json` has the probe results of it and of the untrained
network, and `OUT/all/log.csv` has the losses. The same command resumes a killed run from its checkpoint; networks whose
results exist are not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch

from clipada.files import write_json
from nano.loop import EXPORT, Recipe, Teaching, build_learner, export, train
from nano.probes import Probe, measure

FIGURES = "figures.json"


def main() -> None:
    """Train or resume; write the `transformers` folder and the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for checkpoints, logs, figures and the finished model")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--ablation-steps", type=int, default=0, help="steps of three more, to compare objectives")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--parts", type=float, default=Recipe.parts, help="share of views that show parts and wear")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = _known(options.out / FIGURES)
    for name, probe in _networks(options):
        if name not in figures:
            figures[name] = measure(probe).to_dict()
            write_json(options.out / FIGURES, figures)
    for figure, value in figures["nano"].items():
        print(f"{figure}: {value}, untrained {figures['untrained'][figure]}")


def _networks(options: argparse.Namespace) -> Iterator[tuple[str, Probe]]:
    """Yield each network with the name of its results, trained if necessary."""
    shared = {"learning_rate": options.learning_rate, "parts": options.parts, "seed": options.seed}
    export(train(Recipe(steps=options.steps, **shared), options.out / "all"), options.out / EXPORT)
    yield "nano", Probe.load(options.out / EXPORT)
    untrained = build_learner(options.seed)
    yield "untrained", Probe(untrained.clip, untrained.tokenizer)
    if steps := options.ablation_steps:
        for teaching in get_args(Teaching):
            recipe = Recipe(steps=steps, teaching=teaching, **shared)
            learner = train(recipe, options.out / f"{teaching}-{steps}")
            yield f"{teaching}, {steps} steps", Probe(learner.clip, learner.tokenizer)


def _known(path: Path) -> dict[str, Any]:
    """Read the results in ``path``, by network; none if the file does not exist."""
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known


if __name__ == "__main__":
    main()
