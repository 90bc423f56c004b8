"""Figure 6 of the paper: metrics over the share of the training images, as an SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from clipada.report.histogram import round_ticks
from clipada.research.paper.published import MEAN
from clipada.research.paper.results import METRICS, CellValue, TableRow

WIDTH, HEIGHT = 260, 220
"""Size of one panel's axes, in pixels."""

LEFT, TOP, BELOW = 52, 34, 44
"""Margins around a panel for labels, in pixels."""

LEAST = 1.0
"""Smallest range of a panel, in percentage points, so that a flat curve looks flat."""

Points = Mapping[float, CellValue]
"""Values by share of the training images, in percent."""


def share_curves(rows: Mapping[float, TableRow], title: str) -> str:
    """Draw one panel per metric: its mean over categories against the share, with error bars for the spread over seeds.

    Args:
        rows: A measured row by share of the training images, in percent; the one of 100 is drawn as a dashed line.
        title: Title of the document.

    Returns:
        An SVG document.
    """
    panels: list[str] = []
    for place, (metric, head) in enumerate(METRICS.items()):
        points = {share: row.figures[metric][MEAN] for share, row in rows.items() if MEAN in row.figures[metric]}
        if points:
            panels.append(_panel(head, points, place * (LEFT + WIDTH) + LEFT))
    width, height = len(METRICS) * (LEFT + WIDTH) + 16, TOP + HEIGHT + BELOW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">\n<title>{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "".join(panels) + "</svg>\n"
    )


def _panel(head: str, points: Points, left: float) -> str:
    values = [figure.value + sign * (figure.spread or 0) for figure in points.values() for sign in (-1, 1)]
    middle = (min(values) + max(values)) / 2
    ticks = round_ticks([*values, middle - LEAST / 2, middle + LEAST / 2])
    low, high = ticks[0], ticks[-1]
    largest = max((share for share in points if share < 100), default=100)

    def x(share: float) -> float:
        return round(left + WIDTH * share / (1.1 * largest), 1)

    def y(value: float) -> float:
        return round(TOP + HEIGHT * (high - value) / (high - low), 1)

    return "".join(
        [
            f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{head}, percent</text>\n',
            *(_grid_line(left, y(tick), f"{tick:g}") for tick in ticks),
            *(_label(x(share), TOP + HEIGHT + 16, f"{share:g} %") for share in points if share < 100),
            _label(left + WIDTH / 2, TOP + HEIGHT + 34, "of the training images"),
            *(_whole(left, y(figure.value)) for share, figure in points.items() if share == 100),
            _curve([(x(share), y(figure.value)) for share, figure in sorted(points.items()) if share < 100]),
            *(
                _spread(x(share), y(figure.value - figure.spread), y(figure.value + figure.spread))
                for share, figure in points.items()
                if share < 100 and figure.spread
            ),
        ]
    )


def _grid_line(left: float, y: float, label: str) -> str:
    return (
        f'<line x1="{left}" y1="{y}" x2="{left + WIDTH}" y2="{y}" stroke="#ddd"/>\n'
        f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{label}</text>\n'
    )


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>\n'


def _whole(left: float, y: float) -> str:
    """Draw the line of all training images."""
    return (
        f'<line x1="{left}" y1="{y}" x2="{left + WIDTH}" y2="{y}" stroke="#888" stroke-dasharray="5 4"/>\n'
        f'<text x="{left + WIDTH}" y="{y - 4}" text-anchor="end" fill="#666">100 %</text>\n'
    )


def _curve(points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.5" fill="#0b63b5"/>\n' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="#0b63b5" stroke-width="2"/>\n{dots}'


def _spread(x: float, low: float, high: float) -> str:
    return f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" stroke="#0b63b5"/>\n'
