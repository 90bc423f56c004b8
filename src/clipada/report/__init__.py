"""What people look at: overlays, tables and the model card."""

from clipada.report.card import model_card, run_summary
from clipada.report.overlays import blend_heat, draw_outlines, heat_colours, map_to_16bit, overlay
from clipada.report.promise import calibration_summary
from clipada.report.tables import metrics_markdown, metrics_table

__all__ = [
    "blend_heat",
    "calibration_summary",
    "draw_outlines",
    "heat_colours",
    "map_to_16bit",
    "metrics_markdown",
    "metrics_table",
    "model_card",
    "overlay",
    "run_summary",
]
