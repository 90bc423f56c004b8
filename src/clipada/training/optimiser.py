"""The optimiser and its learning rates over the epochs (section 5.1.3 of CLIP-ADA)."""

from __future__ import annotations

import torch

from clipada.config import TrainingConfig
from clipada.model import ClipAda


def adamw(model: ClipAda, config: TrainingConfig) -> torch.optim.AdamW:
    """The optimiser: the adapter's parameters, then those of the tuned encoders at a rate of their own."""
    groups = [{"params": list(model.adapter_parameters().values()), "lr": config.learning_rate}]
    if model.encoder_parameters():
        groups.append({"params": list(model.encoder_parameters().values()), "lr": config.tune_learning_rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def learning_rate(config: TrainingConfig, epoch: int) -> float:
    """The adapter's learning rate in ``epoch``, counted from 0: multiplied by ``decay`` after each milestone."""
    return config.learning_rate * _decayed(config, epoch)


def _decayed(config: TrainingConfig, epoch: int) -> float:
    return config.decay ** sum(epoch >= milestone for milestone in config.milestones)


def set_learning_rates(optimizer: torch.optim.Optimizer, config: TrainingConfig, epoch: int) -> None:
    """Set the rates of ``epoch``: the adapter's, and that of the tuned encoders."""
    rates = (config.learning_rate, config.tune_learning_rate)
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate * _decayed(config, epoch)
