"""Lines over rounds, as SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 44
_COLOURS = ("#2f6fb0", "#e58a2c", "#3d9a5f", "#c8504b", "#8067b5")
_STEPS = 4
"""Lines of the grid."""

Points = Sequence[tuple[float, float]]
"""(round, value), by round; values that are not finite are left out."""


def draw_lines(title: str, series: Mapping[str, Points]) -> str:
    """Draws each series as a line of its own; a series without points has only its name in the legend.

    Args:
        title: stands above.
        series: name -> points. At most as many as there are colours.
    """
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    everything = [point for points in finite.values() for point in points]
    body = _plot(finite, everything) if everything else ['<text x="56" y="140">no figures</text>']
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">',
            f'<text x="{_LEFT}" y="18" class="title">{escape(title)}</text>',
            *body,
            *_legend(list(finite)),
            "</svg>",
        ]
    )


def _plot(series: Mapping[str, Points], everything: Points) -> list[str]:
    first, last = min(x for x, _ in everything), max(x for x, _ in everything)
    low, high = _round_out(min(y for _, y in everything), max(y for _, y in everything))
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (right - _LEFT) * ((point[0] - first) / (last - first) if last > first else 0.5)
        return x, bottom - (bottom - _TOP) * (point[1] - low) / (high - low)

    lines = []
    for step in range(_STEPS + 1):
        value = low + (high - low) * step / _STEPS
        _, y = place((first, value))
        lines.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    lines.append(f'<text x="{_LEFT}" y="{bottom + 16}">round {first:g}</text>')
    lines.append(f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{last:g}</text>')
    for (name, points), colour in zip(series.items(), _COLOURS, strict=False):
        places = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if places:
            x, y = places[-1]
            tip = f"{escape(name)} {points[-1][1]:.4g} in round {points[-1][0]:g}"
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{tip}</title></circle>')
    return lines


def _legend(names: Sequence[str]) -> list[str]:
    lines, x = [], float(_LEFT)
    for name, colour in zip(names, _COLOURS, strict=False):
        lines.append(f'<rect x="{x:.0f}" y="{HEIGHT - 16}" width="10" height="10" fill="{colour}"/>')
        lines.append(f'<text x="{x + 14:.0f}" y="{HEIGHT - 7}">{escape(name)}</text>')
        x += 14 + 7.5 * len(name) + 18
    return lines


def _round_out(low: float, high: float) -> tuple[float, float]:
    """Widens a range to multiples of a round step, so that the grid's numbers can be read."""
    span = high - low or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / _STEPS))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * step * _STEPS >= span)
    bottom = math.floor(low / step) * step
    return bottom, bottom + step * _STEPS * (1 if bottom + step * _STEPS >= high else 2)
