"""Settings of the engine that inspects, and of exports. They are no part of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from clipada.config.schema import require

RuntimeName = Literal["onnx", "openvino"]
EngineName = Literal["torch", "onnx", "openvino"]
EnginePrecision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Engine of an inspection, its arithmetic, device and threads."""

    name: EngineName | None = None
    """``torch``, or the runtime of an export. ``None``: torch if it is installed, else an export of the run."""

    backbone: str | None = None
    """Name or folder of the backbone, if it has moved since the training. Exports contain their part of it."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda:0``, ``tensorrt``, ``gpu`` (OpenVINO's name for Intel's) or the runtime's own name.
    ``auto``: torch takes a GPU if there is one, the runtimes of exports take the CPU."""

    precision: EnginePrecision | None = None
    """Arithmetic. ``None``: float32 in torch; the most precise export of the run."""

    threads: int | None = None
    """Threads of an export's runtime. ``None``: one for each core."""

    streams: int = 1
    """Number of parts of a batch that an export infers in parallel, each with its share of the threads."""

    shortcut: bool = False
    """True to refine active patches only, in an export. The error measured at export is stated there."""

    cascade: bool = False
    """True to refine only images whose coarse map has an active pixel, in an export. The largest change of a score
    measured at export, and how rarely others exceed it, are stated there."""

    def __post_init__(self) -> None:
        require(self.threads is None or self.threads >= 1, "threads", "1 or more", self.threads)
        require(self.streams >= 1, "streams", "1 or more", self.streams)

    @classmethod
    def of(cls, engine: EngineName | EngineOptions | None = None, **others: Any) -> EngineOptions:
        """Make options from the keywords of a Python call: see ``EngineKeywords``."""
        base = engine if isinstance(engine, EngineOptions) else cls(name=engine)
        return replace(base, **others)


class EngineKeywords(TypedDict, total=False):
    """Keywords that every command with an engine takes; what is left out is as in ``EngineOptions``.

    Attributes:
        engine: ``"torch"``, ``"onnx"`` or ``"openvino"``, or all options at once.
        backbone: Name or folder of the backbone, if it has moved since the training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        precision: ``"fp32"``, ``"bf16"``, or that of an export.
        threads: Threads of an export's runtime.
        streams: Number of parts of a batch that an export infers in parallel.
        shortcut: True to refine active patches only, in an export.
        cascade: True to refine active images only, in an export.
    """

    engine: EngineName | EngineOptions | None
    backbone: str | None
    device: str
    precision: EnginePrecision | None
    threads: int | None
    streams: int
    shortcut: bool
    cascade: bool


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Runtime of an export, and its tolerances, compared with the model in PyTorch on real images."""

    engine: RuntimeName = "onnx"
    """The runtime to export for."""

    precision: EnginePrecision = "fp32"
    """Arithmetic of the export."""

    images: int = 48
    """Number of compared images, spread evenly over the data set."""

    fp32_error: float = 1e-4
    """Largest difference of a raw map's pixel, float32."""

    half_error: float = 1e-2
    """The same for float16 and bfloat16."""

    tie_error: float = 0.05
    """Largest difference of a pixel where two rows of a memory are equally near, so that either may be the nearest."""

    tie_share: float = 1e-4
    """Largest share of such pixels."""

    image_auroc_loss: float = 0.005
    """Largest loss of image AUROC by int8, if test images have labels."""

    pixel_ap_loss: float = 0.01
    """Largest loss of pixel average precision by int8."""

    rank_correlation: float = 0.99
    """Smallest Spearman correlation of int8's image scores with the model's, without labels."""

    calibration_images: int = 96
    """Number of training images, spread evenly, that set the ranges of int8."""

    shortcut_error: float = 0.05
    """Largest difference caused by leaving inactive patches unrefined: of a normal image's anomaly map, and of any
    image's score. Also the largest difference of any image's score caused by leaving inactive images unrefined."""

    shortcut_images: int = 96
    """Training images, spread evenly, each as it is and with a synthetic anomaly: one half chooses the attention below
    which a patch is inactive, with half of the error; the other half tests it."""

    shortcut_least: int = 40
    """Fewest images to measure this with; with fewer, everything is refined."""

    def map_error(self, precision: EnginePrecision) -> float:
        """Return the largest difference of a map's pixel; for int8, which is judged by metrics, half precision's."""
        return self.fp32_error if precision == "fp32" else self.half_error
