"""Installations: what inspecting imports, and what a missing extra is reported as."""

import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = "pip install --constraint constraints.txt"


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


HEAVY = ("torch", "transformers", "kornia", "lightning_fabric")


TELL = f"import sys; sys.stderr.write(repr([name for name in {HEAVY} if name in sys.modules]))"


@pytest.mark.parametrize(
    "code",
    [
        "import clipada; from clipada import ClipAdaError, Config, Inspector, predict, evaluate, train",
        "import clipada.cli, clipada.report, clipada.runs, clipada.commands.predict, clipada.commands.info",
    ],
)
def test_importing_is_light(code: str) -> None:
    told = python(f"{code}; {TELL}")
    assert (told.returncode, told.stderr) == (0, "[]")


COMMAND = f"""
import sys
from clipada.cli import main
try:
    main()
except SystemExit as exited:
    {TELL}
    raise
"""


@pytest.mark.parametrize("words", [["--help"], ["info"]])
def test_help_and_info_are_light(finished_run: Path, words: list[str]) -> None:
    told = python(COMMAND, *words, *([finished_run] if words == ["info"] else []))
    assert (told.returncode, told.stderr) == (0, "[]")
    assert "train" in told.stdout


def test_without_the_training_extra_the_way_to_it_is_told(finished_run: Path, parts: Path) -> None:
    blocked = f"import sys; sys.modules['torch'] = None\n{COMMAND}".replace(TELL, "pass")
    told = python(blocked, "predict", finished_run, parts, "--engine", "torch")
    assert told.returncode == 2
    assert told.stderr == f"error: this needs torch\n  remedy: in the clone, {INSTALL} '.[train]'\n"


@pytest.mark.parametrize("module", ["fastapi", "python_multipart", "uvicorn", "sqlalchemy", "prometheus_client"])
def test_without_the_serving_extra_the_way_to_it_is_told(finished_run: Path, module: str) -> None:
    told = python(f"import sys; sys.modules[{module!r}] = None\n{COMMAND}".replace(TELL, "pass"), "serve", finished_run)
    assert told.returncode == 2
    assert told.stderr == f"error: this needs {module}\n  remedy: in the clone, {INSTALL} '.[serve]'\n"
