"""Documents made of sections, as Markdown or as one HTML file: for texts that people fill in, print and sign."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        head: Its column heads.
        rows: Its cells, as many in each row; empty ones are to be filled in.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A numbered list. A step may end with a command, between backticks."""

    items: tuple[str, ...]


Block = str | Grid | Steps
"""A paragraph, a table or a list; text may hold ``code`` between backticks."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a document."""

    title: str
    blocks: tuple[Block, ...]


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return a document as Markdown."""
    parts = [f"# {title}"]
    for number, section in enumerate(sections, start=1):
        parts += [f"## {number}. {section.title}", *map(_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def to_html(title: str, sections: Sequence[Section]) -> str:
    """Return a document as one HTML file, which needs no other file and prints on paper."""
    body = "\n".join(line for number, one in enumerate(sections, start=1) for line in _html_section(number, one))
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{_inline(title)}</h1>\n{body}\n</body></html>\n"
    )


NARROW = 4
"""Columns of a table that fit on a phone; wider ones are scrolled there, so that no word is broken."""

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { border: 1px solid #8888; padding: .35rem .5rem; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere }
.wide { overflow-x: auto }
.wide td { overflow-wrap: normal }
@media (max-width: 44rem) {
  body { margin: 1rem auto }
  th, td { font-size: .75rem; padding: .2rem .25rem }
}
td:empty { height: 1.6rem }
code { font-size: .9em; overflow-wrap: anywhere }
li { margin: .4rem 0 }
@media print {
  body { font-size: 11px; max-width: none; margin: 0 }
  h2 { break-after: avoid }
  tr { break-inside: avoid }
}
"""


def _markdown(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Steps):
        return "\n".join(f"{number}. {item}" for number, item in enumerate(block.items, start=1))
    lines = [block.head, ("---",) * len(block.head), *block.rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _html_section(number: int, section: Section) -> Iterator[str]:
    yield f"<h2>{number}. {_inline(section.title)}</h2>"
    yield from map(_html, section.blocks)


def _html(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{_inline(block)}</p>"
    if isinstance(block, Steps):
        return "<ol>" + "".join(f"<li>{_inline(item)}</li>" for item in block.items) + "</ol>"
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in block.head)
    rows = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{table}</div>' if len(block.head) > NARROW else table


def _inline(text: str) -> str:
    """Escape text for HTML; code stands between backticks, and strong words between two stars."""
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", coded)
