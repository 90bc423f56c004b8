"""All settings and their defaults: the method's, its presets, and those that are no part of what a run is."""

from clipada.config.calibration import CalibrationConfig, CalibrationMode, DriftConfig, HistoryConfig, Keep
from clipada.config.method import (
    EMBEDDED_BACKBONE,
    Attention,
    AttentionSpace,
    BackboneConfig,
    Config,
    Fusion,
    ModelConfig,
    PromptConfig,
    ScoringConfig,
    Similarity,
    SynthesisConfig,
    setting_names,
)
from clipada.config.presets import PRESETS, Preset
from clipada.config.runtime import (
    DemoConfig,
    EngineConfig,
    EngineName,
    EnginePrecision,
    ExportConfig,
    RuntimeConfig,
    RuntimeName,
    cores,
)
from clipada.config.training import LossResolution, Precision, TrainingConfig, Tune

__all__ = [
    "EMBEDDED_BACKBONE",
    "PRESETS",
    "Attention",
    "AttentionSpace",
    "BackboneConfig",
    "CalibrationConfig",
    "CalibrationMode",
    "Config",
    "DemoConfig",
    "DriftConfig",
    "EngineConfig",
    "EngineName",
    "EnginePrecision",
    "ExportConfig",
    "Fusion",
    "HistoryConfig",
    "Keep",
    "LossResolution",
    "ModelConfig",
    "Precision",
    "Preset",
    "PromptConfig",
    "RuntimeConfig",
    "RuntimeName",
    "ScoringConfig",
    "Similarity",
    "SynthesisConfig",
    "TrainingConfig",
    "Tune",
    "cores",
    "setting_names",
]
