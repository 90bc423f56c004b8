"""Pre-train nano, the embedded CLIP, on procedural captioned images, from nothing, and print what it knows.

`OUT/nano` is the finished `transformers` folder, `OUT/figures.json` what it and the untrained network know,
`OUT/scenes/log.csv` the losses. `--parts-steps` adds a second course, of parts that are seen with a defect and without,
which the embedded nano did not take. A killed run goes on where its checkpoint stands when the same command is given
again; networks whose figures are known are not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from clipada.files import write_json
from nano.loop import EXPORT, Recipe, build_learner, export, train
from nano.probes import Probe, measure

FIGURES = "figures.json"

PARTS_DECAY = 0.3
"""The share of the second course's steps in which its rate falls."""


def main() -> None:
    """Train, or go on; write the `transformers` folder and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for checkpoints, logs, figures and the finished model")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="steps of the first course")
    parser.add_argument("--parts-steps", type=int, default=0, help="steps of the second course")
    parser.add_argument("--start", type=Path, help="a finished first course, instead of training it")
    parser.add_argument("--ablation-steps", type=int, default=0, help="steps of two more, to compare objectives")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
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
    """Each network by the name of its figures, trained where it is not yet."""
    shared = {"learning_rate": options.learning_rate, "seed": options.seed}
    first = options.start
    if first is None:
        first = options.out / ("scenes" if options.parts_steps else ".") / EXPORT
        export(train(Recipe(steps=options.steps, **shared), options.out / "scenes"), first)
    if options.parts_steps:
        recipe = Recipe(course="parts", steps=options.parts_steps, decay=PARTS_DECAY, **shared)
        export(train(recipe, options.out / "parts", start=first), options.out / EXPORT)
        yield "nano", Probe.load(options.out / EXPORT)
        yield "first course", Probe.load(first)
    else:
        yield "nano", Probe.load(first)
    untrained = build_learner(options.seed)
    yield "untrained", Probe(untrained.clip, untrained.tokenizer)
    if steps := options.ablation_steps:
        for patches, name in ((True, "patch words"), (False, "captions only")):
            recipe = Recipe(steps=steps, patch_words=patches, **shared)
            learner = train(recipe, options.out / name.replace(" ", "-"))
            yield f"{name}, {steps} steps", Probe(learner.clip, learner.tokenizer)


def _known(path: Path) -> dict[str, Any]:
    """The figures of ``path``, by network; none if there is no such file."""
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known


if __name__ == "__main__":
    main()
