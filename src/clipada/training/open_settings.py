"""Settings that a training leaves open until it knows images, backbone and device, and that its record completes."""

from __future__ import annotations

from pathlib import Path

from clipada.config import EMBEDDED_BACKBONE, Config


def with_absolute_folders(config: Config) -> Config:
    """Replace the names of folders by absolute paths, so that the settings hold in any working folder."""
    names = {name: config.value(name) for name in ("backbone.name", "synthesis.textures")}
    given = {name: value for name, value in names.items() if value not in (None, EMBEDDED_BACKBONE)}
    folders = {name: Path(value).expanduser() for name, value in given.items()}
    return config.updated({name: str(folder.resolve()) for name, folder in folders.items() if folder.is_dir()})


_OPEN: dict[str, object] = {
    "backbone.blocks": None,
    "backbone.revision": None,
    "model.image_size": None,
    "model.image_depth": None,
    "training.precision": "auto",
    "inspection.view": "auto",
    "inspection.tile": None,
}
"""Settings that a training may leave open, and then decides itself and records, by the value that does so."""


def with_recorded(config: Config, recorded: Config | None) -> Config:
    """Return settings in which those left open are as a training has recorded them."""
    if recorded is None:
        return config
    left = [name for name, value in _OPEN.items() if config.value(name) == value]
    return config.updated({name: recorded.value(name) for name in left})
