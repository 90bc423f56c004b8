"""Measure the time of a verdict: every engine against the method as published, from image file to verdict.

python benchmarks/inference.py [--rounds 15] [--engines onnx-fp32 openvino-int8 ...] [--work FOLDER]

CLIP ViT-B/16 shapes with random weights at 256 pixels, tokens of block 9, R = 1, cosine similarity, residual attention.

- ``published``: eager `transformers` in float32; every call runs the text tower on 77 tokens and all 12 vision blocks
  in each pass.
- ``torch``: the model of this package: the prompt is encoded once, 9 blocks.
- ``onnx-*``, ``openvino-*``: exports. ``30 % active``: with the shortcut, this share of the patches is refined.

The engines take turns in every round, so that other load on the machine affects all of them alike. The first call of a
turn is ignored: threads of other engines still spin and the caches contain other weights, unlike in production. A ratio
is the median of the ratios of the rounds, for wall-clock time and for processor time of all threads, which other load
hardly changes. Graphs are kept in ``--work`` and reused.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import CLIPConfig, CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]

from clipada.config import BackboneConfig, Config, EngineOptions, EnginePrecision, RuntimeName, cores
from clipada.devices import machine
from clipada.engines.export.folding import graph_shape
from clipada.engines.export.graphs import write_graph
from clipada.engines.exports import open_graph
from clipada.engines.passes import GraphShape, PassInput, PassOutput, as_pass, full_pass_input
from clipada.engines.refinement import GraphEngine
from clipada.engines.torch import TorchEngine
from clipada.images import write_png
from clipada.inspection import Inspector
from clipada.models.backbones import FrozenClip
from clipada.models.clip_ada import ClipAda, build_model, upsample
from clipada.types import Engine, Localization

BLOCK = 9
SHAPE = GraphShape(image_size=256, grid=(16, 16), blocks=BLOCK, width=768, passes=2)
ACTIVE_SHARES = (0.3, 0.2, 0.1, 0.0)
"""Shares of patches that the shortcut refines, from anomalous parts down to images without active patches."""

ENGINES = ("onnx-fp32", "openvino-fp32", "openvino-bf16", "onnx-int8", "openvino-int8")


class Words:
    """Tokenizer without a vocabulary: one id per word."""

    bos_token_id, eos_token_id = 49406, 49407

    def __call__(self, words: str, **_: Any) -> dict[str, list[int]]:
        """Return ids from 1 on."""
        return {"input_ids": list(range(1, len(words.split()) + 1))}


class Published:
    """Method as described in its paper, in eager `transformers`, without caching or shortcuts."""

    passes = 2

    def __init__(self, clip: CLIPModel, model: ClipAda) -> None:
        self.clip: Any = clip
        self.model = model
        self.size, self.rules = model.config.size, model.config.rules

    @torch.inference_mode()
    def localize(self, images: NDArray[np.uint8]) -> Localization:
        """Return the raw maps of every pass, ``(2, B, S, S)``."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        text, inputs, maps = self._text(), self.model.backbone.normalize(pixels), list[Tensor]()
        for projection in self.model.projections:
            if maps:
                inputs = self.model.attend(pixels, maps[-1])
            states = self.clip.vision_model(inputs, output_hidden_states=True, interpolate_pos_encoding=True)
            tokens = states.hidden_states[BLOCK][:, 1:]
            maps.append(self.model.similarity(projection(tokens), text).sigmoid().unflatten(1, (16, 16)))
        return Localization(maps=torch.stack([upsample(one, self.size) for one in maps]).numpy())

    def _text(self) -> Tensor:
        """Compute ``t_hat`` from the whole context of 77 tokens."""
        ids = torch.full((1, 77), Words.eos_token_id)
        found: Tensor = torch.nn.functional.normalize(self.clip.get_text_features(ids).pooler_output[0], dim=-1)
        return found


def random_models() -> tuple[CLIPModel, ClipAda]:
    """Build a complete CLIP ViT-B/16 with random weights, and the model on its first blocks."""
    config: Any = CLIPConfig(
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 16},
        projection_dim=512,
    )
    config._attn_implementation = "eager"
    kind: Any = CLIPModel
    whole, short = kind(config).eval(), kind(config).eval()
    short.load_state_dict(whole.state_dict())
    short.vision_model.encoder.layers = short.vision_model.encoder.layers[:BLOCK]
    short.text_model.text_projection = short.text_projection
    clip = FrozenClip(
        short.vision_model,
        BackboneConfig(blocks=(BLOCK,)),
        (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
        cast(Any, _Text(short)),
        Words(),
    )
    return whole, build_model(Config.preset("prompt"), clip).eval()


class _Text(torch.nn.Module):
    """Text tower with the interface that ``FrozenClip`` needs."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.text_model = clip.text_model
        self.text_projection = clip.text_projection
        self.config = clip.config.text_config


def exported(model: ClipAda, name: str, work: Path, threads: int, inputs: list[PassInput]) -> GraphEngine:
    """Open an export as an engine; write its graph if it does not exist."""
    engine, _, precision = cast("tuple[RuntimeName, str, EnginePrecision]", name.partition("-"))
    folder = work / name
    if not folder.exists():
        folder.mkdir(parents=True)
        write_graph(model, folder, engine, precision, inputs)
    graph, _ = open_graph(folder, engine, precision, EngineOptions(threads=threads))
    return GraphEngine(as_pass(graph), graph_shape(model), attention="residual")


class PartlyActive(GraphEngine):
    """Engine that refines a fixed share of the patches: with random weights, attention does not select any."""

    def __init__(self, engine: GraphEngine, share: float) -> None:
        self.__dict__ |= vars(engine.with_shortcut(1.0))
        self.active = np.arange(engine.shape.tokens - 1) < share * (engine.shape.tokens - 1)

    def refine(
        self,
        images: NDArray[np.uint8],
        factor: NDArray[np.float32],
        active: NDArray[np.bool_],
        coarse: PassOutput,
        index: int,
    ) -> NDArray[np.float32]:
        """Refine the fixed share of patches instead of the active ones."""
        return super().refine(images, factor, np.broadcast_to(self.active, active.shape), coarse, index)


def opened(names: list[str], work: Path, threads: int, inputs: list[PassInput]) -> Iterator[tuple[str, Engine]]:
    """Yield every engine with its name."""
    whole, model = random_models()
    yield "published", Published(whole, model)
    yield "torch", TorchEngine(model, "cpu")
    for name in names:
        engine = exported(model, name, work, threads, inputs)
        yield name, engine
        for share in ACTIVE_SHARES:
            yield f"{name}, {100 * share:.0f} % active", PartlyActive(engine, share)


def random_pixels() -> NDArray[np.uint8]:
    """Draw eight random images of 320 pixels, ``(8, 320, 320, 3)``."""
    return np.random.default_rng(0).integers(0, 256, (8, 320, 320, 3), dtype=np.uint8)


def calibration_inputs() -> list[PassInput]:
    """Return inputs for int8 calibration with the gain of every pass."""
    small = random_pixels()[:, :256, :256]
    gains = [np.full((1, 256, 256), level, np.float32) for level in (1, 1.5)]
    return [full_pass_input(small[[i]], gain, SHAPE) for i in range(8) for gain in gains]


def measure(
    inspectors: dict[str, Inspector], paths: list[Path], batch: int, rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Measure wall-clock and processor seconds, ``(2, rounds)``, by engine."""
    seconds: dict[str, NDArray[np.float64]] = {name: np.zeros((2, rounds)) for name in inspectors}
    for index in range(rounds):
        for name, inspector in inspectors.items():
            for _ in range(2):
                started = np.array([time.perf_counter(), time.process_time()])
                if batch == 1:
                    inspector.inspect(paths[index % len(paths)])
                else:
                    list(inspector.inspect_files(paths[:batch], batch_size=batch))
                seconds[name][:, index] = np.array([time.perf_counter(), time.process_time()]) - started
    return seconds


def table(seconds: dict[str, NDArray[np.float64]], batch: int) -> Table:
    """Tabulate milliseconds per call and the ratio to the first engine."""
    made = Table(title=f"batch {batch}: ms from file to verdict", title_justify="left")
    for column in ("engine", "p50", "p95", "p99", "images/s", "processor", "x published", "by processor"):
        made.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        wall, processor = 1000 * values
        quantiles = (f"{value:.0f}" for value in np.quantile(wall, [0.5, 0.95, 0.99]))
        ratios = (f"{ratio:.2f}" for ratio in np.median(first / values, axis=1))
        rate = f"{1000 * batch / np.median(wall):.1f}"
        made.add_row(name, *quantiles, rate, f"{np.median(processor):.0f}", *ratios)
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=cores(), help="of every engine; one for each core by default")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), metavar="RUNTIME-PRECISION")
    parser.add_argument("--work", type=Path, help="keeps the graphs; a temporary folder by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    inputs = calibration_inputs()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "openvino"))
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as temporary:
        paths = [Path(temporary) / f"{index}.png" for index in range(8)]
        for path, image in zip(paths, random_pixels(), strict=True):
            write_png(path, image)
        scoring = Config.preset("prompt").scoring
        engines = opened(options.engines, options.work or Path(temporary), options.threads, inputs)
        inspectors = {name: Inspector(engine, scoring) for name, engine in engines}
        header = f"{machine('cpu')}, {options.threads} threads; {versions}; {options.rounds} rounds"
        console.print(header, highlight=False)
        for batch in options.batches:
            before = os.getloadavg()[0]
            console.print(table(measure(inspectors, paths, batch, options.rounds), batch))
            console.print(f"load average before {before:.1f}, after {os.getloadavg()[0]:.1f}", highlight=False)


if __name__ == "__main__":
    main()
