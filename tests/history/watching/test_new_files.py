"""Which files of a watched folder are complete."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipada.config import WatchConfig
from clipada.history.watching.new_files import NewFiles
from clipada.history.watching.seen import Stamp
from watched import AT_ONCE, names, picture


class Clock:
    """A clock that advances on demand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def looking(drop: Path, clock: Clock, **settings: float) -> NewFiles:
    return NewFiles(drop, list, WatchConfig(**settings), clock=clock)  # type: ignore[arg-type]


def test_a_file_that_grows_is_left_alone_until_it_rests(drop: Path) -> None:
    clock = Clock()
    files = looking(drop, clock, settle=2)
    content = picture(drop / "whole.tmp").read_bytes()
    part = drop / "part.png"
    for size in range(0, len(content) + 1, 20):
        part.write_bytes(content[:size])
        assert files.complete() == []
        clock.now += 1.5
    part.write_bytes(content)
    assert files.complete() == []
    clock.now += 1.9
    assert files.complete() == []
    clock.now += 0.2
    assert names(files.complete()) == ["part.png"]


def test_a_file_of_the_same_size_that_is_still_written_is_left_alone(drop: Path) -> None:
    clock = Clock()
    files = looking(drop, clock, settle=2)
    part = picture(drop / "part.png")
    for second in range(5):
        os.utime(part, (second, second))
        assert files.complete() == []
        clock.now += 2
    assert names(files.complete()) == ["part.png"]


def test_a_file_renamed_into_place_is_taken_at_once_if_asked(drop: Path) -> None:
    files = looking(drop, Clock(), settle=0)
    picture(drop / ".part.png")
    picture(drop / "part.png.tmp")
    assert files.complete() == []
    (drop / "part.png.tmp").rename(drop / "part.png")
    assert names(files.complete()) == ["part.png"]


def test_old_ones_first_at_any_depth_and_not_where_told(drop: Path, tmp_path: Path) -> None:
    for second, name in enumerate(
        ["b.png", "nut/a.PNG", "nut/deep/c.jpg", "out/d.png", ".hidden/e.png", "g.overlay.png"]
    ):
        os.utime(picture(drop / name), (second, second))
    (drop / "link").symlink_to(tmp_path)
    files = NewFiles(drop, list, AT_ONCE, excluded=[drop / "out"])  # type: ignore[arg-type]
    assert names(files.complete()) == ["b.png", "a.PNG", "c.jpg"]


def test_what_is_remembered_is_bounded_and_all_come_in_the_end(drop: Path) -> None:
    for index in range(30):
        picture(drop / f"{index:02}.png")
    clock, taken = Clock(), set[Path]()

    def unseen(stamps: object) -> list[Stamp]:
        return [stamp for stamp in stamps if stamp.path not in taken]  # type: ignore[attr-defined]

    files = NewFiles(drop, unseen, WatchConfig(settle=1, backlog=7), clock=clock)
    for _ in range(20):
        found = files.complete()
        assert len(found) <= 7
        assert files.settling <= 7
        taken |= {stamp.path for stamp in found}
        clock.now += 1
    assert len(taken) == 30


def test_a_share_that_goes_and_comes_back(drop: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = looking(drop, Clock(), settle=0)
    drop.rename(drop.with_name("away"))
    assert files.complete() == files.complete() == []
    assert caplog.text.count("cannot read folder") == 1
    drop.with_name("away").rename(drop)
    picture(drop / "part.png")
    assert names(files.complete()) == ["part.png"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(0, 3)), max_size=30))
def test_nothing_is_complete_that_changed_within_the_time(changes: list[tuple[str, int, float]]) -> None:
    """Any order of writes and scans: a complete file kept its size for 2 seconds, and is reported once."""
    clock, sizes, since = Clock(), dict[str, int](), dict[str, float]()
    taken: set[tuple[str, int]] = set()

    def unseen(stamps: Sequence[Stamp]) -> list[Stamp]:
        return [stamp for stamp in stamps if (stamp.path.stem, stamp.size) not in taken]

    with tempfile.TemporaryDirectory() as folder:
        files = NewFiles(Path(folder), unseen, WatchConfig(settle=2), clock=clock)
        for name, size, pause in changes:
            if sizes.get(name) != size:
                path = Path(folder) / f"{name}.png"
                path.write_bytes(bytes(size))
                os.utime(path, (0, 0))  # the size alone tells two states apart
                sizes[name], since[name] = size, clock.now
            clock.now += pause
            for stamp in files.complete():
                assert clock.now - since[stamp.path.stem] >= 2
                assert stamp.size == sizes[stamp.path.stem]
                taken.add((stamp.path.stem, stamp.size))
