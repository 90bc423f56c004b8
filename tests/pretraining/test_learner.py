"""What is trained is the CLIP that is shipped, from seeded data, and a kill spoils nothing."""

from pathlib import Path

import pytest
import torch

from nano.loop import Course, Recipe, build_learner, draw_lesson, export, lesson_losses, train
from nano.probes import Probe, linear_probe
from nano.tower import BLOCKS, MIDDLE, Learner


@pytest.fixture(scope="module")
def learner() -> Learner:
    return build_learner(5)


def test_the_learner_sees_as_transformers_does(learner: Learner, tmp_path: Path) -> None:
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        middle, last = learner.see(images)
        words = learner.read(["a photo of a scratch", "wood"])
    export(learner, tmp_path)
    probe = Probe.load(tmp_path)
    blocks = probe.tokens(images)
    torch.testing.assert_close(blocks[MIDDLE - 1], middle, rtol=0, atol=0.05)  # float16 on disk
    torch.testing.assert_close(blocks[BLOCKS - 1], last, rtol=0, atol=0.05)
    torch.testing.assert_close(probe.read(["a photo of a scratch", "wood"]), words, rtol=0, atol=0.01)


def test_a_half_image_takes_a_corner_of_the_positions(learner: Learner) -> None:
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        here, there = (learner.see(image, corner)[0] for corner in ((0, 0), (8, 8)))
    assert not torch.allclose(here, there)


def test_untrained_words_differ(learner: Learner) -> None:
    with torch.no_grad():
        words = learner.read(["scratch", "wood", "red"])
    assert (words @ words.T - torch.eye(3)).abs().max() < 0.95


@pytest.mark.parametrize(("course", "verdicts"), [("scenes", set()), ("parts", {"spoilt", "worst"})])
def test_every_loss_teaches(learner: Learner, course: Course, verdicts: set[str]) -> None:
    recipe = Recipe(batch=8, seed=5, course=course)
    losses = lesson_losses(learner, recipe, draw_lesson(recipe, 1))
    assert {"spoilt", "worst"} & losses.keys() == verdicts
    for name, loss in losses.items():
        gradient = torch.autograd.grad(
            loss, learner.clip.vision_model.embeddings.patch_embedding.weight, retain_graph=True
        )
        assert gradient[0].abs().sum() > 0, name


def test_captions_alone_are_the_ablation(learner: Learner) -> None:
    recipe = Recipe(batch=4, seed=5, patch_words=False)
    assert set(lesson_losses(learner, recipe, draw_lesson(recipe, 0))) == {"caption"}


def test_the_second_course_goes_on_from_the_first(learner: Learner, tmp_path: Path) -> None:
    export(learner, tmp_path / "first")
    recipe = Recipe(course="parts", steps=1, batch=8, warmup=1, learning_rate=1e-9, seed=6)
    second = train(recipe, tmp_path / "second", start=tmp_path / "first")
    for (name, value), other in zip(learner.clip.state_dict().items(), second.clip.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=2e-3, msg=name)  # float16 on disk


def test_a_resumed_training_ends_alike(tmp_path: Path) -> None:
    recipe = Recipe(steps=3, batch=4, warmup=2, decay=1 / 3)
    whole = train(recipe, tmp_path / "whole")
    train(Recipe(steps=2, batch=4, warmup=2, decay=1e-6), tmp_path / "parts")
    parts = train(recipe, tmp_path / "parts")
    for (name, value), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(steps=1000, warmup=100, decay=0.3, learning_rate=1.0)
    assert recipe.rate(49) == pytest.approx(0.5)
    assert recipe.rate(400) == 1.0
    assert recipe.rate(850) == pytest.approx(0.5)
    assert recipe.rate(999) < 0.01


def test_the_linear_probe_finds_a_line() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(400, 5, generator=generator)
    sides = (points @ torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0]) > 0.3).float() * 2 - 1
    scores = linear_probe(points[:200], sides[:200], points[200:])
    assert ((scores > 0) == (sides[200:] > 0)).float().mean() > 0.93
