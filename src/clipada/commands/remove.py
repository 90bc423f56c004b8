"""Remove good parts from the memory of a run, or undo its latest change."""

from __future__ import annotations

import time
from pathlib import Path

from clipada.commands.add import Revised, change_of, require_memory, stale_files
from clipada.errors import ConfigError, did_you_mean
from clipada.files import write_text
from clipada.report import model_card
from clipada.runs import CARD, Change, Run, read_run, writes_into_run
from clipada.runs.revising import undo_revision
from clipada.runs.revisions import AddedPart


@writes_into_run
def remove_parts(
    run: Path | str, *, product: str | None = None, condition: str | None = None, last: bool = False
) -> Revised:
    """Remove a product or a condition from the memory of a run, or undo the latest change of it.

    A removal is a revision of its own, which can be undone. An undo restores the files as they were before the change,
    byte by byte.

    Args:
        run: The run folder.
        product: Name of the product that is removed with all of its conditions; with ``condition``, of the product
            whose condition is removed.
        condition: Name of the condition that is removed, of all products unless one is named.
        last: True to undo the latest addition or removal, and nothing else.

    Raises:
        ConfigError: Nothing is named, or ``last`` and a name; or the memory has no such product or condition, or would
            be empty.
        RunError: The run has no memory of good parts, is damaged, or another program writes there; or there is nothing
            to undo.
    """
    started = time.monotonic()
    described = read_run(Path(run))
    require_memory(described)
    if last == (product is not None or condition is not None):
        raise ConfigError(
            "it is not said what to remove",
            expected="--product NAME, --condition NAME, or --last alone",
            got="--last and a name" if last else "none of them",
            remedy="name one (Python: product, condition, last)",
        )
    revised, changes = _undone(described) if last else _removed(described, product, condition)
    write_text(revised.folder / CARD, model_card(revised))
    seconds = round(time.monotonic() - started, 1)
    return Revised(run=revised, changes=changes, stale=stale_files(revised), seconds=seconds)


def _undone(run: Run) -> tuple[Run, tuple[Change, ...]]:
    """Undo the latest change; return the run and what was undone."""
    before = undo_revision(run)
    return before, run.training.changes[len(before.training.changes) :]


def _removed(run: Run, product: str | None, condition: str | None) -> tuple[Run, tuple[Change, ...]]:
    """Put a revision without some parts in force; return the run and what was removed."""
    from clipada.runs.composing import revise

    parts: tuple[AddedPart, ...] = () if run.revision is None else run.revision.parts
    removed = () if run.revision is None else run.revision.removed
    _require_product(run, product)
    if condition is not None:
        gone = [part for part in parts if part.condition == condition and product in (None, part.product)]
        _require_condition(run, parts, condition, gone)
        changes = [change_of(run, "removed", part.product, condition, part.images) for part in gone]
    else:
        name = str(product)
        _require_another(run, name)
        gone = [part for part in parts if part.product == name]
        if not any(part.condition == "" for part in gone):  # it is one of the training
            removed = (*removed, name)
        changes = [change_of(run, "removed", name, "", run.training.categories[name])]
    kept = [part for part in parts if part not in gone]
    return revise(run, kept, [], removed, changes)[0], tuple(changes)


def _require_product(run: Run, product: str | None) -> None:
    """Raise ``ConfigError`` unless a run has a product, where one is named."""
    products = list(run.training.categories)
    if product is not None and product not in products:
        remedy = did_you_mean(product, products) or "`clipada info RUN` lists them"
        raise ConfigError(
            f"the run knows no product {product}", expected=f"one of {', '.join(products)}", remedy=remedy
        )


def _require_another(run: Run, product: str) -> None:
    """Raise ``ConfigError`` if a product is the only one of a run."""
    if len(run.training.categories) == 1:
        raise ConfigError(
            f"{product} is the only product of run {run.folder}",
            expected="a memory of at least one product",
            remedy="add another product first",
        )


def _require_condition(run: Run, parts: tuple[AddedPart, ...], condition: str, gone: list[AddedPart]) -> None:
    """Raise ``ConfigError`` unless a condition was found."""
    if not gone:
        names = sorted({part.condition for part in parts if part.condition})
        raise ConfigError(
            f"no condition {condition} was added to run {run.folder}",
            expected=f"one of {', '.join(names)}" if names else "a condition that `clipada add` has added",
            remedy=did_you_mean(condition, names) or "`clipada info RUN` lists what was added",
        )
