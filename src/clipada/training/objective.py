"""Objective and learning rates of the training (section 4.4.1 of CLIP-ADA, equations 4 and 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.config import TrainingConfig
from clipada.models.clip_ada import ClipAda, upsample


def adamw(model: ClipAda, config: TrainingConfig) -> torch.optim.AdamW:
    """Make the optimizer: the adapter's parameters, then those of the tuned encoders with their own learning rate."""
    groups = [{"params": list(model.adapter_parameters().values()), "lr": config.learning_rate}]
    if model.encoder_parameters():
        groups.append({"params": list(model.encoder_parameters().values()), "lr": config.tune_learning_rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def pass_losses(passes: Sequence[Tensor], masks: Tensor, config: TrainingConfig) -> list[Tensor]:
    """Compute the binary cross entropy of each pass against the synthetic mask (equation 4), on logits.

    Args:
        passes: Logits ``S_i``, ``(B, h, w)`` each.
        masks: ``(B, 1, H, W)``, 1 where anomalous.
        config: The resolution at which the two are compared.

    Returns:
        A scalar per pass.
    """
    masks = masks.squeeze(1)
    if config.loss_resolution == "patch":
        height, width = passes[0].shape[-2:]
        target = F.adaptive_avg_pool2d(masks, (height, width))
        return [F.binary_cross_entropy_with_logits(logits, target) for logits in passes]
    return [F.binary_cross_entropy_with_logits(upsample(logits, masks.shape[-2:]), masks) for logits in passes]


def objective(losses: Sequence[Tensor], config: TrainingConfig) -> Tensor:
    """Combine the losses: ``L = BCE(M_0) + lambda * sum_i BCE(M_i)`` (equation 6)."""
    coarse, *refined = losses
    return coarse + config.refinement_weight * sum(refined, start=torch.zeros_like(coarse))


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """Compute the adapter's learning rate in ``epoch``, from 0: multiplied by ``decay`` after each milestone."""
    return config.learning_rate * _decayed(config, epoch)


def _decayed(config: TrainingConfig, epoch: int) -> float:
    return config.decay ** sum(epoch >= milestone for milestone in config.milestones)


def set_learning_rates(optimizer: torch.optim.Optimizer, config: TrainingConfig, epoch: int) -> None:
    """Set the rates of ``epoch``: the adapter's, and that of the tuned encoders."""
    rates = (config.learning_rate, config.tune_learning_rate)
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate * _decayed(config, epoch)
