"""Pre-train nano, the embedded CLIP, on procedural captioned images, from nothing, and print what it knows.

`OUT/nano` is the finished `transformers` folder, `OUT/figures.json` what it and the untrained network know,
`OUT/log.csv` the losses. A killed run goes on where its checkpoint stands when the same command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from clipada.files import write_json
from nano.loop import EXPORT, Recipe, build_learner, export, train
from nano.probes import Probe, measure

FIGURES = "figures.json"


def main() -> None:
    """Train, or go on; write the `transformers` folder and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for checkpoint, log, figures and the finished model")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--captions-only", action="store_true", help="the ablation: no patch objective")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = Recipe(
        steps=options.steps,
        learning_rate=options.learning_rate,
        seed=options.seed,
        patch_words=not options.captions_only,
    )
    export(train(recipe, options.out), options.out / EXPORT)
    untrained = build_learner(recipe.seed)
    probes = {"nano": Probe.load(options.out / EXPORT), "untrained": Probe(untrained.clip, untrained.tokenizer)}
    figures = {name: measure(probe).to_dict() for name, probe in probes.items()}
    write_json(options.out / FIGURES, figures)
    for figure, value in figures["nano"].items():
        print(f"{figure}: {value}, untrained {figures['untrained'][figure]}")


if __name__ == "__main__":
    main()
