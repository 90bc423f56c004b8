"""Training batches: order, shares of devices, bytes, and images that cannot be read."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from clipada.config import Config
from clipada.errors import DatasetError
from clipada.randomness import derived_generator
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatches
from clipada.types import Sample
from tiny import save
from trainings import trained


class TestBatches:
    def test_an_epoch_shows_every_image_once_then_wraps(self, config: Config, samples: tuple[Sample, ...]) -> None:
        config = config.updated({"training.batch_size": 5})
        batches = TrainingBatches(samples, config, None)
        assert (batches.steps_per_epoch, len(batches)) == (3, 9)
        order = [next(batches.candidates(step, place)) for step in range(3) for place in range(5)]
        assert sorted(order[:12]) == sorted(sample.path for sample in samples)
        assert order[12:] == order[:3]

    def test_devices_share_a_batch(self, config: Config, samples: tuple[Sample, ...]) -> None:
        whole = TrainingBatches(samples, config, None)[1].images
        first, second = (TrainingBatches(samples, config, None, rank, 2)[1].images for rank in (0, 1))
        assert torch.equal(torch.stack([first, second], dim=1).flatten(0, 1), whole)

    def test_batches_travel_as_bytes_and_lose_less_than_a_level(
        self, config: Config, samples: tuple[Sample, ...]
    ) -> None:
        synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
        read, drawn = (TrainingBatches(samples, config, by)[0] for by in (None, synthesizer))
        assert len(pickle.dumps(drawn)) < 4 * 32 * 32 * 4 + 4096  # a byte per value, and what tells of them
        generator = derived_generator(config.training.seed, "synthesis", 0)
        images, masks = synthesizer(read.images, generator)
        assert (drawn.images - images).abs().max() <= 0.5001 / 255
        assert torch.equal(drawn.masks, masks)
        assert masks.any()
        assert drawn.images.dtype == drawn.masks.dtype == torch.float32

    def test_unreadable_images_are_named_and_replaced(self, config: Config, samples: tuple[Sample, ...]) -> None:
        samples[0].path.write_bytes(b"")
        batches = [TrainingBatches(samples, config, None)[step] for step in range(3)]
        assert {failure.path for batch in batches for failure in batch.failures} == {samples[0].path}
        assert all(batch.images.shape == (4, 3, 32, 32) for batch in batches)

    def test_unreadable_textures_are_named(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        save(tmp_path / "textures" / "good.png", np.full((8, 8, 3), 99, np.uint8))
        (tmp_path / "textures" / "bad.png").write_bytes(b"")
        config = config.updated(
            {"synthesis.textures": str(tmp_path / "textures"), "synthesis.anomaly_probability": 1.0}
        )
        synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
        batches = [TrainingBatches(samples, config, synthesizer)[step] for step in range(3)]
        assert {failure.path.name for batch in batches for failure in batch.failures} == {"bad.png"}

    def test_no_readable_image_is_an_error(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        for sample in samples:
            sample.path.write_bytes(b"not an image")
        with pytest.raises(DatasetError, match="none of the 12 training images can be read"):
            trained(config, samples, tmp_path / "run")
