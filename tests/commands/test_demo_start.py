"""What `clipada demo` checks before it draws anything."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipada.files import lock_folder
from clipada.images import write_png

Clipada = Callable[..., tuple[int, str, str]]

WITHOUT = "import sys; sys.modules[{!r}] = None; from clipada.cli import main; main()"


def test_a_folder_of_photos_is_left_alone(clipada: Clipada, tmp_path: Path) -> None:
    for place in ("a.png", "pictures/a.png", "data/a.png"):
        photos = tmp_path / place.replace("/", "-").removesuffix(".png")
        write_png(photos / place, np.zeros((8, 8, 3), np.uint8))
        before = sorted(photos.rglob("*"))
        code, _, err = clipada("demo", "--out", photos)
        assert code == 2
        assert f"{photos} is in the way" in err
        assert "choose another --out" in err
        assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize("module", ["torch", "transformers", "lightning_fabric"])
def test_a_base_install_says_so_before_it_draws(tmp_path: Path, module: str) -> None:
    words = [sys.executable, "-c", WITHOUT.format(module), "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    remedy = "in the clone, pip install --constraint constraints.txt '.[train]'"
    assert done.stderr == f"error: this needs {module}\n  remedy: {remedy}\n"
    assert not (tmp_path / "demo").exists()


def test_two_demos_at_once(clipada: Clipada, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "demo"):
        code, _, err = clipada("demo", "--out", tmp_path / "demo")
    assert code == 2
    assert "another process is at work in" in err
    assert list((tmp_path / "demo").iterdir()) == []
