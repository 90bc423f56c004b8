"""The facade: whatever way an image comes in, the same verdict in the image's own geometry, in order, one for each."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector
from clipada.config import ScoringConfig
from clipada.errors import BackboneError, ConfigError, ImageError, ImageKindError, RunError
from clipada.images import resize
from clipada.types import Failure, Localization, Verdict
from stand_in import BrightEngine
from tiny import save

SIZES = [(37, 91), (91, 37), (32, 32), (5, 300), (1, 1), (200, 3)]


@pytest.fixture(scope="module")
def inspector(finished_run: Path) -> Inspector:
    return Inspector.load(finished_run, device="cpu")


@pytest.fixture
def bright() -> Inspector:
    return Inspector(BrightEngine(), ScoringConfig(sigma=1.0))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(left: Verdict, right: Verdict, tolerance: float = 0.0) -> None:
    assert left.score == pytest.approx(right.score, rel=0, abs=tolerance)
    np.testing.assert_allclose(left.anomaly_map, right.anomaly_map, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(left.image, right.image)
    if tolerance == 0:
        assert left.regions == right.regions


# --- one image, whatever way it comes in


def test_path_text_bytes_and_array_are_one_image(inspector: Inspector, tmp_path: Path) -> None:
    path, array = tmp_path / "part.png", noise(37, 91)
    save(path, array)
    predictions = [inspector.inspect(source) for source in (path, str(path), path.read_bytes(), array)]
    for prediction in predictions:
        assert_same(prediction, predictions[0])
    assert [prediction.path for prediction in predictions] == [path, path, None, None]


def test_a_batch_gives_what_each_image_gives_alone(inspector: Inspector, tmp_path: Path) -> None:
    arrays = [noise(height, width, seed) for seed, (height, width) in enumerate(SIZES)]
    save(tmp_path / "part.png", arrays[0])
    images = [tmp_path / "part.png", b"no image", *arrays[1:], tmp_path / "missing.png"]
    first, bad, *others, missing = inspector.inspect_batch(images)
    for result, array in zip([first, *others], arrays, strict=True):
        assert isinstance(result, Verdict)
        assert_same(result, inspector.inspect(array), tolerance=1e-6)
    assert isinstance(bad, ImageError)
    assert isinstance(missing, ImageError)
    assert [type(one) for one in inspector.inspect_batch([b"", b"x"])] == [ImageError, ImageKindError]
    assert inspector.inspect_batch([]) == []


def test_the_score_tells_images_apart(inspector: Inspector) -> None:
    scores = {inspector.inspect(noise(40, 40, seed) // (seed + 1)).score for seed in range(4)}
    assert len(scores) == 4
    assert all(0 < score < 1 for score in scores)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_rgb_image_are_refused(inspector: Inspector, array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="cannot inspect the array") as caught:
        inspector.inspect(array)
    assert str(array.shape) in str(caught.value)
    assert "uint8" in str(caught.value.expected)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image_are_refused(inspector: Inspector, content: bytes) -> None:
    with pytest.raises(ImageError, match="cannot read image of"):
        inspector.inspect(content)


# --- kinds of files


def png(image: PIL.Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return file.getvalue()


def test_files_of_the_same_look_get_the_same_verdict(inspector: Inspector) -> None:
    grey = noise(37, 91)[..., 0]
    expected = inspector.inspect(np.stack([grey] * 3, axis=2))
    sixteen_bit = PIL.Image.fromarray(grey.astype(np.uint16) * 257)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    for content in (png(PIL.Image.fromarray(grey)), png(sixteen_bit), png(PIL.Image.fromarray(opaque))):
        assert_same(inspector.inspect(content), expected)


def test_transparency_is_laid_over_white(inspector: Inspector) -> None:
    array = np.dstack([noise(20, 30), np.full((20, 30), 255, np.uint8)])
    array[:5, :, 3] = 0
    expected = array[..., :3].copy()
    expected[:5] = 255
    assert_same(inspector.inspect(png(PIL.Image.fromarray(array))), inspector.inspect(expected))


def test_a_photo_is_turned_upright_before_it_is_inspected(inspector: Inspector) -> None:
    array = noise(20, 33)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    lying = PIL.Image.fromarray(np.rot90(array))
    prediction = inspector.inspect(png(lying, exif=exif))
    assert prediction.size == (33, 20)
    assert_same(prediction, inspector.inspect(array))


# --- geometry


@pytest.mark.parametrize("size", SIZES)
def test_the_map_has_the_images_own_geometry(inspector: Inspector, size: tuple[int, int]) -> None:
    prediction = inspector.inspect(noise(*size))
    assert prediction.anomaly_map.shape == size
    assert prediction.anomaly_map.dtype == np.float32
    assert prediction.size == size[::-1]
    assert prediction.image.shape == (*size, 3)
    assert prediction.anomaly_map.min() >= 0
    assert prediction.anomaly_map.max() <= 1


@pytest.mark.parametrize("size", [(37, 91), (300, 128), (640, 480)])
def test_regions_are_in_the_images_pixels(bright: Inspector, size: tuple[int, int]) -> None:
    """Two bright spots of known boxes: found there, to within two pixels of the model's input."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    boxes = [
        (round(width * 0.1), round(height * 0.1), round(width * 0.4), round(height * 0.45)),
        (round(width * 0.6), round(height * 0.55), round(width * 0.9), round(height * 0.85)),
    ]
    for value, (left, top, right, bottom) in zip((255, 180), boxes, strict=True):
        image[top:bottom, left:right] = value
    prediction = bright.inspect(image)
    assert len(prediction.regions) == 2
    reach = np.array([width, height, width, height]) * 2 / 64 + 1
    for region, box in zip(prediction.regions, boxes, strict=True):  # the brighter first
        assert (np.abs(np.array(region.box) - box) <= reach).all()
        x, y = region.peak_position
        assert box[0] <= x < box[2]
        assert box[1] <= y < box[3]
        assert prediction.anomaly_map[y, x] == np.float32(region.peak)
    above = prediction.anomaly_map > prediction.threshold
    assert sum(region.area for region in prediction.regions) == above.sum()


def test_the_last_pass_speaks(bright: Inspector) -> None:
    assert bright.inspect(np.full((8, 8, 3), 255, np.uint8)).score == pytest.approx(1)
    assert bright.inspect(np.zeros((8, 8, 3), np.uint8)).score == pytest.approx(0)


@pytest.mark.parametrize("size", SIZES)
def test_the_score_is_of_the_models_own_size(bright: Inspector, size: tuple[int, int]) -> None:
    """It does not depend on how many pixels the camera has, nor on mapping the map back."""
    image = noise(*size)
    assert bright.inspect(image).score == bright.inspect(resize(image, (64, 64))).score


def test_the_threshold_bounds_the_regions(finished_run: Path) -> None:
    engine, scoring = BrightEngine(), ScoringConfig(sigma=0.0)
    image = np.full((64, 64, 3), 128, np.uint8)  # a map of 0.502
    assert len(Inspector(engine, scoring, 0.5).inspect(image).regions) == 1
    assert Inspector(engine, scoring, 0.51).inspect(image).regions == ()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            Inspector.load(finished_run, threshold=wrong)


def test_maps_that_are_not_finite_are_an_error_and_no_verdict(tmp_path: Path) -> None:
    """A training that diverged must not pass every part with a score of NaN."""

    class Diverged(BrightEngine):
        def localize(self, images: np.ndarray) -> Localization:
            return Localization(maps=super().localize(images).maps * np.nan)

    broken = Inspector(Diverged(), ScoringConfig())
    with pytest.raises(RunError, match="not finite") as caught:
        broken.inspect(noise(8, 8))
    assert caught.value.remedy
    save(tmp_path / "part.png", noise(8, 8))
    with pytest.raises(RunError, match="not finite"):
        list(broken.inspect_files([tmp_path / "part.png"]))


# --- many files


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Eleven files of many sizes; the first, the fifth, the sixth and the last cannot be read."""
    paths = [tmp_path / f"{index:02}.png" for index in range(11)]
    for index, path in enumerate(paths):
        save(path, noise(20 + 3 * index, 50 - 2 * index, index))
    paths[0].write_bytes(b"")
    paths[4].write_text("a note")
    paths[5].unlink()
    paths[10].write_bytes(paths[9].read_bytes()[:200])
    return paths


@pytest.mark.parametrize("batch_size", [1, 3, 4, 20])
def test_every_file_has_its_result_in_its_place(inspector: Inspector, files: list[Path], batch_size: int) -> None:
    results = list(inspector.inspect_files(files, batch_size=batch_size))
    assert [result.path for result in results] == files
    assert [i for i, result in enumerate(results) if isinstance(result, Failure)] == [0, 4, 5, 10]
    for result in results:
        if isinstance(result, Verdict):
            assert isinstance(result.path, Path)
            assert_same(result, inspector.inspect(result.path), tolerance=1e-6)
        else:
            assert isinstance(result.error, ImageError)
            assert str(result.path) in str(result.error)


def test_files_are_read_as_they_are_needed(inspector: Inspector, files: list[Path]) -> None:
    """A camera's folder may be endless: results come before the paths end."""
    asked: list[Path] = []

    def endless() -> Iterator[Path]:
        while True:
            asked.append(files[1])
            yield files[1]

    results = inspector.inspect_files(endless(), batch_size=2, workers=1)
    assert isinstance(next(results), Verdict)
    assert len(asked) <= 8
    results.close()  # type: ignore[attr-defined]


def test_no_files_no_results(inspector: Inspector) -> None:
    assert list(inspector.inspect_files([])) == []


# --- loading


def test_load_says_what_is_wrong(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in"):
        Inspector.load(tmp_path / "nowhere")
    with pytest.raises(BackboneError, match="no backbone at"):
        Inspector.load(finished_run, backbone="./nowhere")
    for device in ("abacus", "cuda:97"):
        with pytest.raises(ConfigError, match=f"no device '{device}'"):
            Inspector.load(finished_run, device=device)


def test_it_knows_its_run(inspector: Inspector, finished_run: Path) -> None:
    assert inspector.run is not None
    assert inspector.run.folder == finished_run
    assert inspector.scoring == inspector.run.config.scoring
    assert Inspector.load(str(finished_run)).run == inspector.run


def test_bfloat16_stays_near_float32(finished_run: Path, tmp_path: Path) -> None:
    save(tmp_path / "part.png", np.random.default_rng(5).integers(0, 256, (40, 48, 3)).astype(np.uint8))
    exact, rough = (
        Inspector.load(finished_run, device="cpu", precision=precision).inspect(tmp_path / "part.png").anomaly_map
        for precision in ("fp32", "bf16")
    )
    assert 0 < np.abs(exact - rough).max() < 0.02


def test_other_precisions_are_refused(finished_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"fp32 [|] bf16"):
        Inspector.load(finished_run, device="cpu", precision="fp8")
