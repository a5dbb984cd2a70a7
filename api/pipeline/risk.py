"""The risk area that a round declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagery.grid import Grid
from imagery.riskarea import Measure, RiskRule, write_risk_area
from survey.errors import ConfigError
from survey.readers import read_shapes
from survey.rounds import Round

__all__ = ["round_risk_area"]

_FILE = "risk_area.tif"


def round_risk_area(
    declared: Round, grid: Grid, folder: Path, *, progress: Callable[[int, int], None]
) -> tuple[Path, str]:
    """Write `risk_area.tif` of a round into a folder; its path and version.

    Raises
    ------
    ConfigError
        The round declares no risk area.
    """
    if declared.risk is None:
        raise ConfigError(
            f"{declared.path.name} declares no risk area; write [risk] with a label and "
            "[[risk.rules]] (docs/imagery.md)"
        )
    rules = [
        RiskRule(
            measure=Measure(rule.measure),
            path=declared.locate(rule.file),
            low=rule.min,
            high=rule.max,
            classes=rule.classes,
        )
        for rule in declared.risk.rules
    ]
    to = folder / _FILE
    version = write_risk_area(
        rules, grid, to, label=declared.risk.label, layers=read_shapes, progress=progress
    )
    return to, version
