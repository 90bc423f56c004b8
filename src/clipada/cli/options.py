"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from clipada.config import EngineName, EngineOptions, EnginePrecision, Keep

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
    typer.Argument(metavar="DATA", help="As for the other commands; not needed with --resume."),
]
Backbone = Annotated[str | None, typer.Option(help="A CLIP: hub name, folder, or nano, the embedded one.")]
Layout = Annotated[str, typer.Option(help="mvtec, visa or folder; auto recognises it.")]
Category = Annotated[list[str] | None, typer.Option(help="Only this category; may be repeated.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Engine = Annotated[
    EngineName | None,
    typer.Option(help="What looks; by default torch if it is installed, else an export that is there."),
]
Precision = Annotated[
    EnginePrecision | None, typer.Option(help="Arithmetic: fp32 or bf16 in torch, else that of an export.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of an export's runtime; one per core by default.")]
Streams = Annotated[int, typer.Option(min=1, help="Parts of a batch that an export looks at side by side.")]
Shortcut = Annotated[bool, typer.Option("--shortcut", help="Refine only patches whose attention is hot, in an export.")]
Cascade = Annotated[
    bool, typer.Option("--cascade", help="Refine only images that the first look finds warm enough, in an export.")
]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images, and for predict as many that write.")]
TrainingWorkers = Annotated[int | None, typer.Option(help="Processes that decode images, per device.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the model first: pays in trainings of an hour and more on a GPU.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time.")]
Database = Annotated[
    str | None, typer.Option(metavar="URL", help="Also store verdicts here, e.g. sqlite:///history.db.")
]
KeepImages = Annotated[Keep, typer.Option(help="Which images to keep beside stored verdicts, in clipada-images.")]
Webhook = Annotated[str | None, typer.Option(metavar="URL", help="Also post each stored verdict there as JSON.")]
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
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. model.attention=residual; may be repeated."),
]


def engine_options(
    name: EngineName | None,
    precision: EnginePrecision | None,
    device: str,
    threads: int | None,
    streams: int,
    shortcut: bool,
    cascade: bool,
) -> EngineOptions:
    """What looks, as the options above say."""
    return EngineOptions(
        name=name,
        precision=precision,
        device=device,
        threads=threads,
        streams=streams,
        shortcut=shortcut,
        cascade=cascade,
    )
