"""List settings with their defaults and meanings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from clipada.config import (
    PRESETS,
    BaselinesConfig,
    CalibrationCheckConfig,
    CalibrationConfig,
    Config,
    ContactSheetConfig,
    CrossFitConfig,
    DemoConfig,
    DriftConfig,
    EngineOptions,
    ExportConfig,
    HistoryConfig,
    PredictConfig,
    ProtocolConfig,
    RuntimeConfig,
    ServeConfig,
    SinkConfig,
    StartConfig,
    StressConfig,
    WatchConfig,
)
from clipada.config.meanings import meanings, written
from clipada.errors import ConfigError, did_you_mean

OF_A_RUN = "--set NAME=VALUE of train, synthesize, demo and reproduce"

OTHERS: Mapping[str, tuple[Any, str]] = {
    "runtime": (RuntimeConfig(), "options of `clipada train`"),
    "start": (StartConfig(), "from Python, for `clipada start`"),
    "demo": (DemoConfig(), "options of `clipada demo`"),
    "synthesize": (ContactSheetConfig(), "options of `clipada synthesize`"),
    "calibration": (CalibrationConfig(), "options of `clipada calibrate`"),
    "cross_fit": (CrossFitConfig(), "options of `clipada calibrate`"),
    "calibration_check": (CalibrationCheckConfig(), "fixed; `clipada calibrate --force` overrules the checks"),
    "stress": (StressConfig(), "options of `clipada stress`; strengths from Python"),
    "drift": (DriftConfig(), "fixed"),
    "engine": (EngineOptions(), "options of every command that inspects"),
    "export": (ExportConfig(), "options of `clipada export`"),
    "predict": (PredictConfig(), "options of `clipada predict`"),
    "history": (HistoryConfig(), "options of predict, watch and serve with `--database`"),
    "sinks": (SinkConfig(), "options of predict and watch"),
    "watch": (WatchConfig(), "options of `clipada watch`"),
    "serve": (ServeConfig(), "options of `clipada serve`"),
    "protocol": (ProtocolConfig(), "options of `clipada protocol`"),
    "baselines": (BaselinesConfig(), "from Python, for `clipada reproduce`"),
}
"""Settings that are no part of a run, by section, and the way to set them."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting.

    Attributes:
        name: Its dotted name.
        kind: Its type, or the values that it may have.
        default: Its default, as ``--set`` takes it.
        meaning: Its meaning.
        presets: Its value in each preset that changes it.
        way: The way to set it.
    """

    name: str
    kind: str
    default: str
    meaning: str
    presets: Mapping[str, str] = field(default_factory=dict)
    way: str

    @property
    def section(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]

    def mentions(self, word: str) -> bool:
        """Return True if a word is in its name or meaning, or names a preset that changes it."""
        return word.casefold() in f"{self.name} {self.meaning}".casefold() or word in self.presets


def settings(word: str | None = None) -> tuple[Setting, ...]:
    """List every setting with its default and meaning, those of a run first.

    Args:
        word: Only settings with this word in their name or meaning, or changed by the preset of this name.

    Raises:
        ConfigError: No setting has the word.
    """
    known = tuple(_all())
    found = known if word is None else tuple(setting for setting in known if setting.mentions(word))
    if not found:
        words = {part for setting in known for part in (setting.name, *setting.name.split("."))}
        similar = did_you_mean(str(word), {*words, *PRESETS})
        remedy = similar or "list all settings with `clipada settings`"
        raise ConfigError(f"no setting with {word!r}", expected="a word of its name or meaning", remedy=remedy)
    return found


def _all() -> Iterator[Setting]:
    config = Config()
    for section in fields(config):
        yield from _section(section.name, getattr(config, section.name), OF_A_RUN)
    for name, (default, way) in OTHERS.items():
        yield from _section(name, default, way)


def _section(name: str, default: Any, way: str) -> Iterator[Setting]:
    for one in meanings(default, f"{name}."):
        presets: dict[str, str] = {
            preset: written(changes[one.name])
            for preset, changes in PRESETS.items()
            if way == OF_A_RUN and one.name in changes
        }
        yield Setting(
            name=one.name, kind=one.kind, default=written(one.default), meaning=one.text, presets=presets, way=way
        )
