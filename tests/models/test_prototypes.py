"""Normal prototypes: typical patches found, the same from the same seed, and of use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipada import Config, evaluate, train
from clipada.config import RuntimeConfig
from clipada.engines.refinement import add_offset
from clipada.engines.torch import TorchEngine
from clipada.errors import DatasetError, RunError
from clipada.models.backbones import load_clip
from clipada.models.clip_ada import build_model
from clipada.models.prototypes import BATCH, LEAST_MEMBERS, ROUNDS, Prototypes, find_prototypes
from clipada.runs import CONFIG, PROTOTYPES, load_model, read_run
from clipada.types import Progress, Sample
from drawn import clusters, seeded
from tiny import tiny_config, write_products

CPU = RuntimeConfig(device="cpu", workers=0)


def test_a_patch_between_the_typical_ones_is_unfamiliar_and_typical_ones_are_not() -> None:
    points = clusters()
    prototypes = Prototypes.found_among(points, 16, seeded())
    assert prototypes(points[None]).abs().mean() < 2
    assert prototypes(points.mean(0)[None, None]).item() > 20


def test_few_patches_are_not_learned_by_heart() -> None:
    few = torch.randn(3 * LEAST_MEMBERS, 4, generator=seeded())
    prototypes = Prototypes.found_among(few, 512, seeded())
    assert len(prototypes.centres) == 3
    assert prototypes.distance_mean > 0.1


def test_one_patch_for_all_images_is_no_division_by_zero() -> None:
    same = torch.ones(100, 4)
    assert Prototypes.found_among(same, 5, seeded())(same[None]).isfinite().all()


def test_a_seed_decides_all() -> None:
    first, second, other = (Prototypes.found_among(clusters(), 8, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.centres, second.centres)
    assert not torch.equal(first.centres, other.centres)


def test_no_readable_image_is_said(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    sample = Sample(path=tmp_path / "bad.png", category="plate", split="train")
    with pytest.raises(DatasetError, match="no normal image"):
        find_prototypes(load_clip(tiny_config(clip_folder).backbone), [sample], 4, (32, 32), seeded())


def test_the_search_is_reported_to_its_end_even_if_images_cannot_be_read(clip_folder: Path, tmp_path: Path) -> None:
    for number in range(BATCH):
        (tmp_path / f"{number}.png").write_bytes(b"")
    Image.new("RGB", (32, 32)).save(tmp_path / "good.png")
    samples = [Sample(path=path, category="plate", split="train") for path in sorted(tmp_path.iterdir())]
    steps: list[Progress] = []
    clip = load_clip(tiny_config(clip_folder).backbone)
    find_prototypes(clip, samples, 4, (32, 32), seeded(), report=steps.append)
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("finding prototypes", done, 2 + ROUNDS) for done in range(1, 3 + ROUNDS)
    ]


def test_they_raise_every_pass_and_leave_the_attention_alone(clip_folder: Path) -> None:
    config = tiny_config(clip_folder)
    config = replace(config, model=replace(config.model, refinements=2, prototype_weight=0.7))
    model = build_model(config)
    images = torch.rand(2, 3, 32, 32, generator=seeded())
    with torch.inference_mode():
        without = model(images)
        tokens = model.backbone(model.backbone.normalize(images))
        model = model.with_memory(Prototypes.found_among(tokens.flatten(0, 1), 2, seeded()))
        raised_by = 0.7 * model.memory(tokens).unflatten(1, (4, 4))
        for before, after in zip(without, model(images), strict=True):
            torch.testing.assert_close(after, before + raised_by)


@pytest.mark.parametrize("by", [-4.0, -0.5, 0.0, 3.0, 20.0])
def test_maps_are_raised_in_logits(by: float) -> None:
    logits = torch.linspace(-12, 12, 25, dtype=torch.float64)
    found = add_offset(logits.sigmoid().float().numpy(), np.full(25, by, np.float32))
    np.testing.assert_allclose(found, (logits + by).sigmoid(), atol=2e-5)
    assert np.isfinite(add_offset(np.array([0, 1], np.float32), np.array([200, -200], np.float32))).all()


def test_a_run_keeps_its_prototypes(clip_folder: Path, tmp_path: Path) -> None:
    data = write_products(tmp_path / "data")
    config = tiny_config(clip_folder).updated({"model.prototypes": 5})
    run = train(data, tmp_path / "run", config, runtime=CPU)
    again = train(data, tmp_path / "again", config, runtime=CPU)
    assert (run.folder / PROTOTYPES).read_bytes() == (again.folder / PROTOTYPES).read_bytes()
    plain = train(data, tmp_path / "plain", tiny_config(clip_folder), runtime=CPU)
    assert not (plain.folder / PROTOTYPES).exists()
    assert (plain.folder / "adapter.safetensors").read_bytes() == (run.folder / "adapter.safetensors").read_bytes()
    assert run.model_sha256 != plain.model_sha256
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    maps = [TorchEngine(load_model(one), "cpu").localize(images).maps for one in (run, again, plain)]
    assert np.array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 1e-3
    assert evaluate(run.folder, data).categories.keys() == {"plate", "disc"}


def test_prototypes_of_another_run_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    config: Config = tiny_config(clip_folder).updated({"model.prototypes": 5})
    run = train(write_products(tmp_path / "data"), tmp_path / "run", config, runtime=CPU)
    content = bytearray((run.folder / PROTOTYPES).read_bytes())
    content[-1] ^= 1
    (run.folder / PROTOTYPES).write_bytes(content)
    with pytest.raises(RunError, match=r"prototypes.safetensors is not the file of this run"):
        load_model(run)
    (run.folder / PROTOTYPES).unlink()
    with pytest.raises(RunError, match="is incomplete"):
        read_run(run.folder)
    assert "prototypes_sha256" in (run.folder / CONFIG).read_text()
