"""Pictures drawn where they should be, numbers kept, tables whole."""

import io
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PilImage
from rich.console import Console

from clipada.cli.tables import print_metrics_table
from clipada.errors import ClipAdaError
from clipada.evaluation.metrics import CategoryMetrics, mean_metrics
from clipada.inspection.overlays import BACKGROUND, LINE, SIDES, heat_layer, line_width, picture_size, relative_heat
from clipada.report import (
    blend_heat,
    draw_outlines,
    heat_colors,
    map_to_16bit,
    metrics_markdown,
    overlay,
)

UNIT = st.floats(0, 1, width=32)


def gray(height, width, value=120):
    return np.full((height, width, 3), value, np.uint8)


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pictures(panel, size):
    """The three pictures of a panel, without their margins, for an image of ``size`` (height, width)."""
    height, width = picture_size(size)
    margin = (panel.shape[0] - height) // 2
    starts = [margin + index * (width + 2 * margin) for index in range(3)]
    return [panel[margin : margin + height, start : start + width] for start in starts]


def test_heat_runs_evenly_from_dark_to_bright():
    colors = heat_colors(np.linspace(0, 1, 256, dtype=np.float32))
    lightness = colors @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] - lightness[0] > 180
    np.testing.assert_array_equal(colors[[0, -1]], [[13, 8, 135], [240, 249, 33]])


def test_heat_scale_is_fixed():
    dim = np.linspace(0, 0.5, 12, dtype=np.float32).reshape(3, 4)
    bright = dim.copy()
    bright[0, 0] = 1
    np.testing.assert_array_equal(heat_colors(dim)[1:], heat_colors(bright)[1:])
    np.testing.assert_array_equal(heat_colors(np.array([[-3.0, 7.0]])), heat_colors(np.array([[0.0, 1.0]])))


def test_calm_maps_leave_the_picture():
    image = noise(21, 33)
    np.testing.assert_array_equal(blend_heat(image, np.zeros((21, 33), np.float32)), image)
    calm = blend_heat(image, np.full((21, 33), 0.05, np.float32)).astype(int)
    assert np.abs(calm - image).max() <= 2


@settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 3), elements=UNIT), st.integers(0, 255))
def test_heat_grows_more_opaque(anomaly_map, value):
    """The gap to the image is the gap of pure heat times an opacity that rises with the map."""
    image = gray(3, 3, value)
    blended = blend_heat(image, anomaly_map).astype(float)
    gap, full = np.abs(blended - image).max(axis=2), np.abs(heat_colors(anomaly_map).astype(float) - image).max(axis=2)
    opacity = 0.8 * anomaly_map**2 * (3 - 2 * anomaly_map)
    np.testing.assert_allclose(gap, opacity * full, atol=0.5001)


def test_a_heat_layer_laid_over_an_image_looks_like_the_blend():
    rng = np.random.default_rng(0)
    image, heat = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.random((9, 7)).astype(np.float32)
    layer = PilImage.fromarray(heat_layer(heat))
    laid = PilImage.alpha_composite(PilImage.fromarray(image).convert("RGBA"), layer).convert("RGB")
    np.testing.assert_allclose(np.asarray(laid).astype(int), blend_heat(image, heat).astype(int), atol=2)


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(2, 5), st.data())
def test_outlines_run_exactly_around_regions(height, width, line, data):
    mask = data.draw(hnp.arrays(bool, (height, width), elements=st.integers(0, 30).map(lambda n: n == 0)))
    image = gray(height, width)
    drawn = draw_outlines(image, mask, line)
    distance = scipy.ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    changed = (drawn != image).any(axis=2)
    assert not changed[mask].any()
    assert not changed[distance >= line + 3].any()
    assert changed[(distance > 0) & (distance <= line + 2)].all()
    bright = (drawn == LINE).all(axis=2)
    assert bright[(distance >= 2) & (distance <= line + 1)].all()
    assert not bright[(distance < 1.4) | (distance > line + 2)].any()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_outlines_show_on_any_background(value):
    mask = np.zeros((30, 30), bool)
    mask[12:18, 12:18] = True
    drawn = draw_outlines(gray(30, 30, value), mask, 2).astype(int)
    contrast = np.abs(drawn - value).max(axis=2)
    assert contrast.max() >= 120
    # A closed line: what is inside cannot be reached from the corner without crossing it.
    outside = scipy.ndimage.label(contrast < 60)[0]
    assert outside[0, 0] != outside[15, 15]


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (64, 96), (320, 200), (641, 333), (1500, 2001), (3, 900)])
def test_panels_keep_the_geometry(size):
    height, width = picture_size(size)
    assert SIDES[0] <= max(height, width) <= SIDES[1]
    assert height == pytest.approx(size[0] * width / size[1], abs=max(1, height / width))
    panel = overlay(gray(*size), np.zeros(size, np.float32), 0.5)
    assert panel.dtype == np.uint8
    assert panel.shape[2] == 3
    for picture in pictures(panel, size):
        np.testing.assert_array_equal(picture, gray(height, width))


def test_pictures_within_limits_are_not_resampled():
    image = noise(341, 400)
    scored = np.zeros((341, 400), np.float32)
    scored[100:150, 200:260] = 0.9
    plain, heat, outlined = pictures(overlay(image, scored, 0.5), (341, 400))
    np.testing.assert_array_equal(plain, image)
    np.testing.assert_array_equal(heat, blend_heat(image, scored))
    np.testing.assert_array_equal(outlined, draw_outlines(image, scored > 0.5, line_width((341, 400))))


def test_a_single_pixel_of_a_large_image_is_outlined():
    scored = np.zeros((1100, 2200), np.float32)
    scored[700, 1500] = 0.6
    *_, outlined = pictures(overlay(gray(1100, 2200), scored, 0.5), (1100, 2200))
    rows, columns = np.nonzero((outlined == LINE).all(axis=2))
    scale = outlined.shape[0] / 1100
    assert (rows.min() + rows.max()) / 2 == pytest.approx(700.5 * scale, abs=1)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(1500.5 * scale, abs=1)


def test_a_region_at_the_edge_is_outlined_in_the_margin():
    panel = overlay(gray(400, 400), np.ones((400, 400), np.float32), 0.5)
    *_, outlined = pictures(panel, (400, 400))
    np.testing.assert_array_equal(outlined, gray(400, 400))
    assert (panel == LINE).all(axis=2).sum() > 4 * 400
    assert (panel[0, 0] == BACKGROUND).all()


def test_overlay_refuses_what_does_not_fit():
    with pytest.raises(ClipAdaError, match="cannot draw the overlay"):
        overlay(gray(4, 5), np.zeros((5, 4), np.float32), 0.5)
    with pytest.raises(ClipAdaError, match="float64"):
        overlay(np.zeros((4, 5, 3)), np.zeros((4, 5), np.float32), 0.5)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (3, 5), elements=UNIT))
def test_16_bit_maps_come_back(anomaly_map):
    kept = map_to_16bit(anomaly_map)
    assert kept.dtype == np.uint16
    file = io.BytesIO()
    PilImage.fromarray(kept).save(file, "png")
    restored = np.asarray(PilImage.open(file)).astype(np.float64) / 65535
    assert np.abs(restored - anomaly_map).max() <= 0.5 / 65535 + 1e-12


def test_16_bit_maps_take_rounding_but_no_nonsense():
    beyond = np.nextafter(np.float32(1), np.float32(2))
    np.testing.assert_array_equal(map_to_16bit(np.array([[0, beyond]], np.float32)), [[0, 65535]])
    for wrong in (1.1, -0.1, np.nan):
        with pytest.raises(ClipAdaError, match="16 bits"):
            map_to_16bit(np.array([[wrong, 0.5]], np.float32))


def metrics(value, aupro=None):
    shares = dict.fromkeys(
        ["image_auroc", "pixel_auroc", "pixel_ap", "image_ap", "image_f1_max", "pixel_f1_max"], value
    )
    return CategoryMetrics(**shares, aupro=aupro, n_normal=20, n_anomalous=63)


def test_tables_show_every_category_and_the_mean():
    categories = {"bottle": metrics(1.0), "cable [b|c]": metrics(0.5, aupro=0.12345)}
    mean = mean_metrics(categories.values())
    console = Console(width=90, file=io.StringIO())
    print_metrics_table(console, categories, "pass [0]")
    text = console.file.getvalue()
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines() if line.strip()}
    assert "pass [0]" in text
    assert rows["bottle"][1:] == ["100.0", "100.0", "100.0", "–", "100.0", "100.0", "100.0", "20", "63"]
    assert rows["cable [b|c]"][2:] == ["50.0", "50.0", "50.0", "12.3", "50.0", "50.0", "50.0", "20", "63"]
    assert rows["mean"][1:] == ["75.0", "75.0", "75.0", "12.3", "75.0", "75.0", "75.0", "40", "126"]
    lines = metrics_markdown(categories, mean).splitlines()
    assert len(lines) == 5
    assert lines[2] == "| bottle | 100.0 | 100.0 | 100.0 | – | 100.0 | 100.0 | 100.0 | 20 | 63 |"
    assert lines[3].startswith(r"| cable [b\|c] | 50.0 |")
    assert lines[4].startswith("| **mean** | **75.0** |")


def test_these_rooms_never_import_torch():
    code = "import sys, clipada.evaluation.metrics, clipada.scoring, clipada.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_overlay_of_a_real_image(shared):
    image = np.asarray(PilImage.open(shared / "data/mvtec-mini/bottle/test/broken_large/000.jpg").convert("RGB"))
    mask = PilImage.open(shared / "data/mvtec-mini/bottle/ground_truth/broken_large/000_mask.png").convert("L")
    mask = np.asarray(mask.resize(image.shape[1::-1], PilImage.Resampling.NEAREST)) > 0
    scored = scipy.ndimage.gaussian_filter(mask.astype(np.float32), 4)
    plain, heat, outlined = pictures(overlay(image, scored, 0.5), image.shape[:2])
    np.testing.assert_array_equal(plain, image)
    calm = scored < 1e-3
    assert np.abs(heat[calm].astype(int) - image[calm]).max() <= 1
    np.testing.assert_array_equal(outlined[scored > 0.5], image[scored > 0.5])


def test_heat_is_centred_on_the_threshold() -> None:
    values = np.array([0.0, 0.02, 0.05, 0.5, 1.0])
    np.testing.assert_allclose(relative_heat(values, 0.5), values)
    np.testing.assert_allclose(relative_heat(values, 0.05)[[0, 2, 4]], [0, 0.5, 1])
    assert np.all(np.diff(relative_heat(values, 0.05)) > 0)
    assert np.isfinite([relative_heat(values, threshold) for threshold in (0.0, 1.0)]).all()
