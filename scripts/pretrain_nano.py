"""Pre-train nano, the embedded CLIP, on procedural captioned images, from nothing, and print what it knows.

Two courses, one after the other: scenes of every kind, then parts that are seen with a defect and without.
`OUT/nano` is the finished `transformers` folder, `OUT/figures.json` what it, the network after the first course and the
untrained one know, `OUT/scenes/log.csv` and `OUT/parts/log.csv` the losses. A killed run goes on where its checkpoint
stands when the same command is given again.
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
    parser.add_argument("out", type=Path, help="folder for checkpoints, logs, figures and the finished model")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="steps of the first course")
    parser.add_argument("--parts-steps", type=int, default=Recipe.steps, help="steps of the second course")
    parser.add_argument("--start", type=Path, help="a finished first course, instead of training it")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--captions-only", action="store_true", help="the ablation: no patch objective")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {"learning_rate": options.learning_rate, "seed": options.seed, "patch_words": not options.captions_only}
    start = options.start
    if start is None:
        start = options.out / "scenes" / EXPORT
        export(train(Recipe(steps=options.steps, **shared), options.out / "scenes"), start)
    recipe = Recipe(course="parts", steps=options.parts_steps, **shared)
    export(train(recipe, options.out / "parts", start=start), options.out / EXPORT)
    untrained = build_learner(options.seed)
    probes = {
        "nano": Probe.load(options.out / EXPORT),
        "first course": Probe.load(start),
        "untrained": Probe(untrained.clip, untrained.tokenizer),
    }
    figures = {name: measure(probe).to_dict() for name, probe in probes.items()}
    write_json(options.out / FIGURES, figures)
    for figure, value in figures["nano"].items():
        print(f"{figure}: {value}, untrained {figures['untrained'][figure]}")


if __name__ == "__main__":
    main()
