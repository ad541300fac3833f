"""The ratios as an SVG chart: a bar for each work and peer, on a logarithmic scale around 1."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from .report import Comparison

__all__ = ["draw"]

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 920, 450, 70, 15, 14
_COLOURS = {
    "nchan": "#3b6fb6",
    "better-sse": "#4f9d69",
    "aiohttp-sse": "#c98a2b",
    "starlette-redis": "#b5493f",
    "bare-aiohttp": "#7a7a7a",
}


def draw(comparisons: Sequence[Comparison]) -> str:
    """Return the chart: bars to the right of the line are better than that peer, those to the left are worse."""
    first = [one for one in comparisons if one.figure is one.work.figures[0]]
    scale = [log10(one.times_better) for one in first] or [0.0]
    low, high = min(-1, floor(min(scale))), max(1, ceil(max(scale)))

    def across(exponent: float) -> float:
        return _LEFT + (exponent - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    bars, y, work = [], 58, ""
    for one in first:
        if one.work.name != work:
            work = one.work.name
            y += _GAP
            bars.append(f'<text x="{_LEFT - 12}" y="{y + 11}" text-anchor="end">{escape(one.work.title)}</text>')
        at, end = across(0), across(log10(one.times_better))
        bars.append(
            f'<rect x="{min(at, end):.1f}" y="{y}" width="{abs(end - at):.1f}" height="{_BAR - 2}"'
            f' fill="{_COLOURS[one.peer]}"><title>{escape(one.title)}: {one.times_better:.2f}</title></rect>'
        )
        side, shift = ("start", 4) if end >= at else ("end", -4)
        number = f"{one.times_better:.1f}" if one.times_better >= 10 else f"{one.times_better:.2f}"
        bars.append(f'<text x="{end + shift:.1f}" y="{y + 11}" text-anchor="{side}">{number} ×</text>')
        y += _BAR
    height = y + 30
    lines = [
        f'<line x1="{across(exponent):.1f}" y1="50" x2="{across(exponent):.1f}" y2="{y + 6}"'
        f' class="{"one" if exponent == 0 else "tick"}"/>'
        f'<text x="{across(exponent):.1f}" y="{y + 20}" text-anchor="middle">{10**exponent:g} ×</text>'
        for exponent in range(low, high + 1)
    ]
    legend, x = [], 20
    for peer, title in dict.fromkeys((one.peer, one.title) for one in first):
        legend.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{_COLOURS[peer]}"/>')
        legend.append(f'<text x="{x + 16}" y="42">{escape(title)}</text>')
        x += 40 + 7 * len(title)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            f' height="{height}" font-family="system-ui, sans-serif" font-size="12">',
            "<style>text{fill:#222}.bg{fill:#fff}.tick{stroke:#ddd}.one{stroke:#222}"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#161616}.tick{stroke:#333}.one{stroke:#ddd}}"
            "</style>",
            f'<rect class="bg" width="{_WIDTH}" height="{height}"/>',
            '<text x="20" y="20" font-size="15">notifier_service next to its peers: right of the line is better</text>',
            *legend,
            *lines,
            *bars,
            "</svg>",
            "",
        ]
    )
