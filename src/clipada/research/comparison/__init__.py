"""Comparison of runs and baselines on the same test images, with paired intervals of their differences."""

from clipada.research.comparison.folders import MethodFolder, MethodScores
from clipada.research.comparison.methods import (
    ComparedBaseline,
    ScoringOptions,
    finish_baseline,
    parse_baseline,
    score_engine,
    with_budget,
)
from clipada.research.comparison.table import (
    COLUMNS,
    ComparedMethod,
    compared_methods,
    difference,
    percent,
    write_comparison,
)

__all__ = [
    "COLUMNS",
    "ComparedBaseline",
    "ComparedMethod",
    "MethodFolder",
    "MethodScores",
    "ScoringOptions",
    "compared_methods",
    "difference",
    "finish_baseline",
    "parse_baseline",
    "percent",
    "score_engine",
    "with_budget",
    "write_comparison",
]
