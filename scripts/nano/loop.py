"""Training loop: seeded batches, a schedule, atomic checkpoints, a log."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor

from clipada.errors import RunError
from clipada.files import atomic_write
from clipada.randomness import derived_generator
from clipada.synthesis.draws import integers
from nano.captions import captions, patch_words
from nano.objective import (
    IMAGE_WEIGHT,
    WORDS_WEIGHT,
    caption_loss,
    patch_losses,
    spectrum_losses,
    view_losses,
)
from nano.scenes import Palette, Scenes, draw_scenes
from nano.spectra import log_spectra
from nano.tower import IMAGE_SIZE, MEAN, PATCH, STD, Learner, build_clip, build_tokenizer
from nano.views import PARTS, Views, draw_views

CHECKPOINT, LOG, EXPORT = "checkpoint.pt", "log.csv", "nano"

Teaching = Literal["all", "words", "captions"]
"""``captions``: images against captions only. ``words``: also patches against words. ``all``: also patches against the
spectra around them and, in every other step, views of a scene against each other."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Recipe of nano's training."""

    steps: int = 1800
    """Total number of optimizer steps."""

    batch: int = 24
    """Images of half side per step; a step of full-size images has a sixth of them."""

    whole_every: int = 8
    """Interval, in steps of each kind, at which images are ``IMAGE_SIZE`` pixels wide instead of half of it."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    warmup: int = 80
    """Number of steps in which the learning rate rises."""

    decay: float = 0.5
    """Share of the steps, at the end, in which the learning rate falls to 0."""

    weight_decay: float = 0.05
    """Weight decay of matrices in AdamW."""

    teaching: Teaching = "all"
    """Objectives of the training."""

    parts: float = PARTS
    """Share of the steps of views that show parts as in inspection, and their wear."""

    seed: int = 0
    """Seed of all random draws."""

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: it rises, stays level, and falls to 0."""
        up = (step + 1) / self.warmup
        down = (self.steps - step) / (self.decay * self.steps)
        return self.learning_rate * min(1.0, up, down)


def train(recipe: Recipe, folder: Path, *, checkpoint_seconds: float = 120.0) -> Learner:
    """Train nano, or resume from the checkpoint in ``folder``; write checkpoints and a log.

    Args:
        recipe: Recipe of the training.
        folder: Folder of checkpoint and log.
        checkpoint_seconds: Time between checkpoints.

    Raises:
        RunError: The checkpoint belongs to another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learner = build_learner(recipe.seed)
    optimizer = _optimizer(learner, recipe)
    done, spent = _resume(folder, recipe, learner, optimizer)
    last_saved = started = time.monotonic()
    seconds = spent
    for step, lesson in enumerate(_lessons(recipe, done), start=done):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        losses = lesson_losses(learner, recipe, lesson)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        seconds = spent + time.monotonic() - started
        if step % 10 >= 8:  # one step of each kind
            _log(folder, step + 1, seconds, {name: float(loss.detach()) for name, loss in losses.items()})
        if time.monotonic() - last_saved > checkpoint_seconds:
            _save(folder, recipe, learner, optimizer, step + 1, seconds)
            last_saved = time.monotonic()
    _save(folder, recipe, learner, optimizer, recipe.steps, seconds)
    return learner


def build_learner(seed: int) -> Learner:
    """Build the untrained learner of a seed."""
    tokenizer = build_tokenizer(derived_generator(seed, "tokenizer"))
    return Learner(build_clip(tokenizer, seed), tokenizer, seed)


@dataclass(frozen=True)
class Lesson:
    """Data of one step.

    Attributes:
        seen: Scenes with their ground truth, or views of scenes.
        images: All of their images, ``(n, 3, H, W)``.
        captions: A text for each scene; none for views.
        spectra: Spectrum around each patch, ``(n, N, CHANNELS)``; none if it is not an objective.
        corner: Row and column, in the full grid of positions, of the images' upper left patch.
        generator: Source of further draws in the step.
    """

    seen: Scenes | Views
    images: Tensor
    captions: list[str]
    spectra: Tensor | None
    corner: tuple[int, int]
    generator: Generator


def draw_lesson(recipe: Recipe, step: int) -> Lesson:
    """Draw the data of one step, which depend on the seed and the step only."""
    generator = derived_generator(recipe.seed, "pretraining", step)
    of_views = recipe.teaching == "all" and step % 2 == 1
    turn = step // 2 if recipe.teaching == "all" else step
    whole = turn % recipe.whole_every == recipe.whole_every - 1
    side = IMAGE_SIZE if whole else IMAGE_SIZE // 2
    count = max(1, recipe.batch // 6) if whole else recipe.batch
    spare = (IMAGE_SIZE - side) // PATCH
    corner = (int(integers(0, spare, (), generator)), int(integers(0, spare, (), generator)))
    seen: Scenes | Views
    if of_views:
        place = (corner[0] * PATCH, corner[1] * PATCH)
        seen = draw_views(max(1, count // 3), side, place, Palette.training(), generator, recipe.parts)
        images, texts = seen.images.flatten(0, 1), []
    else:
        seen = draw_scenes(count, (side, side), Palette.training(), generator)
        images, texts = seen.images, captions(seen, generator)
    spectra = log_spectra(images, PATCH) if recipe.teaching == "all" else None
    return Lesson(seen, images, texts, spectra, corner, generator)


def lesson_losses(learner: Learner, recipe: Recipe, lesson: Lesson) -> dict[str, Tensor]:
    """Compute the weighted losses of one step."""
    losses: dict[str, Tensor] = {}
    with torch.autocast("cpu", torch.bfloat16):
        middle, last = learner.see(lesson.images, lesson.corner)
        if isinstance(lesson.seen, Scenes):
            losses["caption"] = IMAGE_WEIGHT * caption_loss(learner, last, lesson.captions)
            if recipe.teaching != "captions":
                truth = patch_words(lesson.seen, PATCH)
                losses |= patch_losses(learner, middle, last, truth, lesson.generator)
            losses = {name: WORDS_WEIGHT * loss for name, loss in losses.items()}
    if isinstance(lesson.seen, Views):
        losses |= view_losses(learner, middle, last, lesson.seen, lesson.generator)
    if lesson.spectra is not None:
        losses |= spectrum_losses(learner, middle, last, lesson.spectra, lesson.generator)
    return losses


def export(learner: Learner, folder: Path) -> None:
    """Write nano as a `transformers` CLIP folder in float16."""
    learner.clip.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    (folder / "model.safetensors").chmod(0o644)
    learner.clip.float()  # type: ignore[no-untyped-call]
    learner.tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def _lessons(recipe: Recipe, done: int) -> Iterator[Lesson]:
    """Yield the remaining lessons; a second thread draws each while the one before is trained on."""
    with ThreadPoolExecutor(1) as drawing:
        coming = drawing.submit(draw_lesson, recipe, done)
        for step in range(done, recipe.steps):
            lesson = coming.result()
            coming = drawing.submit(draw_lesson, recipe, step + 1)
            yield lesson


def _optimizer(learner: Learner, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [value for value in learner.parameters() if value.ndim > 1]
    others = [value for value in learner.parameters() if value.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)


def _resume(folder: Path, recipe: Recipe, learner: Learner, optimizer: torch.optim.AdamW) -> tuple[int, float]:
    path = folder / CHECKPOINT
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise RunError(f"{path} was trained by another recipe", remedy="give the same options, or another folder")
    learner.load_state_dict(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    _forget_log(folder, int(state["step"]))
    return int(state["step"]), float(state["seconds"])


def _save(
    folder: Path, recipe: Recipe, learner: Learner, optimizer: torch.optim.AdamW, step: int, seconds: float
) -> None:
    state = {
        "recipe": asdict(recipe),
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    with atomic_write(folder / CHECKPOINT) as aside:
        torch.save(state, aside)


def _forget_log(folder: Path, step: int) -> None:
    """Delete the log's lines after the checkpoint's step: they will be written again."""
    path = folder / LOG
    if path.exists():
        head, *lines = path.read_text().splitlines(keepends=True)
        path.write_text(head + "".join(line for line in lines if int(line.split(",")[0]) <= step))


def _log(folder: Path, step: int, seconds: float, losses: dict[str, float]) -> None:
    path = folder / LOG
    new = not path.exists()
    with path.open("a", newline="") as lines:
        writer = csv.writer(lines)
        if new:
            writer.writerow(["step", "seconds", "loss", "value"])
        writer.writerows([step, round(seconds, 1), name, round(value, 4)] for name, value in losses.items())
