"""The configuration of each command, made of small dataclasses. A field is a flag."""

from softgrpo.config.commands import AuditConfig, EvaluateConfig, ReportConfig, RescoreConfig, SampleConfig
from softgrpo.config.train import TrainConfig

__all__ = ["AuditConfig", "EvaluateConfig", "ReportConfig", "RescoreConfig", "SampleConfig", "TrainConfig"]
