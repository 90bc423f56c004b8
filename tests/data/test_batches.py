"""Batches come in order, lose nothing, survive bad files and never run far ahead."""

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clipada.data import Batch, read_batches
from clipada.errors import ConfigError, ImageError
from clipada.images import read_rgb, resize, write_png


@pytest.fixture
def files(tmp_path):
    """Ten images of different sizes, the third and the last two of them unreadable."""
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    rng = np.random.default_rng(0)
    for i, path in enumerate(paths):
        write_png(path, rng.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8))
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    paths[8].write_bytes(b"")
    paths[9].unlink()
    return paths


def shapes(batch: Batch) -> tuple[int, ...]:
    """The lengths that must agree."""
    return len(batch.images), len(batch.paths), len(batch.positions), len(batch.sizes)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_order_pixels_and_sizes(files, workers):
    batches = list(read_batches(files, (16, 16), 4, workers))
    assert [shapes(batch) for batch in batches] == [(3,) * 4, (4,) * 4, (0,) * 4]
    assert [batch.images.shape for batch in batches] == [(3, 16, 16, 3), (4, 16, 16, 3), (0, 16, 16, 3)]
    assert [batch.positions for batch in batches] == [(0, 1, 3), (4, 5, 6, 7), ()]
    assert batches[0].sizes == ((30, 20), (29, 21), (27, 23))
    for batch in batches:
        assert batch.images.dtype == np.uint8
        assert batch.originals == ()
        for image, path, position in zip(batch.images, batch.paths, batch.positions, strict=True):
            assert path == files[position]
            np.testing.assert_array_equal(image, resize(read_rgb(path), (16, 16)))


def test_unreadable_files_are_reported_and_left_out(files):
    first, _, last = read_batches(files, (16, 16), 4, 2)
    assert [failure.path for failure in first.failures] == [files[2]]
    assert isinstance(first.failures[0].error, ImageError)
    assert "damaged" in str(first.failures[0].error)
    assert [failure.error.got for failure in last.failures] == ["an empty file", "No such file or directory"]


def test_originals_are_kept_when_asked_for(files):
    batch = next(read_batches(files, (16, 16), 4, 2, keep_originals=True))
    assert [original.shape for original in batch.originals] == [(20, 30, 3), (21, 29, 3), (23, 27, 3)]
    np.testing.assert_array_equal(batch.originals[2], read_rgb(files[3]))


def test_nothing_to_read():
    assert list(read_batches([], (16, 16), 4, 2)) == []


@pytest.mark.parametrize("wrong", [{"size": (16, 0)}, {"batch_size": 0}, {"workers": -1}])
def test_numbers_below_one_are_refused_at_once(wrong):
    with pytest.raises(ConfigError, match=r"expected: 1 or more\n  got: (0|-1)"):
        read_batches([], **({"size": (16, 16), "batch_size": 4, "workers": 2} | wrong))


def test_reading_never_runs_more_than_two_batches_ahead(monkeypatch):
    opened = itertools.count()
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Path("part.png")

    def read(_path, _depth):
        next(opened)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("clipada.data.batches.read_rgb", read)
    batches = read_batches(endless(), (8, 8), 5, 3)
    assert taken == 0
    for done in range(1, 20):
        next(batches)
        time.sleep(0.002)
        assert taken == 5 * (done + 1)
    batches.close()
    assert next(opened) <= taken


def test_threads_work_at_the_same_time_and_end(monkeypatch):
    meeting = threading.Barrier(3, timeout=10)

    def read(_path, _depth):
        meeting.wait()
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("clipada.data.batches.read_rgb", read)
    batches = list(read_batches([Path("a.png")] * 6, (8, 8), 3, 3))
    assert [len(batch.images) for batch in batches] == [3, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clipada-read")]


def test_an_unfinished_reading_leaves_no_thread(files):
    batches = read_batches(files, (16, 16), 2, 2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clipada-read")]


def test_errors_of_our_own_are_not_hidden(monkeypatch):
    def read(_path, _depth):
        raise RuntimeError("a bug")

    monkeypatch.setattr("clipada.data.batches.read_rgb", read)
    with pytest.raises(RuntimeError, match="a bug"):
        next(read_batches([Path("a.png")], (8, 8), 1, 1))


def test_batches_of_large_originals_have_fewer_images(tmp_path, monkeypatch):
    monkeypatch.setattr("clipada.data.batches.MOST_PIXELS", 1000)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, side in zip(paths, (10, 20, 20, 20, 50, 10), strict=True):
        write_png(path, np.zeros((side, side, 3), np.uint8))
    batches = list(read_batches(paths, (16, 16), 4, 2, keep_originals=True))
    assert [batch.positions for batch in batches] == [(0, 1, 2), (3,), (4,), (5,)]
    assert [batch.positions for batch in read_batches(paths, (16, 16), 4, 2)] == [(0, 1, 2, 3), (4, 5)]
