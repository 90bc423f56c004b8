"""The command ``push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipada.cli.options import RunFolder
from clipada.cli.terminal import say, working


def push(
    run: RunFolder,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private by default.")] = False,
    exports: Annotated[
        bool, typer.Option("--exports", help="Include the run's exports; they contain the backbone's weights.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="The branch; main by default.")] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="License identifier for the model card, e.g. apache-2.0.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the folder that would be uploaded here; upload nothing.")
    ] = None,
) -> None:
    """Upload the run to the Hugging Face hub, with a model card and without this machine's paths."""
    from clipada.commands import push as command

    if out is not None:
        folder = command.save_pretrained(run, out, exports=exports, name=name, license=license_name)
        say(f"folder to upload in {folder}")
        say(f"next: hf upload {name} {folder}")
        return
    with working("uploading"):
        url = command.push_to_hub(
            run, name, private=not public, exports=exports, revision=revision, license=license_name
        )
    say(f"the run is at {url}")
    say(f"next: clipada predict {name} IMAGES")
