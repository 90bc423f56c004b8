"""Reports for people: overlays, tables, the HTML report and the model card."""

from clipada.inspection.overlays import blend_heat, draw_outlines, heat_colors, map_to_16bit, overlay
from clipada.report.card import model_card, run_summary
from clipada.report.guarantee import calibration_summary, change_summary
from clipada.report.html import Report, write_report
from clipada.report.parts import Parts
from clipada.report.reading import read_scores, read_verdicts
from clipada.report.tables import COLUMNS as METRIC_COLUMNS
from clipada.report.tables import metrics_markdown

__all__ = [
    "METRIC_COLUMNS",
    "Parts",
    "Report",
    "blend_heat",
    "calibration_summary",
    "change_summary",
    "draw_outlines",
    "heat_colors",
    "map_to_16bit",
    "metrics_markdown",
    "model_card",
    "overlay",
    "read_scores",
    "read_verdicts",
    "run_summary",
    "write_report",
]
