"""Views show one scene: what a patch shows is found where its pose says, and only the third has the defect."""

import pytest
import torch
import torch.nn.functional as F

from nano.objective import _places
from nano.scenes import Palette
from nano.tower import PATCH
from nano.views import Views, centers, draw_views

COUNT, SIDE = 6, 128


@pytest.fixture(scope="module", params=range(3))
def views(request: pytest.FixtureRequest) -> Views:
    return draw_views(COUNT, SIDE, (64, 64), Palette.training(), torch.Generator().manual_seed(request.param))


def test_the_seed_decides(views: Views) -> None:
    one, again = (draw_views(2, SIDE, (0, 0), Palette.training(), torch.Generator().manual_seed(9)) for _ in range(2))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(again, name)), name


def test_images_are_pixel_values(views: Views) -> None:
    assert views.images.shape == (3, COUNT, 3, SIDE, SIDE)
    assert views.images.isfinite().all()
    assert 0 <= views.images.min() <= views.images.max() <= 1
    assert set(views.defects.unique().tolist()) <= {0.0, 1.0}


def test_a_patch_is_found_where_the_poses_say(views: Views) -> None:
    """Patches and what lies at their places in the other view go up and down together, whatever the light."""
    places, found = _places(views, 0, 1)
    here, there = (F.avg_pool2d(views.images[view].mean(1, keepdim=True), PATCH) for view in (0, 1))
    grid = (places / (SIDE / 2)).view(COUNT, SIDE // PATCH, SIDE // PATCH, 2)
    moved = F.grid_sample(there, grid, padding_mode="border", align_corners=False).flatten(1)
    alike, by_chance = [], []
    for one, other, seen, straight in zip(here.flatten(1), moved, found, there.flatten(1), strict=True):
        if seen.sum() > 50 and one[seen].std() > 0.02:
            alike.append(torch.corrcoef(torch.stack((one[seen], other[seen])))[0, 1])
            by_chance.append(torch.corrcoef(torch.stack((one[seen], straight[seen])))[0, 1])
    assert alike
    assert torch.stack(alike).median() > 0.75
    assert torch.stack(alike).mean() > torch.stack(by_chance).mean()


def test_places_come_back(views: Views) -> None:
    there, found = _places(views, 0, 2)
    scene = there @ views.turns[2].mT + views.moves[2][:, None]
    back = (scene - views.moves[0][:, None]) @ torch.linalg.inv(views.turns[0]).mT
    torch.testing.assert_close(back, centers(SIDE, PATCH).expand(COUNT, -1, -1), rtol=0, atol=1e-3)
    assert 0.2 < found.float().mean() <= 1
