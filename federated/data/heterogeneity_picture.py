"""A picture of a partition: one bar for each client, as tall as it has examples, coloured by their labels."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from federated.data.heterogeneity import Heterogeneity

WIDTH, HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 64, 76
_BARS = 120
"""More would be thinner than a line; then every n-th client is drawn, by size."""
_COLOURS = (
    "#2f6fb0",
    "#e58a2c",
    "#3d9a5f",
    "#c8504b",
    "#8067b5",
    "#8a6a4f",
    "#d277b0",
    "#6f7b85",
    "#b3a82e",
    "#35a3b5",
)
"""Colours that can be told apart; further labels share the grey."""
_OTHER = "#c9ced3"


def draw(counts: NDArray[np.int64], labels: Sequence[str], figures: Heterogeneity) -> str:
    """Draws the clients, the largest first, as SVG.

    Args:
        counts: examples of each client with each label, `[K, C]`.
        labels: name of each label.
        figures: of the same clients, for the caption.
    """
    ranked = counts[np.argsort(-counts.sum(axis=1), kind="stable")]
    shown = ranked[np.unique(np.linspace(0, len(ranked) - 1, min(_BARS, len(ranked))).round().astype(int))]
    most = int(shown.sum(axis=1).max())
    sizes, distance = figures.sizes, figures.label_distance
    title = f"{figures.clients:,} clients, {figures.examples:,} examples"
    subtitle = (
        f"examples of a client: median {sizes.p50:,.0f}, largest {sizes.max:,.0f}, Gini {figures.size_gini:.2f}; "
        f"distance of its labels from everybody's: median {distance.p50:.2f}, p95 {distance.p95:.2f}"
    )
    style = 'font-family="sans-serif" font-size="13" fill="#1f2933"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="16" font-weight="bold">{title}</text>',
        f'<text x="{_LEFT}" y="44">{subtitle}</text>',
        *_axis(most),
        *_bars(shown, most),
        *_legend(labels),
    ]
    if len(shown) < len(ranked):
        lines.append(
            f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="end">{len(shown)} of '
            f"{len(ranked):,} clients, by size</text>"
        )
    return "\n".join([*lines, "</svg>\n"])


def _axis(most: int) -> list[str]:
    """Four lines with the numbers of examples they stand for."""
    bottom = HEIGHT - _BOTTOM
    lines = []
    for step in range(5):
        y = bottom - (bottom - _TOP) * step / 4
        lines.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7eb"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * step / 4:,.0f}</text>')
    return lines


def _bars(counts: NDArray[np.int64], most: int) -> list[str]:
    bottom = HEIGHT - _BOTTOM
    scale = (bottom - _TOP) / most
    step = (WIDTH - _LEFT - _RIGHT) / len(counts)
    bars = []
    for index, row in enumerate(counts.tolist()):
        y = float(bottom)
        for label, count in enumerate(row):
            if count:
                y -= count * scale
                bars.append(
                    f'<rect x="{_LEFT + index * step:.2f}" y="{y:.2f}" width="{max(step * 0.85, 0.5):.2f}" '
                    f'height="{count * scale:.2f}" fill="{_colour(label)}"/>'
                )
    return bars


def _legend(labels: Sequence[str]) -> list[str]:
    """Names of as many labels as have colours of their own, in two rows."""
    named = [*labels[: len(_COLOURS)], *(["others"] if len(labels) > len(_COLOURS) else [])]
    columns = -(-len(named) // 2) if len(named) > 6 else len(named)
    width = (WIDTH - _LEFT - _RIGHT) / max(columns, 1)
    lines = []
    for index, label in enumerate(named):
        x, y = _LEFT + index % columns * width, HEIGHT - 32 + index // columns * 20
        text = label if len(label) * 8 < width - 20 else f"{label[: int(width - 28) // 8]}…"
        lines.append(f'<rect x="{x:.0f}" y="{y - 10}" width="11" height="11" fill="{_colour(index)}"/>')
        lines.append(f'<text x="{x + 16:.0f}" y="{y}">{escape(text)}</text>')
    return lines


def _colour(label: int) -> str:
    return _COLOURS[label] if label < len(_COLOURS) else _OTHER
