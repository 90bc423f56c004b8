"""Training: the objective, frozen means frozen, the same seed the same adapter, kills that leave no trace, learning."""

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from clipada.config import Config, RuntimeConfig
from clipada.data import load_dataset
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.models.clip_ada import ClipAda, build_model
from clipada.randomness import derived_generator
from clipada.runs import PLAN, read_run
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.training.batches import TrainingBatches
from clipada.training.checkpoint import CHECKPOINT
from clipada.training.loop import fit, launch
from clipada.training.objective import learning_rate, objective, pass_losses
from clipada.training.split import split_validation
from clipada.training.validation import validate
from clipada.types import Progress, Sample
from tiny import save

CPU = RuntimeConfig(device="cpu", workers=0)


def run(
    model: ClipAda,
    samples: tuple[Sample, ...],
    config: Config,
    folder: Path,
    report: Callable[[Progress], None] = lambda _: None,
    runtime: RuntimeConfig = CPU,
) -> None:
    fabric = launch(config.training, runtime, folder)
    fit(fabric, model, samples, config, folder, runtime=runtime, report=report)


def values(model: ClipAda) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.trained_parameters().items()}


def bit_equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def samples(products: Path) -> tuple[Sample, ...]:
    return load_dataset(products).train


def trained(config: Config, samples: tuple[Sample, ...], folder: Path, runtime: RuntimeConfig = CPU) -> ClipAda:
    model = build_model(config)
    run(model, samples, config, folder, runtime=runtime)
    return model


class TestObjective:
    def test_image_resolution_is_the_mean_over_pixels_of_upsampled_logits(self) -> None:
        logits, masks = torch.randn(2, 3, 3), (torch.rand(2, 1, 12, 12) > 0.5).float()
        probability = F.interpolate(logits[:, None], size=(12, 12), mode="bilinear").sigmoid().double()
        expected = -(masks * probability.log() + (1 - masks) * (1 - probability).log()).mean()
        (loss,) = pass_losses([logits], masks, Config().training)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_patch_resolution_averages_the_mask(self) -> None:
        config = Config().updated({"training.loss_resolution": "patch"}).training
        logits, masks = torch.randn(1, 2, 2), torch.zeros(1, 1, 4, 4)
        masks[..., :2, :1] = 1
        target = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])
        (loss,) = pass_losses([logits], masks, config)
        torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target))

    def test_equation_six(self) -> None:
        config = Config().updated({"training.refinement_weight": 0.5}).training
        losses = [torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)]
        assert objective(losses, config).item() == 56
        assert objective(losses[:1], config).item() == 1

    def test_learning_rate_falls_at_the_papers_epochs(self) -> None:
        config = Config.preset("mvtec").training
        rates = [learning_rate(config, epoch) for epoch in (0, 399, 400, 699, 700, 799)]
        assert rates == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5])


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


class TestFit:
    def test_clip_is_bit_equal_afterwards_and_the_adapter_is_not(
        self, config: Config, samples: tuple[Sample, ...], tmp_path: Path
    ) -> None:
        model = build_model(config)
        clip, adapter = model.clip.sha256(), values(model)
        run(model, samples, config, tmp_path)
        assert model.clip.sha256() == clip
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


def test_killed_in_mid_epoch_and_resumed_gives_the_same_adapter(config: Config, products: Path, tmp_path: Path) -> None:
    """A real process, a real SIGKILL, the real command line."""
    command = [
        *(
            sys.executable,
            "-m",
            "clipada",
            "train",
            str(products),
            "--backbone",
            config.backbone.name,
            "--epochs",
            "30",
        ),
        *("--set", "backbone.block=2", "--set", "prompt.prefix=a photo of a", "--set", "model.image_size=32"),
        *("--set", "training.batch_size=2", "--set", "training.checkpoint_seconds=0", "--device", "cpu"),
        *("--workers", "0"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", str(killed)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "adapter.safetensors").exists()
    with safe_open(killed / CHECKPOINT, framework="pt") as file:
        assert 0 < int(file.metadata()["step"]) < 60
    resume = [*command[:4], "--resume", "--out", str(killed), "--device", "cpu", "--workers", "0"]
    subprocess.run(resume, env=environment, check=True, capture_output=True)
    subprocess.run([*command, "--out", str(whole)], env=environment, check=True, capture_output=True)
    assert bit_equal(load_file(killed / "adapter.safetensors"), load_file(whole / "adapter.safetensors"))
    assert not (killed / CHECKPOINT).exists()
    assert not (killed / PLAN).exists()


def training_words(config: Config, data: Path, out: Path) -> list[str]:
    return [
        *("train", str(data), "--backbone", config.backbone.name, "--set", "backbone.block=2"),
        *("--set", "prompt.prefix=a photo of a", "--set", "model.image_size=32", "--set", "training.batch_size=4"),
        *("--epochs", "3", "--device", "cpu", "--workers", "0", "--out", str(out)),
    ]


def trained_together(
    devices: int, config: Config, data: Path, out: Path, *program: str
) -> subprocess.CompletedProcess[str]:
    words = training_words(config, data, out)
    command = [sys.executable, *(program or ("-m", "clipada")), *words, "--devices", str(devices)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=500)


@pytest.mark.slow
def test_two_processes_train_the_same_adapter_as_one(config: Config, products: Path, tmp_path: Path) -> None:
    """Equal within 1e-6 for parameters of about 0.1: gradients are summed in another order."""
    unreadable = [products / "disc" / "train" / "good" / f"{index:03}.png" for index in (0, 1, 2)]
    for path in unreadable:
        path.write_bytes(b"")
    for devices in (1, 2):
        result = trained_together(devices, config, products, tmp_path / str(devices))
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("trained in") == 1
    one, two = (load_file(tmp_path / name / "adapter.safetensors") for name in ("1", "2"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
    for name in ("1", "2"):
        assert set(read_run(tmp_path / name).training.unreadable) == set(map(str, unreadable))
    assert read_run(tmp_path / "2").training.losses == pytest.approx(read_run(tmp_path / "1").training.losses, abs=1e-5)


@pytest.mark.slow
def test_processes_of_torchrun_train_the_same_adapter_as_one(config: Config, products: Path, tmp_path: Path) -> None:
    """Two processes as on two machines, each its own agent: gloo on the CPU; equal within 1e-6."""
    result = trained_together(1, config, products, tmp_path / "one")
    assert result.returncode == 0, result.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{probe.getsockname()[1]}"
    agents = []
    for rank in (0, 1):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        launcher += [f"--node-rank={rank}", f"--master-addr={meeting[:9]}", f"--master-port={meeting[10:]}"]
        command = [*launcher, "-m", "clipada", *training_words(config, products, tmp_path / "two")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        agents.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [agent.communicate(timeout=500)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], errors
    assert sum(error.count("trained in") for error in errors) == 1
    one, two = (load_file(tmp_path / name / "adapter.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_processes_stop_together_when_the_training_diverges_on_one(
    config: Config, products: Path, tmp_path: Path
) -> None:
    program = tmp_path / "diverging.py"
    program.write_text(
        "import os\n"
        "from clipada.cli import main\n"
        "from clipada.training import loop\n"
        "right = loop.pass_losses\n"
        "worst = float('nan') if os.environ.get('LOCAL_RANK') == '1' else 1.0\n"
        "loop.pass_losses = lambda *given: [worst * loss for loss in right(*given)]\n"
        "main()\n"
    )
    result = trained_together(2, config, products, tmp_path / "run", str(program))
    assert result.returncode == 2, result.stderr
    assert "the training diverged in step 1" in result.stderr
    assert "Traceback" not in result.stderr


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
