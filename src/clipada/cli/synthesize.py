"""The command ``synthesize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.errors import again, continuing
from clipada.cli.options import (
    Category,
    Channels,
    DataFolder,
    Depth,
    Layout,
    Page,
    Settings,
)
from clipada.cli.terminal import read_dataset, say, stages, working
from clipada.config import DEFAULT_PRESET, Config, ContactSheetConfig
from clipada.config.overrides import asked_config


def synthesize(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="The folder to write the contact sheet into.")],
    count: Annotated[int, typer.Option(min=1, help="Number of samples.")] = ContactSheetConfig.samples,
    textures: Annotated[str | None, typer.Option(help="A folder of texture images, e.g. DTD.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples.")] = None,
    channels: Channels = None,
    depth: Depth = None,
    page: Page = None,
    settings: Settings = None,
    layout: Layout = "auto",
    category: Category = None,
) -> None:
    """Write a contact sheet of synthetic training samples, to check what is trained."""
    with working("starting"):
        from clipada.commands import synthesize as command
    rules = {"channels": channels, "depth": depth, "page": page}
    config = asked_config(Config.preset(DEFAULT_PRESET), settings, None, textures=textures, seed=seed, **rules)
    dataset = read_dataset(data, layout, category)
    with continuing(f"nothing was written, {again()} starts again"), stages() as show:
        path, failures = command.synthesize(dataset, out, config, count=count, report=show)
    for failure in failures:
        say(f"left out: {failure.error}", style="yellow")
    say(f"contact sheet in {path}")
    say(f"next: clipada start {data} --out runs/mine")
