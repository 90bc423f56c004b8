"""All settings and their defaults: the method's, its presets, the baselines', and those that are no part of a run."""

from clipada.config.baselines import (
    BASELINE_NAMES,
    BaselineName,
    BaselinesConfig,
    BaselineSettings,
    DraemConfig,
    MemoryBankConfig,
    ReconstructionConfig,
    ScheduleConfig,
    ZeroShotConfig,
)
from clipada.config.calibration import (
    CalibrationCheckConfig,
    CalibrationConfig,
    CalibrationMode,
    CrossFitConfig,
    DriftConfig,
)
from clipada.config.demo import ContactSheetConfig, DemoConfig
from clipada.config.engine import (
    EngineKeywords,
    EngineName,
    EngineOptions,
    EnginePrecision,
    ExportConfig,
    RuntimeName,
)
from clipada.config.history import HistoryConfig, Keep, SinkConfig, WatchConfig, Word
from clipada.config.input_check import InputCheckConfig
from clipada.config.inspection import InspectionConfig, ViewName
from clipada.config.memory import Copies, FilterConfig, MemoryConfig, Selection
from clipada.config.method import ComparedAt, Config, Fusion, ScoringConfig, SynthesisConfig, setting_names
from clipada.config.model import (
    DEFAULT_IMAGE_SIZE,
    EMBEDDED_BACKBONE,
    Attention,
    AttentionSpace,
    BackboneConfig,
    Direction,
    ImageSize,
    Levels,
    ModelConfig,
    PromptConfig,
    Similarity,
    Tokens,
)
from clipada.config.predict import BatchConfig, PredictConfig, Shard
from clipada.config.presets import DEFAULT_PRESET, DEFAULT_VISION_PRESET, PRESETS, Preset
from clipada.config.product_baselines import (
    PRODUCT_BASELINE_NAMES,
    AnomalyDinoConfig,
    PatchcoreConfig,
    ProductBaselineName,
)
from clipada.config.protocol import ProtocolConfig
from clipada.config.runtime import RuntimeConfig, cores
from clipada.config.server import ServeConfig
from clipada.config.start import StartConfig
from clipada.config.stress import AugmentConfig, PerturbationConfig, PerturbationKind, StressConfig
from clipada.config.training import LossResolution, Precision, TrainingConfig, Tune

__all__ = [
    "BASELINE_NAMES",
    "DEFAULT_IMAGE_SIZE",
    "DEFAULT_PRESET",
    "DEFAULT_VISION_PRESET",
    "EMBEDDED_BACKBONE",
    "PRESETS",
    "PRODUCT_BASELINE_NAMES",
    "AnomalyDinoConfig",
    "Attention",
    "AttentionSpace",
    "AugmentConfig",
    "BackboneConfig",
    "BaselineName",
    "BaselineSettings",
    "BaselinesConfig",
    "BatchConfig",
    "CalibrationCheckConfig",
    "CalibrationConfig",
    "CalibrationMode",
    "ComparedAt",
    "Config",
    "ContactSheetConfig",
    "Copies",
    "CrossFitConfig",
    "DemoConfig",
    "Direction",
    "DraemConfig",
    "DriftConfig",
    "EngineKeywords",
    "EngineName",
    "EngineOptions",
    "EnginePrecision",
    "ExportConfig",
    "FilterConfig",
    "Fusion",
    "HistoryConfig",
    "ImageSize",
    "InputCheckConfig",
    "InspectionConfig",
    "Keep",
    "Levels",
    "LossResolution",
    "MemoryBankConfig",
    "MemoryConfig",
    "ModelConfig",
    "PatchcoreConfig",
    "PerturbationConfig",
    "PerturbationKind",
    "Precision",
    "PredictConfig",
    "Preset",
    "ProductBaselineName",
    "PromptConfig",
    "ProtocolConfig",
    "ReconstructionConfig",
    "RuntimeConfig",
    "RuntimeName",
    "ScheduleConfig",
    "ScoringConfig",
    "Selection",
    "ServeConfig",
    "Shard",
    "Similarity",
    "SinkConfig",
    "StartConfig",
    "StressConfig",
    "SynthesisConfig",
    "Tokens",
    "TrainingConfig",
    "Tune",
    "ViewName",
    "WatchConfig",
    "Word",
    "ZeroShotConfig",
    "cores",
    "setting_names",
]
