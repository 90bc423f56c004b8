"""All settings and their defaults: the method's, its presets, and those that are no part of what a run is."""

from clipada.config.calibration import CalibrationConfig, CalibrationMode, DriftConfig
from clipada.config.method import (
    Attention,
    AttentionSpace,
    BackboneConfig,
    Config,
    Fusion,
    LossResolution,
    ModelConfig,
    Precision,
    PromptConfig,
    ScoringConfig,
    Similarity,
    SynthesisConfig,
    TrainingConfig,
    setting_names,
)
from clipada.config.presets import PRESETS, Preset
from clipada.config.runtime import (
    EngineConfig,
    EngineName,
    EnginePrecision,
    ExportConfig,
    RuntimeConfig,
    RuntimeName,
    cores,
)

__all__ = [
    "PRESETS",
    "Attention",
    "AttentionSpace",
    "BackboneConfig",
    "CalibrationConfig",
    "CalibrationMode",
    "Config",
    "DriftConfig",
    "EngineConfig",
    "EngineName",
    "EnginePrecision",
    "ExportConfig",
    "Fusion",
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
    "cores",
    "setting_names",
]
