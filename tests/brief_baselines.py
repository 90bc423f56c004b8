"""Settings of baselines that train in seconds."""

from clipada.config import (
    BaselinesConfig,
    DraemConfig,
    MemoryBankConfig,
    ReconstructionConfig,
    ScheduleConfig,
    SynthesisConfig,
)

RECONSTRUCTION = ReconstructionConfig(
    width=16,
    heads=2,
    feedforward=32,
    encoder_layers=1,
    decoder_layers=2,
    neighbourhood=3,
    schedule=ScheduleConfig(epochs=60, batch_size=6, learning_rate=3e-3, milestones=(50,), decay=0.1),
)
DRAEM = DraemConfig(
    width=16,
    synthesis=SynthesisConfig(anomaly_probability=0.8, lattice_exponents=3),
    schedule=ScheduleConfig(epochs=40, batch_size=6, learning_rate=2e-3, milestones=(32,), decay=0.1),
)
BRIEF = ScheduleConfig(epochs=1, batch_size=6, learning_rate=1e-3, milestones=(), decay=0.1)

_SECOND = ScheduleConfig(epochs=2, batch_size=4, learning_rate=1e-3, milestones=(1,), decay=0.1)
BASELINE_SIZES = BaselinesConfig(
    memory_bank=MemoryBankConfig(share=0.5),
    reconstruction=ReconstructionConfig(
        width=16, heads=2, feedforward=16, encoder_layers=1, decoder_layers=1, neighbourhood=3, schedule=_SECOND
    ),
    draem=DraemConfig(width=4, schedule=_SECOND),
)
"""Settings with which each baseline is fitted in about a second."""
