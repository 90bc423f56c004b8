"""Notebooks and code of the documents, run from beginning to end: offline, with the embedded backbone."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from clipada import Config, Inspector, train
from clipada.config import RuntimeConfig
from documents import ROOT, unknown_words
from tiny import write_good_parts, write_products

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
RUN = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)


def code_cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_is_a_notebook_for_each_reader() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == ["plant", "research", "start"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs_and_name_commands_that_exist(notebook: Path) -> None:
    for cell in code_cells(notebook):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        commands = [line[1:] for line in "".join(cell["source"]).splitlines() if line.startswith("!clipada")]
        assert [unknown_words(shlex.split(command)) for command in commands] == [[]] * len(commands)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    nbclient_run = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(nbclient_run, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in nbclient_run.cells for output in cell.get("outputs", [])]
    words = "".join(str(output.get("text", "")) for output in shown)
    assert "error:" not in words, words
    assert any("text/html" in output.get("data", {}) and "<progress" in output["data"]["text/html"] for output in shown)
    assert any("image/" in str(output.get("data", {})) for output in shown)


def test_own_parts_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_run: Path) -> None:
    """The code of the page, and a model trained with the backbone that it adds."""
    write_products(tmp_path / "DATA")
    write_good_parts(tmp_path, 1, 0)
    shutil.move(tmp_path / "000.png", tmp_path / "part.png")
    shutil.copytree(finished_run, tmp_path / "runs" / "line3")
    monkeypatch.chdir(tmp_path)
    codes = RUN.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    assert len(codes) == 4
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 13 for code in codes)
    names: dict = {}
    for code in codes:
        exec(compile(code, "extending.md", "exec"), names)
    assert set(names["evaluation"].categories) == {path.name for path in (tmp_path / "DATA").iterdir()}
    loaded = Inspector.load("runs/line3", calibrated=False)
    assert names["verdict"].score > loaded.inspect("part.png").score  # the highest value exceeds a mean
    try:
        run = train(
            "DATA", "runs/ijepa", ijepa_settings(tmp_path / "ijepa"), runtime=RuntimeConfig(device="cpu", workers=0)
        )
        assert Inspector.load(run.folder, device="cpu").inspect("part.png").anomaly_map.std() > 0
    finally:
        del names["FAMILIES"]["ijepa"]


def ijepa_settings(folder: Path) -> Config:
    """Write a tiny I-JEPA, and return the settings of a memory on it."""
    from transformers import IJepaConfig, IJepaModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    IJepaModel(IJepaConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(folder)
    return Config.preset("quick").updated(
        {"backbone.name": str(folder), "backbone.blocks": (2,), "model.image_size": 32, "memory.rows": 50}
    )
