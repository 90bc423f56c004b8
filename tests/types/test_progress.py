"""Progress of commands that were given no report: bars in a notebook, nothing elsewhere."""

import sys
from types import SimpleNamespace

import pytest

from clipada.types import Progress
from clipada.types.progress import NotebookBars, bar_html


class Cell:
    """A stand-in for IPython in a kernel; keeps what each bar showed."""

    def __init__(self) -> None:
        self.bars: list[list[str]] = []

    def display(self, content: str, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        self.bars.append([content])
        return SimpleNamespace(update=self.bars[-1].append)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()
    shown = SimpleNamespace(HTML=str, display=cell.display)
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel, display=shown))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return cell


def report_stage(bars: NotebookBars, stage: str, total: int) -> None:
    for done in range(1, total + 1):
        bars(Progress(stage=stage, done=done, total=total))


def test_each_stage_has_one_bar_that_reaches_its_end(cell: Cell) -> None:
    bars = NotebookBars()
    report_stage(bars, "training", 1000)
    report_stage(bars, "calibrating", 3)
    report_stage(bars, "training", 2)  # once more: a new bar
    assert [shown[-1] for shown in cell.bars] == [
        bar_html(Progress(stage="training", done=1000, total=1000)),
        bar_html(Progress(stage="calibrating", done=3, total=3)),
        bar_html(Progress(stage="training", done=2, total=2)),
    ]
    assert len(cell.bars[0]) < 100  # not a picture for each of a thousand steps


def test_a_stage_that_was_interrupted_gets_a_new_bar(cell: Cell) -> None:
    bars = NotebookBars()
    bars(Progress(stage="training", done=5, total=9))
    report_stage(bars, "training", 9)
    assert len(cell.bars) == 2


def test_nothing_is_shown_outside_of_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    report_stage(NotebookBars(), "training", 3)
    assert capsys.readouterr() == ("", "")


def test_words_of_a_bar_are_quoted() -> None:
    shown = bar_html(Progress(stage="a<b", done=1, total=2, losses=(0.5, 0.25), images_per_second=3.0))
    assert "a&lt;b: 1 of 2, loss 0.5000 / 0.2500, 3.0 images/s" in shown
