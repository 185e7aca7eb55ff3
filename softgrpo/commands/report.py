"""`softgrpo report`: figures and one page, from what was recorded."""

from __future__ import annotations

from softgrpo.config import ReportConfig
from softgrpo.reporting.report import report


def run(config: ReportConfig) -> int:
    """Returns the exit status."""
    return report(config)
