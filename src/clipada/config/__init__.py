"""All settings and their defaults: the method's, its presets, the baselines', and those that are no part of a run."""

from clipada.config.baselines import (
    BASELINE_NAMES,
    BaselineName,
    BaselinesConfig,
    DraemConfig,
    MemoryBankConfig,
    ReconstructionConfig,
    ScheduleConfig,
    ZeroShotConfig,
)
from clipada.config.calibration import CalibrationConfig, CalibrationMode, DriftConfig, HistoryConfig, Keep
from clipada.config.line import SinkConfig, WatchConfig
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
from clipada.config.predicting import PredictConfig, Shard
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
from clipada.config.serving import ServeConfig
from clipada.config.training import LossResolution, Precision, TrainingConfig, Tune

__all__ = [
    "BASELINE_NAMES",
    "EMBEDDED_BACKBONE",
    "PRESETS",
    "Attention",
    "AttentionSpace",
    "BackboneConfig",
    "BaselineName",
    "BaselinesConfig",
    "CalibrationConfig",
    "CalibrationMode",
    "Config",
    "DemoConfig",
    "DraemConfig",
    "DriftConfig",
    "EngineConfig",
    "EngineName",
    "EnginePrecision",
    "ExportConfig",
    "Fusion",
    "HistoryConfig",
    "Keep",
    "LossResolution",
    "MemoryBankConfig",
    "ModelConfig",
    "Precision",
    "PredictConfig",
    "Preset",
    "PromptConfig",
    "ReconstructionConfig",
    "RuntimeConfig",
    "RuntimeName",
    "ScheduleConfig",
    "ScoringConfig",
    "ServeConfig",
    "Shard",
    "Similarity",
    "SinkConfig",
    "SynthesisConfig",
    "TrainingConfig",
    "Tune",
    "WatchConfig",
    "ZeroShotConfig",
    "cores",
    "setting_names",
]
