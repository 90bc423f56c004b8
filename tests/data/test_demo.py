"""The demo's products: masks that tell the truth, seeds that hold, folders that are whole."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada.config import DemoConfig
from clipada.data import load_dataset
from clipada.data.demo import GOOD, PRODUCTS, Product, write_demo
from clipada.data.demo.camera import Camera
from clipada.data.demo.product import SMALLEST, VISIBLE
from clipada.data.demo.writer import write_products
from clipada.errors import ConfigError, DatasetError
from clipada.images import read_levels, read_rgb
from clipada.types import Progress

KINDS = [pytest.param(product, kind, id=f"{product.name}-{kind}") for product in PRODUCTS for kind in product.defects]
FEW = DemoConfig(train=1, good=1, defective=1, seed=7)
TRAYS = [product for product in PRODUCTS if product.name == "tablets"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sound(product: Product, seed: int, kind: str, index: int) -> np.ndarray:
    """The part of a defective photograph, without its defect: the same draws, up to the defect's."""
    rng = np.random.default_rng([seed, *f"{product.name}/test/{kind}/{index}".encode()])
    part, camera = product.draw(rng), Camera.draw(rng)
    return camera.photograph(product.surface(part))


# --- masks


@pytest.mark.parametrize(("product", "kind"), KINDS)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_mask_is_where_the_part_differs_from_itself_without_the_defect(
    product: Product, kind: str, seed: int
) -> None:
    defective, before = product.part(seed, "test", kind), sound(product, seed, kind, 0)
    apart = np.abs(defective.image.astype(int) - before).max(axis=-1)
    assert not apart[~defective.mask].any()
    assert defective.mask.sum() >= SMALLEST
    assert np.mean(apart[defective.mask] >= VISIBLE) > 0.5  # gaps between threads and grains of a defect belong to it
    assert apart[defective.mask].mean() > VISIBLE


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_good_parts_differ_from_each_other_and_have_no_mask(product: Product) -> None:
    parts = [product.part(0, "train", GOOD, index) for index in range(3)]
    assert not any(part.mask.any() for part in parts)
    for one, other in pairwise(parts):
        assert np.abs(one.image.astype(int) - other.image).mean() > 3
    tones = np.array([part.image.mean() for part in parts])
    assert np.all((tones > 60) & (tones < 200))  # neither dark nor burnt out


def test_train_and_test_parts_are_not_the_same() -> None:
    for product in PRODUCTS:
        assert not np.array_equal(product.part(0, "train").image, product.part(0, "test").image)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_defects_come_small_and_large(product: Product) -> None:
    assert len(product.defects) >= 5
    areas = [product.part(1, "test", kind, index).mask.sum() for kind in product.defects for index in range(2)]
    assert min(areas) < 600
    assert max(areas) > 3 * min(areas)


# --- on disk


def test_the_folder_is_a_data_set_in_the_mvtec_layout(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    write_demo(tmp_path / "parts", FEW, lambda now: steps.append((now.done, now.total)))
    dataset = load_dataset(tmp_path / "parts")
    assert (dataset.layout, dataset.notes) == ("mvtec", ())
    assert dataset.categories == ("fabric", "metal", "tablets")
    anomalous = [sample for sample in dataset.test if sample.anomalous]
    assert {(s.category, s.defect) for s in anomalous} == {(p.name, kind) for p in PRODUCTS for kind in p.defects}
    assert (len(dataset.train), len(dataset.test) - len(anomalous)) == (3, 3)
    for sample in anomalous:
        assert sample.mask is not None
        assert read_levels(sample.mask).shape == read_rgb(sample.path).shape[:2] == (256, 256)
    assert steps == [(done, len(dataset)) for done in range(1, len(dataset) + 1)]


def test_a_seed_gives_the_same_bits(tmp_path: Path) -> None:
    for name, config in (("one", FEW), ("two", FEW), ("other", replace(FEW, seed=8))):
        write_demo(tmp_path / name, config)
    one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    assert not any(one[name] == other[name] for name in one)


def test_a_finished_folder_is_kept(tmp_path: Path) -> None:
    write_products(tmp_path / "parts", TRAYS, FEW)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_products(tmp_path / "parts", TRAYS, FEW, lambda *_: pytest.fail("drew again"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(now: Progress) -> None:
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_products(tmp_path / "parts", TRAYS, FEW, interrupt)
    assert not any(tmp_path.iterdir())


def test_what_a_kill_left_is_not_taken_over(tmp_path: Path) -> None:
    stray = tmp_path / ".parts.part" / "fabric" / "train" / "good" / "900.png"
    stray.parent.mkdir(parents=True)
    PIL.Image.new("RGB", (8, 8)).save(stray)
    write_products(tmp_path / "parts", TRAYS, FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert not list(tmp_path.rglob("900.png"))


def test_other_files_in_the_way_are_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DatasetError, match="in the way") as refused:
        write_products(tmp_path, TRAYS, FEW)
    assert "choose another folder" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_images_of_another_seed_are_not_passed_off_as_this_one(tmp_path: Path) -> None:
    write_products(tmp_path / "parts", TRAYS, FEW)
    with pytest.raises(DatasetError, match="'seed': 7"):
        write_products(tmp_path / "parts", TRAYS, replace(FEW, seed=8))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot write the demo's images"):
        write_products(tmp_path / "file" / "parts", TRAYS, FEW)


@pytest.mark.parametrize("wrong", [{"train": 0}, {"good": 0}, {"defective": 0}, {"seed": -1}])
def test_nothing_or_less_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DemoConfig(**wrong)
