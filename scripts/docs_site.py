"""Build steps of the documentation site: README and change log as pages, links to files of the repository as text.

`mkdocs.yml` names this file under `hooks`. A link to a file that does not exist fails the build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "overview.md", "CHANGELOG.md": "changelog.md"}
"""Documents outside of `docs/`, and the pages that they become."""

OUTSIDE = re.compile(r"\[(?P<words>[^\]]*)\]\(\.\./(?P<path>[^)#]+)(?P<heading>#[^)]*)?\)")
"""A link from a page to a file outside of `docs/`."""

SHIM = "https://unpkg.com/iframe-worker/shim"
"""The script that the theme's `offline` plugin loads from elsewhere, for search in pages on a disk."""

OWN_SHIM = "javascripts/file-worker.js"
"""Our script of the same purpose."""

ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)="?(?:https?:)?//[^>]*>""")

log = logging.getLogger("mkdocs.hooks.docs_site")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents outside of `docs/`."""
    for document, page in PAGES.items():
        text = from_docs((ROOT / document).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page to where things are on the site."""
    return OUTSIDE.sub(lambda link: inside(link, page.file.src_uri), markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Load nothing from elsewhere; a page that would fails the build."""
    own = output.replace(SHIM, OWN_SHIM)
    for found in ELSEWHERE.findall(own):
        log.warning("%s loads from elsewhere: %s", page.file.src_uri, found)
    return own


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:  # noqa: ARG001
    """Load nothing from elsewhere in the page for missing pages, either."""
    return output_content.replace(SHIM, OWN_SHIM)


def from_docs(text: str) -> str:
    """Rewrite the links of a document in the repository's root as those of a page in `docs/`."""
    outside = re.sub(r"\]\((?!https?:|#|docs/|mailto:)", "](../", text)
    return re.sub(r"(?<=\]\()docs/|(?<=[\"' ,])docs/(?=images/)", "", outside)


def inside(link: re.Match[str], page: str) -> str:
    """Return a link to the page that a document became, or the words alone for any other file."""
    path, heading = link["path"].rstrip("/"), link["heading"] or ""
    if path in PAGES:
        return f"[{link['words']}]({PAGES[path]}{heading})"
    if not (ROOT / path).exists():
        log.warning("%s links to %s, which does not exist", page, path)
    words = link["words"].strip("`")
    return f"`{path}`" if words == Path(path).name else f"{link['words']} (`{path}`)"
