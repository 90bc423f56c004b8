"""Build steps of the documentation site: links of a page point to where things are on the site."""

import logging
from types import SimpleNamespace

import pytest

from docs_site import OWN_SHIM, from_docs, on_page_markdown, on_post_page

PAGE = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))


def test_links_of_the_readme_become_those_of_a_page() -> None:
    text = (
        '[train](docs/train.md), [code](src/clipada), [web](https://a.b), [below](#end), <img src="docs/images/a.webp">'
    )
    page = '[train](train.md), [code](../src/clipada), [web](https://a.b), [below](#end), <img src="images/a.webp">'
    assert from_docs(text) == page


def test_files_outside_of_the_pages_are_pages_or_text(caplog: pytest.LogCaptureFixture) -> None:
    text = "[overview](../README.md#set-up), [`Makefile`](../Makefile), [the layers](../pyproject.toml)"
    assert on_page_markdown(text, PAGE) == "[overview](overview.md#set-up), `Makefile`, the layers (`pyproject.toml`)"
    assert not caplog.records
    on_page_markdown("[gone](../src/gone.py)", PAGE)
    assert "src/gone.py, which does not exist" in caplog.text  # a warning fails the build


def test_a_page_that_loads_from_elsewhere_fails_the_build(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert OWN_SHIM in on_post_page('<script src="https://unpkg.com/iframe-worker/shim"></script>', PAGE)
    on_post_page('<a href="https://arxiv.org">paper</a>', PAGE)
    assert not caplog.records
    on_post_page('<link rel="stylesheet" href="https://fonts.example/a.css">', PAGE)
    assert "loads from elsewhere" in caplog.text
