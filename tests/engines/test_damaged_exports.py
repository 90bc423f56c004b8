"""The description of an export: damage in it, or sizes that are not those of its graph, are errors that name them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from clipada import Inspector
from clipada.config import EngineOptions
from clipada.engines.exports import DESCRIPTION, EXPORTS, Export, find_export, open_export, write_export
from clipada.engines.onnx import GRAPH
from clipada.engines.passes import GraphShape
from clipada.errors import ClipAdaError, RunError
from clipada.files import sha256_of
from clipada.runs import ADAPTER, CONFIG, read_run
from damaged import DEEP, json_bytes
from run_folders import unseal

WHOLE = {
    "format": 3,
    "engine": "onnx",
    "precision": "fp32",
    "shape": {"image_size": 32, "grid": [4, 4], "blocks": 2, "width": 32, "passes": 2, "prototypes": True},
    "attention": "residual",
    "cold_below": 0.02,
    "end_below": 0.3,
    "adapter_sha256": "a" * 64,
    "files": {GRAPH: "b" * 64},
    "clipada_version": "0.1.0",
    "beyond_tolerance": [],
}
ONNX = EngineOptions(name="onnx", precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def described(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the folder of an export whose description the tests of this module overwrite."""
    folder = tmp_path_factory.mktemp("described")
    for name in (ADAPTER, CONFIG, "prototypes.safetensors"):
        (folder / name).write_bytes((finished_run / name).read_bytes())
    unseal(folder)
    (folder / EXPORTS / "onnx-fp32").mkdir(parents=True)
    (folder / EXPORTS / "onnx-fp32" / GRAPH).write_bytes(b"a graph")
    return folder


def whole(run: Path) -> dict[str, Any]:
    """Return a valid description of the export of a run."""
    graph = run / EXPORTS / "onnx-fp32" / GRAPH
    return WHOLE | {"adapter_sha256": read_run(run).trained_sha256, "files": {GRAPH: sha256_of(graph)}}


def test_any_description_is_an_export_or_an_error(described: Path) -> None:
    description, run = described / EXPORTS / "onnx-fp32" / DESCRIPTION, read_run(described)

    @given(content=json_bytes(whole(described)))
    @settings(max_examples=300, deadline=None)
    def read(content: bytes) -> None:
        description.write_bytes(content)
        try:
            folder, export = find_export(run, ONNX)
            assert open_export(folder, export, ONNX)  # of a file that is no graph
        except ClipAdaError as error:
            assert isinstance(error, RunError)  # noqa: PT017 - most examples fail, some do not
            assert str(described) in error.what  # noqa: PT017
            assert error.remedy  # noqa: PT017

    read()


def test_what_was_written_is_read(described: Path) -> None:
    content = whole(described)
    shape = GraphShape(**(content["shape"] | {"grid": (4, 4)}))
    plain = {name: value for name, value in content.items() if name != "format"}
    export = Export(**(plain | {"shape": shape, "beyond_tolerance": ()}))
    write_export(described / EXPORTS / "onnx-fp32", export)
    assert find_export(read_run(described), ONNX) == (described / EXPORTS / "onnx-fp32", export)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": WHOLE["shape"] | {"grid": [4]}}, ["shape.grid is of the wrong type", "tuple of 2", "[4]"]),  # type: ignore[operator]
        ({"shape": WHOLE["shape"] | {"grid": [4, 0]}}, ["shape.grid is out of range", "(4, 0)"]),  # type: ignore[operator]
        ({"shape": WHOLE["shape"] | {"width": -1}}, ["shape.width is out of range", "1 to 65,536", "-1"]),  # type: ignore[operator]
        ({"cold_below": float("nan")}, ["cold_below is out of range", "0 to 1", "nan"]),
        ({"files": {"a": 3}}, ["files.a is of the wrong type", "str", "3"]),
        ({"format": 4}, ["another format", "format 3", "format 4"]),
    ],
)
def test_a_wrong_field_is_named(described: Path, change: dict[str, object], said: list[str]) -> None:
    description = described / EXPORTS / "onnx-fp32" / DESCRIPTION
    description.write_text(json.dumps(whole(described) | change))
    with pytest.raises(RunError) as caught:
        find_export(read_run(described), ONNX)
    for part in (str(description), *said):
        assert part in str(caught.value)


def test_deep_nesting_is_an_error(described: Path) -> None:
    (described / EXPORTS / "onnx-fp32" / DESCRIPTION).write_text('{"format": ' + DEEP + "}")
    with pytest.raises(RunError, match="nested too deeply"):
        find_export(read_run(described), ONNX)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("name", "value", "input_named"),
    [
        ("image_size", 64, "images"),
        ("blocks", 3, "memory"),
        ("width", 16, "memory"),
        ("passes", 3, "maps"),
        ("prototypes", False, "maps"),
    ],
)
def test_sizes_that_are_not_the_graphs_are_an_error(
    changed: Path, engine: str, name: str, value: int, input_named: str
) -> None:
    description = changed / EXPORTS / f"{engine}-fp32" / DESCRIPTION
    content = json.loads(description.read_text())
    content["shape"][name] = value
    description.write_text(json.dumps(content))
    with pytest.raises(RunError, match="does not describe the graph beside it") as caught:
        Inspector.load(changed, engine=engine, device="cpu")
    assert str(description) in caught.value.what
    assert f"shape of {input_named} (" in str(caught.value.expected)


def test_a_pass_that_the_runtime_refuses_is_an_error(changed: Path) -> None:
    """The number of patches is no size of the graph's inputs: ONNX Runtime refuses indices beyond the last patch."""
    description = changed / EXPORTS / "onnx-fp32" / DESCRIPTION
    content = json.loads(description.read_text())
    content["shape"]["grid"] = [16, 16]
    description.write_text(json.dumps(content))
    inspector = Inspector.load(changed, engine="onnx", device="cpu")
    with pytest.raises(RunError, match=rf"ONNX Runtime cannot run .*{GRAPH}"):
        inspector.inspect(np.zeros((32, 32, 3), np.uint8))
