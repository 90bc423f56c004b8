"""Training: the objective, frozen means frozen, the same seed the same adapter, kills that leave no trace, learning."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clipada.config import Config, RuntimeConfig
from clipada.data import load_dataset
from clipada.errors import ConfigError, RunError
from clipada.models.clip_ada import build_model
from clipada.training.checkpoint import CHECKPOINT
from clipada.training.loop import fit, launch, with_precision
from clipada.training.split import split_validation
from clipada.training.validation import validate
from clipada.types import Progress, Sample
from trainings import bit_equal, run, trained, values


class TestFit:
    def test_clip_is_bit_equal_afterwards_and_the_adapter_is_not(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        model = build_model(config)
        clip, adapter = model.backbone.sha256(), values(model)
        run(model, samples, config, tmp_path)
        assert model.backbone.sha256() == clip
        assert not any(torch.equal(adapter[name], value) for name, value in values(model).items())

    def test_same_seed_same_adapter_whatever_the_workers(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        first = trained(config, samples, tmp_path / "a")
        second = trained(config, samples, tmp_path / "b", RuntimeConfig(device="cpu", workers=2))
        assert bit_equal(values(first), values(second))
        other = trained(config.updated({"training.seed": 1}), samples, tmp_path / "c")
        assert not bit_equal(values(first), values(other))

    def test_interrupted_and_resumed_is_never_interrupted(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        config = config.updated({"training.checkpoint_seconds": 0.0})

        def stop(progress: Progress) -> None:
            if progress.done == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(build_model(config), samples, config, tmp_path / "stopped", stop)
        resumed = build_model(config)
        steps: list[int] = []
        run(resumed, samples, config, tmp_path / "stopped", lambda progress: steps.append(progress.done))
        assert steps == [5, 6, 7, 8, 9]  # the step that was interrupted before its checkpoint comes again
        assert bit_equal(values(resumed), values(trained(config, samples, tmp_path / "whole")))

    def test_checkpoint_of_another_training_is_refused(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        config = config.updated({"training.checkpoint_seconds": 0.0})
        trained(config, samples, tmp_path)
        with pytest.raises(RunError, match="another training"):
            trained(config.updated({"training.learning_rate": 0.1}), samples, tmp_path)

    def test_checkpoint_goes_on_wherever_data_and_backbone_lie(
        self, config: Config, samples: tuple[Sample, ...], clip_folder: Path, tmp_path: Path
    ) -> None:
        trained(config.updated({"training.checkpoint_seconds": 0.0}), samples, tmp_path / "run")
        shutil.copytree(clip_folder, tmp_path / "moved")
        moved = tuple(replace(sample, path=Path(os.path.relpath(sample.path))) for sample in samples)
        steps: list[int] = []
        config = config.updated({"backbone.name": str(tmp_path / "moved")})
        run(build_model(config), moved, config, tmp_path / "run", lambda progress: steps.append(progress.done))
        assert steps == []

    @pytest.mark.parametrize("devices", [3, 5])
    def test_devices_that_cannot_share_a_batch_are_refused(self, config: Config, tmp_path: Path, devices: int) -> None:
        with pytest.raises(ConfigError, match=r"training[.]batch_size"):
            launch(config.training, RuntimeConfig(device="cpu", devices=devices), tmp_path)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    def test_resumes_on_a_gpu(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        config = config.updated({"training.checkpoint_seconds": 0.0})
        fabric = launch(config.training, RuntimeConfig(device="cuda"), tmp_path)

        def stop(progress: Progress) -> None:
            if progress.done == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit(fabric, build_model(config), samples, config, tmp_path, report=stop)
        steps: list[int] = []
        fit(fabric, build_model(config), samples, config, tmp_path, report=lambda progress: steps.append(progress.done))
        assert steps == [5, 6, 7, 8, 9]

    def test_damaged_checkpoint_is_refused(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        trained(config.updated({"training.checkpoint_seconds": 0.0}), samples, tmp_path)
        path = tmp_path / CHECKPOINT
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(RunError, match="damaged"):
            trained(config, samples, tmp_path)

    def test_a_training_that_diverges_is_no_run(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        with pytest.raises(RunError, match="diverged in step"):
            trained(config.updated({"training.learning_rate": 1e30}), samples, tmp_path)

    @pytest.mark.parametrize("device", ["abacus", "cuda:99"])
    def test_a_device_that_is_not_there_is_named(self, config: Config, tmp_path: Path, device: str) -> None:
        with pytest.raises(ConfigError, match=f"no device '{device}'"):
            launch(config.training, RuntimeConfig(device=device), tmp_path)

    def test_where_images_lie_in_memory_changes_rounding_alone(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        first = values(trained(config, samples, tmp_path / "planes"))
        runtime = RuntimeConfig(device="cpu", workers=0, channels_last=True)
        second = values(trained(config, samples, tmp_path / "pixels", runtime))
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=0, atol=1e-5)

    @pytest.mark.slow
    def test_compiled_it_learns_the_same_but_for_rounding(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        """Parameters are of about 0.1 and move by about 0.01."""
        first = values(trained(config, samples, tmp_path / "eager"))
        runtime = RuntimeConfig(device="cpu", workers=0, compile=True)
        model = trained(config, samples, tmp_path / "compiled", runtime)
        for name, value in values(model).items():
            torch.testing.assert_close(value, first[name], rtol=0, atol=1e-5)
        assert len(model(torch.rand(1, 3, 32, 32))) == config.model.refinements + 1  # itself it stays as it was

    def test_processes_that_a_launcher_started_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert RuntimeConfig(devices=2).together == (2, 1)
        with pytest.raises(ConfigError, match=r"nodes is out of range\n.*1, unless torchrun or SLURM"):
            _ = RuntimeConfig(nodes=2).together
        slurm = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}
        torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
        for environment in (slurm, torchrun, slurm | torchrun):
            with monkeypatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                assert RuntimeConfig().together == (4, 2)
                assert RuntimeConfig(devices=4, nodes=2).together == (4, 2)
                with pytest.raises(ConfigError, match=r"devices, nodes is out of range\n.*as they were started"):
                    _ = RuntimeConfig(devices=8).together
        with monkeypatch.context() as patch:  # a shell that salloc or srun --pty opened
            for name, value in (slurm | {"SLURM_JOB_NAME": "interactive"}).items():
                patch.setenv(name, value)
            assert RuntimeConfig().together == (1, 1)

    def test_one_of_several_devices_is_one(self) -> None:
        with pytest.raises(ConfigError, match=r"devices is out of range\n.*1 with cuda:1"):
            RuntimeConfig(device="cuda:1", devices=2)

    def test_bfloat16_trains(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        model = trained(config.updated({"training.precision": "bf16-mixed"}), samples, tmp_path)
        assert all(value.dtype == torch.float32 and value.isfinite().all() for value in values(model).values())

    @pytest.mark.parametrize(
        ("features", "capability", "precision"),
        [
            (("AVX2",), "AVX2", "32-true"),
            (("AVX2", "AVX-512", "BF16"), "AVX512", "32-true"),
            (("AVX2", "AVX-512", "BF16", "AMX"), "AVX512", "bf16-mixed"),
            (("AVX2", "AVX-512", "BF16", "AMX"), "AVX2", "32-true"),  # ATEN_CPU_CAPABILITY=avx2
        ],
    )
    def test_the_processor_decides_the_precision(
        self,
        config: Config,
        monkeypatch: pytest.MonkeyPatch,
        features: tuple[str, ...],
        capability: str,
        precision: str,
    ) -> None:
        monkeypatch.setattr("clipada.devices.cpu_features", lambda: features)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        for asked, got in (("auto", precision), ("32-true", "32-true"), ("bf16-mixed", "bf16-mixed")):
            decided = with_precision(config.updated({"training.precision": asked}), torch.device("cpu"))
            assert decided.training.precision == got

    def test_logs_can_be_read_while_it_trains(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        seen: list[bool] = []
        table = tmp_path / "logs" / "csv" / "version_0" / "metrics.csv"
        config = config.updated({"training.epochs": 4})
        run(build_model(config), samples, config, tmp_path, lambda _: seen.append(table.exists()))
        assert seen == [False] * 9 + [True] * 3

    def test_logs_hold_every_passes_loss(self, config: Config, samples: tuple[Sample, ...], tmp_path: Path) -> None:
        trained(config, samples, tmp_path)
        header = (tmp_path / "logs" / "csv" / "version_0" / "metrics.csv").read_text().splitlines()[0]
        assert {"loss/pass0", "loss/pass1", "learning_rate", "images_per_second", "step"} <= set(header.split(","))
        assert any((tmp_path / "logs" / "tensorboard").rglob("events.out.tfevents*"))


def test_validation_split_is_by_category_and_seed(config: Config, samples: tuple[Sample, ...]) -> None:
    config = config.updated({"training.validation_fraction": 0.34})
    rest, held_out = split_validation(samples, config)
    assert sorted(s.category for s in held_out) == ["disc", "disc", "plate", "plate"]
    assert set(rest) | set(held_out) == set(samples)
    assert not set(rest) & set(held_out)
    assert (rest, held_out) == split_validation(samples, config)


def test_learns_to_see_defects_it_never_saw(shared: Path, tmp_path: Path) -> None:
    """Seconds on real bottles' good parts: unseen real defects are found far above chance (0.5)."""
    from clipada.engines.torch import TorchEngine
    from clipada.evaluation.evaluate import evaluate_dataset

    dataset = load_dataset(shared / "data" / "mvtec-mini", categories=["bottle"])
    config = Config().updated(
        {
            "backbone.name": str(shared / "weights" / "deit-tiny-clip"),
            "training.epochs": 2,
            "training.milestones": (),
            "model.refinements": 0,
            "model.image_size": 160,
            "training.learning_rate": 3e-3,
        }
    )
    model = trained(config, dataset.train[:96], tmp_path, RuntimeConfig(device="cpu", workers=1))
    evaluation = evaluate_dataset(TorchEngine(model, "cpu"), dataset, config.scoring)
    bottle = evaluation.categories["bottle"]
    assert bottle.image_auroc is not None
    assert bottle.pixel_auroc is not None
    assert bottle.image_auroc > 0.85
    assert bottle.pixel_auroc > 0.85


def test_validation_draws_the_same_anomalies_for_every_model(config: Config, samples: tuple[Sample, ...]) -> None:
    first = validate(build_model(config), samples, config, 1)
    assert list(first) == ["0", "1"]
    assert [(m.n_normal + m.n_anomalous) for m in first["0"].values()] == [24, 24]
    assert first == validate(build_model(config), samples, config, 1)
    counts = [
        [(m.n_normal, m.n_anomalous) for m in validate(build_model(changed), samples, changed, 1)["0"].values()]
        for changed in (config, config.updated({"prompt.length": 2}), config.updated({"training.seed": 1}))
    ]
    assert counts[0] == counts[1] != counts[2]
