"""The command ``remove``."""

from __future__ import annotations

from typing import Annotated

import typer

from clipada.cli.add import print_revised
from clipada.cli.options import RunFolder
from clipada.cli.terminal import say, working


def remove(
    run: RunFolder,
    product: Annotated[
        str | None, typer.Option(help="The product to remove; with --condition, the product whose condition.")
    ] = None,
    condition: Annotated[str | None, typer.Option(help="The light or camera to remove, of all products.")] = None,
    last: Annotated[bool, typer.Option("--last", help="Undo the latest `clipada add` or `clipada remove`.")] = False,
) -> None:
    """Remove a product or a condition from the memory of a run, or undo its latest change."""
    with working("starting"):
        from clipada.commands import remove as command

        revised = command.remove_parts(run, product=product, condition=condition, last=last)
    if last:
        say("undone:")
    print_revised(revised, run)
