"""The configuration of each command, made of small dataclasses. A field is a flag."""

from softgrpo.config.commands import (
    AuditConfig,
    EvaluateConfig,
    RejudgeConfig,
    ReportConfig,
    RescoreConfig,
    SampleConfig,
)
from softgrpo.config.serving import ServeConfig
from softgrpo.config.train import TrainConfig

__all__ = [
    "AuditConfig",
    "EvaluateConfig",
    "RejudgeConfig",
    "ReportConfig",
    "RescoreConfig",
    "SampleConfig",
    "ServeConfig",
    "TrainConfig",
]
