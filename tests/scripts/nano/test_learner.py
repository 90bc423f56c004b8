"""What is trained is the CLIP that is shipped, from seeded data, and a kill spoils nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipada.errors import RunError
from nano.first_values import PAIRED
from nano.loop import Lesson, Recipe, Teaching, build_learner, draw_lesson, export, lesson_losses, train
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


def test_the_first_block_measures_texture_and_not_where_it_lies(learner: Learner) -> None:
    """Moved by a part of their wave, gratings change the patches' answers wholly and the first block's hardly."""
    x = torch.arange(128.0)
    waves = torch.stack([(2 * torch.pi * (x + shift) / 4.6).sin() for shift in (0.0, 1.15, 2.3)])
    images = (0.5 + 0.1 * waves)[:, None, None, :].expand(-1, 3, 128, -1)
    pairs = slice(0, PAIRED, 2)
    with torch.no_grad():
        vision = learner.clip.vision_model
        signed = vision.embeddings.patch_embedding((images - 0.5) / 0.25)[:, pairs].flatten(2).mT
        tokens = vision((images - 0.5) / 0.25, interpolate_pos_encoding=True, output_hidden_states=True)
        sizes = tokens.hidden_states[1][:, 1:, pairs]
    for one in (1, 2):
        assert (signed[one] - signed[0]).norm() > 0.9 * signed[0].norm()
        assert (sizes[one] - sizes[0]).norm() < 0.35 * sizes[0].norm()


def test_a_half_image_takes_a_corner_of_the_positions(learner: Learner) -> None:
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        here, there = (learner.see(image, corner)[0] for corner in ((0, 0), (16, 16)))
    assert not torch.allclose(here, there)


def test_untrained_words_differ(learner: Learner) -> None:
    with torch.no_grad():
        words = learner.read(["scratch", "wood", "red"])
    assert (words @ words.T - torch.eye(3)).abs().max() < 0.95


WORDS = {"material", "colour", "shape", "defect", "anomaly", "occupancy", "clean"}
SPECTRA = {"spectrum", "distance"}


@pytest.mark.parametrize(
    ("teaching", "step", "names"),
    [
        ("captions", 0, {"caption"}),
        ("words", 1, {"caption"} | WORDS),
        ("all", 0, {"caption"} | WORDS | SPECTRA),
        ("all", 1, {"contrast", "familiar"} | SPECTRA),
    ],
)
def test_every_loss_teaches(learner: Learner, teaching: Teaching, step: int, names: set[str]) -> None:
    recipe = Recipe(batch=6, seed=5, teaching=teaching)
    losses = lesson_losses(learner, recipe, draw_lesson(recipe, step))
    assert losses.keys() == names
    for name, loss in losses.items():
        gradient = torch.autograd.grad(
            loss, learner.clip.vision_model.embeddings.patch_embedding.weight, retain_graph=True
        )
        assert gradient[0].isfinite().all(), name
        assert gradient[0].abs().sum() > 0, name


def test_a_resumed_training_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(steps=3, batch=4, warmup=2, decay=1 / 3)
    whole = train(recipe, tmp_path / "whole")
    monkeypatch.setattr("nano.loop.draw_lesson", _killed_at(2))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", checkpoint_seconds=0)
    monkeypatch.undo()
    parts = train(recipe, tmp_path / "parts")
    for (name, value), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def _killed_at(last: int) -> Callable[[Recipe, int], Lesson]:
    def draw(recipe: Recipe, step: int) -> Lesson:
        if step == last:
            raise KeyboardInterrupt
        return draw_lesson(recipe, step)

    return draw


def test_another_recipe_does_not_go_on_with_a_training(tmp_path: Path) -> None:
    train(Recipe(steps=0), tmp_path)
    with pytest.raises(RunError, match="another recipe"):
        train(Recipe(steps=1), tmp_path)


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
