"""Trainings in processes of their own: killed and resumed, and several together."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clipada.config import Config
from clipada.runs import PLAN, read_run
from clipada.training.checkpoint import CHECKPOINT
from trainings import bit_equal


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
