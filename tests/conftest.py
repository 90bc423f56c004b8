"""A tiny CLIP, two small products, and the real checks where they are at hand."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipada.cli import main
from clipada.commands.train import train
from clipada.config import BackboneConfig, Config, RuntimeConfig
from clipada.models.backbones import FrozenClip, load_clip
from tiny import make_clip, tiny_config, write_products

SHARED = Path(os.environ.get("CLIPADA_SHARED", Path(__file__).parents[2] / "shared"))

pytest_plugins = ["exported_runs", "folder_hub", "serving_fixtures"]

torch.set_num_threads(1)  # tiny tensors: a second thread only waits


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real images and the small real checkpoint."""
    if not (SHARED / "data" / "mvtec-mini").is_dir():
        pytest.skip("no shared data beside the repository; set CLIPADA_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP on disk: patch 8, width 32, three vision blocks, 32-pixel position embeddings."""
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(clip_folder: Path) -> FrozenClip:
    """The tiny CLIP, cut after its second block."""
    return load_clip(BackboneConfig(name=str(clip_folder), blocks=(2,)))


@pytest.fixture
def config(clip_folder: Path) -> Config:
    """A training of seconds on the tiny CLIP."""
    return tiny_config(clip_folder)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """Two products in the MVTec AD layout: six good parts, two good and two scratched test parts each."""
    return write_products(tmp_path / "products")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> Path:
    """A run on two products, with prototypes, evaluated by nobody. Shared by all tests: to be read only."""
    folder = tmp_path_factory.mktemp("finished")
    runtime = RuntimeConfig(device="cpu", workers=0)
    config = tiny_config(clip_folder).updated({"model.prototypes": 6})
    train(write_products(folder / "products"), folder / "line3", config, runtime=runtime)
    return folder / "line3"


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed or damaged."""
    return shutil.copytree(finished_run, tmp_path / "line3")


@pytest.fixture
def clipada(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["clipada", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(exited.value.code or 0), out, err

    return run
