"""Parts come as twins that differ in a defect alone; what belongs to them is no defect, and lettering can be read."""

import pytest
import torch

from nano.captions import captions, patch_words
from nano.lettering import COLUMNS, ROWS, STROKES, lettering, signs
from nano.parts import FRAME, SINGLE, holes, lay_out, marks
from nano.scenes import Palette, Scenes
from nano.twins import NAMELESS, SMALLEST, draw_twins
from nano.wear import WEAR_PAINTERS
from nano.words import DEFECTS, HELD_OUT_DEFECTS, HELD_OUT_MATERIALS, MATERIALS

SIZE = (128, 128)
COUNT = 16


@pytest.fixture(scope="module")
def twins() -> Scenes:
    return draw_twins(COUNT, SIZE, (64, 64), Palette.training(), torch.Generator().manual_seed(0))


def test_the_seed_decides(twins: Scenes) -> None:
    again = draw_twins(COUNT, SIZE, (64, 64), Palette.training(), torch.Generator().manual_seed(0))
    for name, value in vars(twins).items():
        assert torch.equal(value, getattr(again, name)), name


def test_twins_differ_where_the_defect_is(twins: Scenes) -> None:
    assert len(twins) == 2 * COUNT
    spoiled, sound = twins.images[:COUNT], twins.images[COUNT:]
    masks = twins.defects[:COUNT] >= 0
    assert (twins.defects[COUNT:] == -1).all()
    assert masks.flatten(1).any(1).float().mean() > 0.6
    apart = (spoiled - sound).abs().amax(1)
    assert apart[masks].mean() > 2 * apart[~masks].mean()  # both have sensor noise of their own
    sizes = masks.sum((1, 2))
    assert ((sizes == 0) | (sizes >= SMALLEST)).all()


def test_images_are_pixel_values(twins: Scenes) -> None:
    for values in (twins.images, twins.clean, twins.objects):
        assert values.isfinite().all()
        assert 0 <= values.min() <= values.max() <= 1


def test_sound_parts_with_holes_and_print_have_no_defective_patch(twins: Scenes) -> None:
    truth = patch_words(twins, 16)
    assert (truth.defective[COUNT:] == 0).all()
    assert (truth.defective[:COUNT] == 1).any()
    assert truth.words["defect"].max() < len(DEFECTS) - len(HELD_OUT_DEFECTS) + 1


def test_what_is_held_out_stays_so(twins: Scenes) -> None:
    kinds = set(twins.defects.unique().tolist())
    assert not {DEFECTS[k] for k in kinds if 0 <= k < NAMELESS} & set(HELD_OUT_DEFECTS)
    assert not {list(MATERIALS)[m] for m in twins.materials.unique().tolist() if m >= 0} & set(HELD_OUT_MATERIALS)
    assert set(WEAR_PAINTERS) - set(DEFECTS) == {""}


def test_captions_name_no_nameless_defect() -> None:
    some = draw_twins(COUNT, SIZE, (0, 0), Palette.training(), torch.Generator().manual_seed(3))
    nameless = (some.defects == NAMELESS).flatten(1).any(1)
    assert nameless.any()
    texts = captions(some, torch.Generator().manual_seed(0))
    assert not any(f"with a {name}" in text for text, so in zip(texts, nameless, strict=True) if so for name in DEFECTS)


def test_a_window_shows_what_the_whole_shows() -> None:
    whole, window = (
        lay_out(8, size, corner, torch.Generator().manual_seed(1))
        for size, corner in (((FRAME, FRAME), (0, 0)), ((64, 64), (96, 32)))
    )
    torch.testing.assert_close(whole.depth[:, 96:160, 32:96], window.depth, rtol=0, atol=1e-2)
    generators = [torch.Generator().manual_seed(2) for _ in range(2)]
    cut = holes(whole, generators[0])[:, 96:160, 32:96]
    torch.testing.assert_close(cut, holes(window, generators[1]), rtol=0, atol=1e-1)


def test_marks_lie_on_parts() -> None:
    layout = lay_out(32, SIZE, (64, 64), torch.Generator().manual_seed(4))
    ink = marks(layout, torch.Generator().manual_seed(5))
    assert (ink[layout.depth <= 1] == 0).all()
    assert (ink.flatten(1).amax(1) > 0.9).float().mean() > 0.4
    assert (layout.kinds == SINGLE).any()


def test_signs_differ_and_lettering_has_their_height() -> None:
    drawn = signs()
    assert drawn.shape == (len(STROKES), ROWS, COLUMNS)
    assert len({tuple(one.flatten().tolist()) for one in drawn}) == len(STROKES)
    y = torch.arange(-40.0, 40.0)[None, :, None].expand(20, 80, 200)
    x = torch.arange(-100.0, 100.0)[None, None].expand(20, 80, 200)
    ink = lettering(y, x, torch.full((20, 1, 1), 12.0), torch.Generator().manual_seed(0))
    assert 0 < ink.mean() < 0.4
    assert ink.min() >= 0
    assert ink.max() <= 1
    assert ink[:, :8].max() == 0  # three lines of 12 pixels, leading and all, reach no further than 32 from the middle
