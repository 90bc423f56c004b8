"""Arguments and options that several commands share, each typed once.

Defaults come from ``clipada.config``; a command with an engine takes ``EngineOptions`` as one argument.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from clipada.config import EMBEDDED_BACKBONE, EngineName, EngineOptions, EnginePrecision, Keep, setting_names
from clipada.errors import BackboneError, did_you_mean

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `clipada train` wrote.")]
RunOrName = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder, or OWNER/NAME of a run on the Hugging Face hub."),
]
DataFolder = Annotated[
    Path, typer.Argument(metavar="DATA", help="A data set: MVTec AD or VisA layout, or folders of good parts.")
]
TrainingFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA", help="A data set: MVTec AD or VisA layout, or folders of good parts. Not needed with --resume."
    ),
]


def _known_backbone(name: str | None) -> str | None:
    """Refuse a name that is almost that of the embedded backbone, before the hub is asked for it."""
    if name is None or name == EMBEDDED_BACKBONE or "/" in name or Path(name).exists():
        return name
    if (remedy := did_you_mean(name, [EMBEDDED_BACKBONE])) is not None:
        expected = f"{EMBEDDED_BACKBONE}, a folder, or a hub name such as openai/clip-vit-base-patch16"
        raise BackboneError(f"no backbone {name!r}", expected=expected, remedy=remedy)
    return name


Backbone = Annotated[
    str | None,
    typer.Option(
        callback=_known_backbone,
        autocompletion=lambda: [EMBEDDED_BACKBONE],
        help="A vision transformer (DINOv2, CLIP, SigLIP, ViT, ...): hub name, folder, or nano, the embedded CLIP.",
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        autocompletion=lambda: ["auto", "mvtec", "visa", "kolektor", "real_iad", "magnetic_tile", "folder"],
        help="mvtec, visa, kolektor, real_iad, magnetic_tile or folder; auto recognizes it.",
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        autocompletion=lambda: ["rgb", "gray", "bayer-rggb", "bayer-bggr", "bayer-grbg", "bayer-gbrg"],
        help="Channels of the files: rgb, gray, one by number (2), three in an order (3,2,1), or bayer-rggb, -bggr, "
        "-grbg, -gbrg for raw values of a color sensor. The run records it.",
    ),
]
Depth = Annotated[
    int | None, typer.Option(metavar="BITS", help="Bits of the camera's values in 16-bit files; found by default.")
]
Page = Annotated[
    int | None, typer.Option(metavar="N", help="Page of TIFF files, from 1; by default the only one, or the largest.")
]
Category = Annotated[list[str] | None, typer.Option(help="Only this category; may be repeated.")]
Device = Annotated[
    str, typer.Option(autocompletion=lambda: ["auto", "cpu", "cuda"], help="auto, cpu, cuda, cuda:1, ...")
]
Engine = Annotated[
    EngineName | None,
    typer.Option(help="By default torch if it is installed, else an export of the run."),
]
Precision = Annotated[
    EnginePrecision | None, typer.Option(help="Arithmetic: fp32 or bf16 in torch, else that of an export.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of an export's runtime; one per core by default.")]
Streams = Annotated[int, typer.Option(min=1, help="Parts of a batch that an export infers in parallel.")]
Shortcut = Annotated[bool, typer.Option("--shortcut", help="Refine only active patches, in an export.")]
Cascade = Annotated[
    bool, typer.Option("--cascade", help="Refine only images whose coarse map has an active pixel, in an export.")
]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images, and as many that draw and write.")]
TrainingWorkers = Annotated[int | None, typer.Option(help="Processes that decode images, per device.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the model first: worth it for trainings of an hour or more on a GPU.")
]
InputCheck = Annotated[
    float,
    typer.Option(
        "--input-check",
        metavar="RATE",
        min=0.0,
        max=0.99,
        help="Share of good parts that may be not inspectable: unlike all training images. 0 switches the check off.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
Database = Annotated[
    str | None, typer.Option(metavar="URL", help="Also store verdicts here, e.g. sqlite:///history.db.")
]
KeepImages = Annotated[Keep, typer.Option(help="Which images to keep beside stored verdicts, in clipada-images.")]
Webhook = Annotated[str | None, typer.Option(metavar="URL", help="Also post each stored verdict there as JSON.")]
Rejected = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Also use the kept images of this run's alarms that operators rejected, from this history database.",
    ),
]
Secret = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file whose content signs what is posted (HMAC-SHA256).")
]
Mqtt = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Also publish each stored verdict: mqtt://user@host:port/topic, or mqtts:// for TLS."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        autocompletion=lambda: [f"{name}=" for name in setting_names()],
        help="Any setting, e.g. model.attention=residual; may be repeated. `clipada settings` lists them.",
    ),
]

ENGINE_OPTIONS = {
    "name": ("engine", Engine),
    "backbone": ("backbone", Backbone),
    "device": ("device", Device),
    "precision": ("precision", Precision),
    "threads": ("threads", Threads),
    "streams": ("streams", Streams),
    "shortcut": ("shortcut", Shortcut),
    "cascade": ("cascade", Cascade),
}
"""For each field of ``EngineOptions`` the option's name and type on the command line."""


def takes_engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command's parameter ``engine: EngineOptions`` appear as one command-line option for each of its fields."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    options = [
        inspect.Parameter(
            ENGINE_OPTIONS[field.name][0],
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=ENGINE_OPTIONS[field.name][1],
        )
        for field in fields(EngineOptions)
    ]
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in signature.parameters.items()
        if name != "engine"
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        chosen = {field.name: values.pop(ENGINE_OPTIONS[field.name][0]) for field in fields(EngineOptions)}
        command(**values, engine=EngineOptions(**chosen))

    del with_options.__wrapped__  # typer would read the options of the command itself
    with_options.__signature__ = signature.replace(parameters=[*others, *options])  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in [*others, *options]}
    return with_options
