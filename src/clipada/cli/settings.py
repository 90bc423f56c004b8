"""The command ``settings``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from clipada.cli.terminal import is_read_by_person, out_console, print_line

if TYPE_CHECKING:
    from clipada.commands.settings import Setting


def settings(
    word: Annotated[
        str | None,
        typer.Argument(metavar="[WORD]", help="Only settings with this word, or changed by this preset."),
    ] = None,
) -> None:
    """List settings with their defaults and meanings."""
    from clipada.commands import settings as command

    found = command.settings(word)
    if is_read_by_person():
        _print_sections(found)
        return
    for setting in found:  # a line each, for other programs
        print_line("\t".join((setting.name, setting.default, setting.kind, setting.meaning)))


def _print_sections(found: Iterable[Setting]) -> None:
    """Print the settings by section: name, default and values in presets, then the meaning."""
    for section, members in groupby(found, key=lambda setting: (setting.section, setting.way)):
        out_console.print(Text.assemble((section[0], "bold"), (f"   {section[1]}", "dim")))
        for setting in members:
            presets = ", ".join(f"{name} {value}" for name, value in setting.presets.items())
            line = Text.assemble("  ", (setting.name, "cyan"), f" = {setting.default}   ", (setting.kind, "dim"))
            out_console.print(line)
            out_console.print(Padding(Text(setting.meaning), (0, 0, 0, 6)))
            if presets:
                out_console.print(Padding(Text(f"presets: {presets}", style="dim"), (0, 0, 0, 6)))
