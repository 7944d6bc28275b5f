"""Charts of a report as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 24, 30


def line_chart(title: str, points: Sequence[tuple[float, float]], from_zero: bool = False) -> str:
    """Return a line chart of (epoch, value) pairs; with `from_zero`, the axis is 0 to 1."""
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = (0.0, 1.0) if from_zero else (min(ys), max(ys))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    first, last = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> str:
        column = _LEFT + (x - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        row = _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{column:.1f},{row:.1f}"

    line = " ".join(place(x, y) for x, y in points)
    dots = "".join(
        f'<circle cx="{place(x, y).split(",")[0]}" cy="{place(x, y).split(",")[1]}" r="2.5" fill="#0072b2"/>'
        for x, y in points[-1:]
    )
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(title)}: last value {ys[-1]:.3g}">'
        f'<text x="{_LEFT}" y="14" class="t">{escape(title)}</text>'
        f'<path d="M{_LEFT} {_TOP}V{base}H{_WIDTH - _RIGHT}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{base}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT}" y="{base + 16}">{first:g}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{base + 16}" text-anchor="end">{last:g}</text>'
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{base + 26}" text-anchor="middle">epoch</text>'
        f'<polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="1.8"/>{dots}</svg>'
    )


def bars(values: Sequence[tuple[str, float, str]]) -> str:
    """Return horizontal bars; each is (name, value, colour)."""
    highest = max((value for _, value, _ in values), default=0.0)
    if highest <= 0:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><div class="bar" style="width:{100 * value / highest:.1f}%;'
        f'background:{color}"></div></td><td class="n">{value:,.0f}</td></tr>'
        for name, value, color in values
    )
    return f'<table class="bars">{rows}</table>'
