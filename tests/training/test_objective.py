"""The objective: losses of the passes, their sum, and the learning rate."""

import pytest
import torch
import torch.nn.functional as F

from clipada.config import Config
from clipada.training.objective import learning_rate, objective, pass_losses


class TestObjective:
    def test_image_resolution_is_the_mean_over_pixels_of_upsampled_logits(self) -> None:
        logits, masks = torch.randn(2, 3, 3), (torch.rand(2, 1, 12, 12) > 0.5).float()
        probability = F.interpolate(logits[:, None], size=(12, 12), mode="bilinear").sigmoid().double()
        expected = -(masks * probability.log() + (1 - masks) * (1 - probability).log()).mean()
        (loss,) = pass_losses([logits], masks, Config().training)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_patch_resolution_averages_the_mask(self) -> None:
        config = Config().updated({"training.loss_resolution": "patch"}).training
        logits, masks = torch.randn(1, 2, 2), torch.zeros(1, 1, 4, 4)
        masks[..., :2, :1] = 1
        target = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])
        (loss,) = pass_losses([logits], masks, config)
        torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target))

    def test_equation_six(self) -> None:
        config = Config().updated({"training.refinement_weight": 0.5}).training
        losses = [torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)]
        assert objective(losses, config).item() == 56
        assert objective(losses[:1], config).item() == 1

    def test_learning_rate_falls_at_the_papers_epochs(self) -> None:
        config = Config.preset("mvtec").training
        rates = [learning_rate(config, epoch) for epoch in (0, 399, 400, 699, 700, 799)]
        assert rates == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5])
