"""The exports of a run: their description, verification and opening."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from clipada.config import Attention, EngineOptions, EnginePrecision, RuntimeName
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.config.schema import build, require, shown
from clipada.engines.detector import INSIDE, DetectorEngine
from clipada.engines.passes import GraphShape, GraphSizes, RuntimeGraph, as_pass
from clipada.engines.refinement import GraphEngine
from clipada.errors import ConfigError, RunError
from clipada.files import read_json, sha256_of, write_json
from clipada.runs import ADAPTER, EXPORTS, Run, require_sealed
from clipada.runs.manifest import Manifest
from clipada.runs.records import damaged

log = logging.getLogger(__name__)

DESCRIPTION = "export.json"
FORMAT = 3

_REMEDY = "run `clipada export` again"
_RUNTIMES: dict[RuntimeName, str] = {"openvino": "openvino", "onnx": "onnxruntime"}
"""Module of each runtime, the faster first."""

_LARGEST = 2**16
"""Largest size in the shape of a graph that is believed."""

_PRECISIONS: tuple[EnginePrecision, ...] = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export of a run.

    Attributes:
        engine: The runtime it is for.
        precision: Its arithmetic.
        shape: The graph's sizes.
        attention: Combination of a map with the image before the next pass.
        cold_below: Patches whose attention is below this value, 0..1, need no refinement; 0 if no value was found that
            keeps to ``ExportConfig.shortcut_error``.
        end_below: Images whose coarse map is below this value everywhere need no refinement; 0 likewise.
        adapter_sha256: Hash of the trained parameters: ``Run.trained_sha256``.
        files: Hash of each of its files.
        clipada_version: The version that wrote it.
        beyond_tolerance: Descriptions of differences from PyTorch beyond tolerance, for an export kept with
            ``--force``; otherwise empty.
        products: Names of the products in the graph's memory; empty for a graph without one.
    """

    engine: RuntimeName
    precision: EnginePrecision
    shape: GraphShape
    attention: Attention
    cold_below: float
    end_below: float
    adapter_sha256: str
    files: dict[str, str]
    clipada_version: str
    beyond_tolerance: tuple[str, ...] = ()
    products: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {name: getattr(self.shape, name) for name in ("blocks", "width", "passes")}
        for name, size in (*sizes.items(), *(("image_size", side) for side in self.shape.size)):
            require(1 <= size <= _LARGEST, f"shape.{name}", f"1 to {_LARGEST:,}", size, "field")
        fitting = all(1 <= count <= side for count, side in zip(self.shape.grid, self.shape.size, strict=True))
        require(fitting, "shape.grid", "rows and columns, each of a pixel or more", self.shape.grid, "field")
        require(0 <= self.shape.prefix <= _LARGEST, "shape.prefix", f"0 to {_LARGEST:,}", self.shape.prefix, "field")
        for name in ("cold_below", "end_below"):
            require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name), "field")

    @property
    def name(self) -> str:
        """The name of its folder in ``exports/``."""
        return f"{self.engine}-{self.precision}"


def write_export(folder: Path, export: Export) -> None:
    """Write the description of the export in ``folder``."""
    write_json(folder / DESCRIPTION, {"format": FORMAT, **asdict(export)})


def find_export(run: Run, config: EngineOptions) -> tuple[Path, Export]:
    """Find the folder and the description of the export that fits the options, the most precise first.

    Without a name, OpenVINO comes before ONNX Runtime if both are installed.

    Raises:
        RunError: There is no such export, or it is damaged or belongs to another adapter.
    """
    here = [engine for engine, module in _RUNTIMES.items() if installed(module)]
    for engine in here if config.name is None else [config.name]:
        for precision in _PRECISIONS if config.precision is None else (config.precision,):
            folder = run.folder / EXPORTS / f"{engine}-{precision}"
            if (folder / DESCRIPTION).is_file():
                return folder, _verified(run, folder)
    there = sorted(path.parent.name for path in (run.folder / EXPORTS).glob(f"*/{DESCRIPTION}"))
    wanted = [part for part in (config.name, config.precision) if part is not None]
    options = f"--engine {config.name or 'onnx'}" + (f" --precision {config.precision}" if config.precision else "")
    raise RunError(
        f"run {run.folder} has no {' '.join([*wanted, 'export'])}",
        got=", ".join(there) or "no exports",
        remedy=f"run `clipada export {run.folder} {options}` where clipada[export] is installed",
    )


def open_export(
    folder: Path, export: Export, config: EngineOptions, rules: ImageRules = DEFAULT_RULES
) -> GraphEngine | DetectorEngine:
    """Open the export in ``folder``, ready to localize anomalies in images that are read by the run's rules.

    Raises:
        ConfigError: There is no such device, or the export does not have the requested shortcut or cascade.
        RunError: The runtime cannot run it, or the graph has other sizes than its description.
    """
    for name, asked, level in (
        ("shortcut", config.shortcut, export.cold_below),
        ("cascade", config.cascade, export.end_below),
    ):
        if asked and not level:
            raise ConfigError(
                f"export {folder} has no {name}",
                expected="a threshold on the attention that keeps to the stated error",
                got="none was found when it was exported",
                remedy=f"leave out --{name}",
            )
    graph, sizes = open_graph(folder, export.engine, export.precision, config)
    _require_sizes(folder, _detector_sizes(export) if export.products else _pass_sizes(export.shape), sizes)
    if export.products:
        return DetectorEngine(graph, export.shape, export.products, config.streams, rules, INSIDE in sizes)
    return GraphEngine(
        as_pass(graph),
        export.shape,
        attention=export.attention,
        streams=config.streams,
        inactive_below=export.cold_below if config.shortcut else 0.0,
        end_below=export.end_below if config.cascade else 0.0,
        rules=rules,
    )


def open_graph(
    folder: Path, engine: RuntimeName, precision: EnginePrecision, config: EngineOptions
) -> tuple[RuntimeGraph, GraphSizes]:
    """Open the graph in ``folder`` in its runtime, which is imported here and nowhere else.

    Returns:
        The graph, and the shapes it declares.
    """
    if engine == "openvino":
        from clipada.engines import openvino

        return openvino.open_openvino(folder / openvino.GRAPH, precision, config)
    from clipada.engines import onnx

    return onnx.open_onnx(folder / onnx.GRAPH, config)


def installed(module: str) -> bool:
    """Return True if a top-level module can be imported, without importing it."""
    return find_spec(module) is not None


def hashes(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file of an export except its description."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != DESCRIPTION]
    return {path.name: sha256_of(path) for path in files}


def _verified(run: Run, folder: Path) -> Export:
    """Read the export in ``folder`` and check that its files are unchanged and belong to the run's adapter."""
    export = _read(folder)
    if export.adapter_sha256 != run.trained_sha256:
        raise RunError(f"export {folder} was made from another adapter than {ADAPTER}", remedy=_REMEDY)
    where = folder.relative_to(run.folder).as_posix()
    require_sealed(run, ADAPTER, *(f"{where}/{path.name}" for path in sorted(folder.iterdir())))
    found = hashes(folder) if run.manifest is None else _sealed_hashes(run.manifest, where)
    differing = [name for name, digest in export.files.items() if found.get(name) != digest]
    if differing:
        raise RunError(f"export {folder} is damaged or was changed", got=", ".join(differing), remedy=_REMEDY)
    if export.beyond_tolerance:
        log.warning("export %s was kept by force: %s", folder, "; ".join(export.beyond_tolerance))
    return export


def _sealed_hashes(manifest: Manifest, where: str) -> dict[str, str]:
    """Return the SHA-256 of every file of an export by its name, as the run was sealed."""
    return {Path(name).name: file.sha256 for name, file in manifest.files.items() if name.startswith(f"{where}/")}


def _read(folder: Path) -> Export:
    path = folder / DESCRIPTION
    content = read_json(path, _REMEDY)
    found = content.pop("format", None)
    if found != FORMAT:
        got = f"format {shown(found)}"
        raise RunError(f"{path} is of another format", expected=f"format {FORMAT}", got=got, remedy=_REMEDY)
    try:
        export: Export = build(Export, content, "", "field")
    except ConfigError as error:
        raise damaged(path, error, _REMEDY) from error
    return export


def _pass_sizes(shape: GraphShape) -> GraphSizes:
    """Return the sizes of a graph of passes."""
    maps, caches = shape.passes + shape.prototypes, 2 * shape.blocks
    return {
        "images": (None, *shape.size, 3),
        "gain": (None, *shape.size),
        "memory": (caches, None, None, shape.width),
        "maps": (None, maps, None),
    }


def _detector_sizes(export: Export) -> GraphSizes:
    """Return the sizes of a graph that contains a memory."""
    return {"images": (None, *export.shape.size, 3), "products": (None,), "scores": (None,)}


def _require_sizes(folder: Path, described: GraphSizes, sizes: GraphSizes) -> None:
    """Raise ``RunError`` unless a graph has the sizes of its description, as far as it declares them."""
    for name, expected in described.items():
        found = sizes.get(name, ())
        same = len(found) == len(expected) and all(
            one is None or other is None or one == other for one, other in zip(found, expected, strict=True)
        )
        if not same:
            raise RunError(
                f"{folder / DESCRIPTION} does not describe the graph beside it",
                expected=f"shape of {name} {shown(found)}, as in the graph",
                got=f"{shown(expected)}, from field shape",
                remedy=_REMEDY,
            )
