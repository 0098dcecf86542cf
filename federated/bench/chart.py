"""The times as bars, in SVG: a logarithmic axis, one block for each shape."""

import math
from collections.abc import Sequence
from typing import Protocol
from xml.sax.saxutils import escape

WIDTH, LABELS, BAR, GAP, MARGIN = 720, 190, 18, 14, 16
COLORS = {"xla": "#1b7837", "tff_default": "#762a83", "tff_iterator": "#9970ab", "tff_packed": "#c2a5cf"}


class Bar(Protocol):
    """What a bar stands for, see `federated.bench.measure.Result`."""

    shape: str
    contestant: str
    median_seconds: float


def draw(results: Sequence[Bar], descriptions: dict[str, str]) -> str:
    """
    Args:
        results: at least one.
        descriptions: shape -> its heading.
    """
    low = 10 ** math.floor(math.log10(min(result.median_seconds for result in results)))
    high = 10 ** math.ceil(math.log10(max(result.median_seconds for result in results)))
    span = math.log10(high / low) or 1
    parts, top, shape = [], MARGIN, ""
    for result in results:
        if result.shape != shape:
            shape = result.shape
            top += GAP
            parts.append(f'<text x="{MARGIN}" y="{top}" font-weight="bold">{escape(descriptions[shape])}</text>')
            top += GAP // 2
        length = max(math.log10(result.median_seconds / low) / span * (WIDTH - LABELS - 100), 1)
        middle = top + BAR - 5
        color = COLORS[result.contestant]
        parts += [
            f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(result.contestant)}</text>',
            f'<rect x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR - 4}" fill="{color}"/>',
            f'<text x="{LABELS + length + 6:.1f}" y="{middle}">{result.median_seconds * 1e3:,.0f} ms</text>',
        ]
        top += BAR
    note = f"milliseconds a round, median, logarithmic from {low * 1e3:g} to {high * 1e3:g}"
    parts.append(f'<text x="{LABELS}" y="{top + GAP}" fill="#666">{note}</text>')
    height = top + GAP + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
    )
