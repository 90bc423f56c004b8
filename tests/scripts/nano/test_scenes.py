"""Scenes follow from their seed, and their masks, patch words and captions say what is in them."""

import pytest
import torch

from nano.captions import GROUPS, SPOILED, captions, patch_words
from nano.defects import DEFECT_PAINTERS
from nano.materials import MATERIAL_RELIEFS
from nano.scenes import SMALLEST_DEFECT, Palette, Scenes, draw_scenes
from nano.words import (
    COLORS,
    DEFECTS,
    HELD_OUT_DEFECTS,
    HELD_OUT_MATERIALS,
    MATERIALS,
    SHAPES,
    held_out_pair,
)

SIZE = (96, 128)


def scenes(seed: int = 0, count: int = 48, palette: Palette | None = None) -> Scenes:
    return draw_scenes(count, SIZE, palette or Palette.training(), torch.Generator().manual_seed(seed))


def test_the_seed_decides() -> None:
    first, again, other = scenes(3), scenes(3), scenes(4)
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(again, name)), name
    assert not torch.equal(first.images, other.images)


def test_every_word_is_drawn_by_a_function_of_its_own() -> None:
    assert list(MATERIAL_RELIEFS) == list(MATERIALS)
    assert list(DEFECT_PAINTERS) == list(DEFECTS)
    assert GROUPS["material"] == tuple(MATERIALS)[: len(GROUPS["material"])]
    assert GROUPS["defect"][:-1] == DEFECTS[: len(GROUPS["defect"]) - 1]


def test_images_are_pixel_values() -> None:
    drawn = scenes()
    assert drawn.images.shape == drawn.clean.shape == (48, 3, *SIZE)
    for values in (drawn.images, drawn.clean, drawn.objects):
        assert values.isfinite().all()
        assert 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize("number", [n for n, name in enumerate(DEFECTS) if name != "missing part"])
def test_each_defect_shows_inside_its_mask_and_nowhere_else(number: int) -> None:
    everything = Palette(Palette.training().surfaces, torch.tensor([number]))
    drawn = draw_scenes(16, (128, 128), everything, torch.Generator().manual_seed(1), defective=1.0)
    change = (drawn.images - drawn.clean).abs().amax(1)
    masked = drawn.defects >= 0
    sizes = masked.sum((1, 2))
    assert set(drawn.defects[masked].tolist()) == {number}
    assert ((sizes == 0) | (sizes >= SMALLEST_DEFECT)).all()
    assert change[masked].mean() > 2 * change[~masked].mean()


def test_sound_scenes_have_no_masks() -> None:
    drawn = draw_scenes(16, SIZE, Palette.training(), torch.Generator().manual_seed(2), defective=0.0)
    assert (drawn.defects == -1).all()


def test_training_never_shows_what_is_held_out() -> None:
    drawn = scenes(count=96)
    materials, colors = list(MATERIALS), list(COLORS)
    pairs = zip(drawn.materials.flatten().tolist(), drawn.colors.flatten().tolist(), strict=True)
    for material, color in ((m, c) for m, c in pairs if m >= 0):
        assert materials[material] not in HELD_OUT_MATERIALS
        assert not held_out_pair(color, material), (materials[material], colors[color])
    assert not {DEFECTS[k] for k in drawn.defects.unique().tolist() if k >= 0} & set(HELD_OUT_DEFECTS)
    new = scenes(palette=Palette.new_concepts())
    assert {materials[m] for m in new.materials[:, 0].tolist()} == set(HELD_OUT_MATERIALS)


def test_captions_say_what_is_there() -> None:
    drawn = scenes()
    texts = captions(drawn, torch.Generator().manual_seed(0))
    for index, text in enumerate(texts):
        assert list(MATERIALS)[int(drawn.materials[index, 0])] in text or drawn.shapes[index] >= 0
        assert drawn.shapes[index] < 0 or SHAPES[int(drawn.shapes[index])] in text
        kinds = {DEFECTS[k] for k in drawn.defects[index].unique().tolist() if k >= 0}
        named = {name for name in DEFECTS if f" a {name}" in text}
        assert named == kinds or (kinds and any(text.endswith(ending) for ending in SPOILED))


def test_patch_words_are_those_of_the_pixels_below() -> None:
    drawn = scenes()
    truth = patch_words(drawn, 16)
    for index in range(len(drawn)):
        for row in range(SIZE[0] // 16):
            for column in range(SIZE[1] // 16):
                place = row * (SIZE[1] // 16) + column
                below = drawn.defects[index, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                spoiled = (below >= 0).float().mean()
                label = int(truth.defective[index, place])
                assert label == (1 if spoiled >= 0.03 else 0 if spoiled == 0 else -100)
                assert truth.occupancy[index, place].mean() == pytest.approx(float(spoiled))
                first = (below[:4, 4:8] >= 0).float().mean()
                assert truth.occupancy[index, place, 1] == pytest.approx(float(first))
                word = int(truth.words["defect"][index, place])
                assert word == -100 or (GROUPS["defect"][word] == "no defect") == (spoiled == 0)
