"""Measure the time of a run's engines on its own images: PyTorch and every export that the run has.

python benchmarks/engines.py RUN DATA [--rounds 10] [--batches 1 8]

Test images are resized once; what is timed is `localize`, from pixels to maps and scores. The engines take turns in
every round, so that other load on the machine affects all of them alike. For a run with a memory, `torch, every row`
searches the rows of all products for every image, `torch, own rows` all of the image's product, which an index would
not, and `torch, no search` the smallest memory, which shows what the search costs. Processor time counts all threads,
and depends less on other work on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import conditions, time_interleaved
from numpy.typing import NDArray

from clipada.config import EngineOptions
from clipada.data import load_dataset, read_batches
from clipada.engines.exports import find_export, open_export
from clipada.engines.torch import TorchEngine
from clipada.models.memory import PatchMemory
from clipada.runs import EXPORTS, Run, load_model, read_run
from clipada.types import Engine


def engines(run: Run) -> dict[str, Engine]:
    """Open PyTorch's engine and every export of a run."""
    torch_engine = TorchEngine(load_model(run), "cpu")
    found: dict[str, Engine] = {"torch fp32": torch_engine}
    for folder in sorted((run.folder / EXPORTS).glob("*-*")):
        if folder.is_dir():
            runtime, precision = folder.name.split("-")
            options = EngineOptions(name=runtime, precision=precision, device="cpu")  # type: ignore[arg-type]
            found[f"{runtime} {precision}"] = open_export(*find_export(run, options), options, torch_engine.rules)
    if run.memory_sha256:
        found["torch, every row"] = _with_memory(run, every_row)
        found["torch, own rows"] = _with_memory(run, own_rows)
        found["torch, no search"] = _with_memory(run, few_rows)
    return found


def _with_memory(run: Run, changed: Callable[[PatchMemory], PatchMemory]) -> TorchEngine:
    model = load_model(run)
    assert model.head is not None
    model.head.bank = changed(model.head.bank)
    return TorchEngine(model, "cpu")


def every_row(bank: PatchMemory) -> PatchMemory:
    """Give each product the rows of all."""
    tensors = bank.tensors()
    blocks, products = tensors["rows"].shape[:2]
    tensors["rows"] = tensors["rows"].flatten(1, 2)[:, None].expand(-1, products, -1, -1).contiguous()
    tensors["usual"] = tensors["usual"].reshape(blocks, 1, -1).expand(-1, products, -1).contiguous()
    return PatchMemory.from_tensors(bank.products, tensors, bank.neighbors)


def own_rows(bank: PatchMemory) -> PatchMemory:
    """Keep all rows, without an index."""
    return PatchMemory.from_tensors(bank.products, bank.tensors(), bank.neighbors)


def few_rows(bank: PatchMemory) -> PatchMemory:
    """Keep as many rows as there are neighbors."""
    tensors = bank.tensors()
    cut = {name: tensors[name][:, :, : bank.neighbors].contiguous() for name in ("rows", "usual")}
    return PatchMemory.from_tensors(bank.products, tensors | cut, bank.neighbors)


def candidates(
    found: Mapping[str, Engine], images: NDArray[np.uint8], batch: int
) -> dict[str, Callable[[int], object]]:
    """Return a function for each engine that localizes a batch, another one in each round."""

    def localize(engine: Engine) -> Callable[[int], object]:
        return lambda index: engine.localize(np.roll(images, -index * batch, axis=0)[:batch])

    return {name: localize(engine) for name, engine in found.items()}


def main() -> None:
    """Time all engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    print(conditions(torch.get_num_threads(), "torch", "onnxruntime", "openvino"), flush=True)
    run = read_run(options.run)
    found, samples = engines(run), load_dataset(options.data).test
    count = min(len(samples), 32)
    paths = [samples[index * len(samples) // count].path for index in range(count)]
    images: Any = np.concatenate([batch.images for batch in read_batches(paths, run.config.model.size, 8, workers=1)])
    for batch in options.batches:
        print(f"| batch of {batch} | ms an image | quartiles | processor ms | times torch's |\n|---|---|---|---|---|")
        seconds = time_interleaved(candidates(found, images, batch), options.rounds)
        for name, (wall, processor) in seconds.items():
            low, middle, high = 1000 / batch * np.quantile(wall, [0.25, 0.5, 0.75])
            taken = 1000 / batch * float(np.median(processor))
            ratio = float(np.median(wall / seconds["torch fp32"][0]))
            print(f"| {name} | {middle:.0f} | {low:.0f} to {high:.0f} | {taken:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
