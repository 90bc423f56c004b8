"""Images are found by name, in an order that stays, and what cannot be listed is said."""

from pathlib import Path

import pytest

from clipada.data import listing
from clipada.data.listing import find_images, is_image
from clipada.errors import ImageError


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_searched_in_order_and_hidden_files_skipped(tmp_path):
    plant(
        tmp_path, "b.PNG", "a.jpg", "sub/c.webp", "sub/deep/d.tiff", "notes.txt", ".hidden.png", ".git/e.png", "f.jpeg~"
    )
    found = find_images([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.jpg",
        "b.PNG",
        "sub/c.webp",
        "sub/deep/d.tiff",
    ]


def test_named_files_are_kept_with_any_suffix_and_once(tmp_path):
    plant(tmp_path, "frame.raw", "a.png")
    paths = [tmp_path / "frame.raw", tmp_path / "a.png", tmp_path]
    assert find_images(iter(paths)) == [tmp_path / "frame.raw", tmp_path / "a.png"]


def test_missing_paths_and_empty_folders_are_errors(tmp_path):
    with pytest.raises(ImageError, match=r"no such file or folder: .*gone"):
        find_images([tmp_path / "gone"])
    plant(tmp_path, "notes.txt")
    with pytest.raises(ImageError, match=r"no images found\n  expected: files ending in \.bmp, .*\n  got: none in /"):
        find_images([tmp_path])
    with pytest.raises(ImageError, match="got: none in an empty list of paths"):
        find_images([])


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    def refuse(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        yield from ()

    monkeypatch.setattr(listing.os, "walk", refuse)
    with pytest.raises(ImageError, match=r"cannot list folder .*\n  expected: a folder\n  got: Permission denied"):
        find_images([tmp_path])


@pytest.mark.parametrize(("name", "expected"), [("a.PNG", True), ("b.jpeg", True), ("c.gif", False), ("png", False)])
def test_images_are_known_by_suffix(name, expected):
    assert is_image(Path(name)) is expected
