"""Settings from the options of a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clipada.config import Config, setting_names
from clipada.errors import ConfigError


def asked_config(base: Config, settings: Sequence[str] | None, epochs: int | None = None, **options: Any) -> Config:
    """Apply the options of a command line to settings.

    Args:
        base: Settings where the command line says nothing.
        settings: ``NAME=VALUE`` each; they win over all others, the last one over those before.
        epochs: Another number of epochs, to which the milestones are scaled.
        options: ``backbone``, ``refinements``, ``textures``, ``seed``, ``channels``, ``depth``, ``page``; ``None``
            where not given.

    Raises:
        ConfigError: A setting cannot be read, is unknown, or contradicts another.
    """
    names = {
        "backbone": "backbone.name",
        "refinements": "model.refinements",
        "textures": "synthesis.textures",
        "seed": "training.seed",
        "channels": "model.image_channels",
        "depth": "model.image_depth",
        "page": "model.image_page",
    }
    config = base if epochs is None else replace(base, training=base.training.lasting(epochs))
    config = config.updated({names[key]: value for key, value in options.items() if value is not None})
    changes = dict(_setting(text) for text in settings or [])
    return config.updated(changes)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        example = f"{name}=VALUE" if name in setting_names() else "model.image_size=448"
        raise ConfigError(
            f"cannot read --set {text}",
            expected=f"NAME=VALUE, e.g. {example}",
            remedy="`clipada settings` lists the names",
        )
    return name.strip(), value.strip()
