"""The command line in this process, and images for it."""

import sys
from pathlib import Path

import pytest

from clipada.cli import main
from command_line import TINY, Command, Outcome
from file_kinds import READABLE, UNREADABLE
from tiny import write_products


@pytest.fixture
def clipada(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries to connect, again and again

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["clipada", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        code = exited.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def train(clipada: Command, clip_folder: Path, tmp_path: Path) -> Command:
    """``clipada train DATA ...`` on the tiny CLIP into a new folder."""

    def run(data: Path, *words: object) -> Outcome:
        return clipada("train", data, "--out", tmp_path / "new", "--backbone", clip_folder, *TINY, *words)

    return run


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two products, to be read only."""
    return write_products(tmp_path_factory.mktemp("parts") / "products")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with every kind of file in it."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, (content, _) in (READABLE | UNREADABLE).items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no image, and not called one")
    (folder / ".hidden.png").write_bytes(b"")
    return folder
