"""Measure the peak memory of inspection and of metrics as the data grow.

python benchmarks/memory.py RUN DATA [--engine onnx] [--sizes 100 400 1600]

- ``predict``: SIZE image files, links to the test images of DATA, are inspected with an export of RUN; overlays, maps
  and JSON lines are written.
- ``metrics``: SIZE maps of 256 x 256 pixels, drawn as in ``benchmarks/metrics.py``.

Each size runs in a separate process, whose peak memory is printed. ``metrics`` includes drawing the maps, which are not
kept.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import cycle
from pathlib import Path

from measuring import conditions, in_new_process
from metrics import streamed
from rich.console import Console
from rich.table import Table

from clipada.commands.predict import predict
from clipada.config import EngineName
from clipada.data import load_dataset


def grown(folder: Path, files: list[Path], count: int) -> Path:
    """Fill a folder with ``count`` links to files, each file equally often."""
    folder.mkdir()
    for number, file in zip(range(count), cycle(files), strict=False):
        (folder / f"{number:06}{file.suffix}").symlink_to(file.resolve())
    return folder


def inspect_all(run: Path, folder: Path, out: Path, engine: EngineName) -> int:
    """Inspect a folder's images; return the number of verdicts."""
    return sum(1 for _ in predict(run, folder, out, engine=engine))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--engine", choices=["torch", "onnx", "openvino"], default="onnx")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400, 1600])
    options = parser.parse_args()
    files = [sample.path for sample in load_dataset(options.data).test]
    console = Console(width=110)
    runtime = {"onnx": "onnxruntime"}.get(options.engine, options.engine)
    console.print(conditions(1, "numpy", "pillow", runtime), highlight=False)
    table = Table("images", "predict, MiB", "metrics, MiB", title="memory at most", title_justify="left")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder, out = grown(Path(temporary) / "images", files, size), Path(temporary) / "out"
            verdicts, predicted = in_new_process(inspect_all, options.run, folder, out, options.engine)
        assert verdicts == size
        _, counted = in_new_process(streamed, size)
        table.add_row(str(size), f"{predicted:.0f}", f"{counted:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
