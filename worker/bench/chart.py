"""The figures as a picture, SVG: a bar for each rate with its spread, and the CPU time of a record by stage."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from worker.bench.figures import Figures, Stages, Throughput

WIDTH, LABELS, VALUES, ROW, MARGIN = 860, 290, 140, 24, 14
LENGTH = WIDTH - LABELS - VALUES
"""Of the longest bar."""
COLORS = {
    "model": "#969696",
    "memory": "#bdbdbd",
    "at-least-once": "#92c5de",
    "exactly-once": "#2166ac",
    "processes": "#053061",
    "slices": "#4393c3",
    "peer": "#d6604d",
}
STAGE_COLORS = ("#2166ac", "#4393c3", "#92c5de", "#1b7837", "#a6dba0", "#e08214", "#b2182b", "#999999")
"""Of the stages in their order; a ninth begins anew."""
LEGEND_WIDTH = 92
INK = "#222222"


class Picture:
    """Rows of shapes, from top to bottom."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._top = MARGIN

    def end_row(self) -> None:
        """What is drawn next stands one row further down."""
        self._top += ROW

    def write(self, text: str, *, x: float, anchor: str = "start", weight: str = "normal") -> None:
        """Writes into the row."""
        place = f'x="{x:.1f}" y="{self._top + ROW - 8}" text-anchor="{anchor}" font-weight="{weight}"'
        self._parts.append(f"<text {place}>{escape(text)}</text>")

    def fill(self, *, x: float, width: float, color: str, name: str) -> None:
        """Draws a box into the row, which tells its name to who points at it."""
        place = f'x="{x:.1f}" y="{self._top + 3}" width="{max(width, 0):.1f}" height="{ROW - 6}"'
        self._parts.append(f'<rect {place} fill="{color}"><title>{escape(name)}</title></rect>')

    def span(self, *, low: float, high: float) -> None:
        """Draws a line through the row."""
        self._parts.append(f'<path d="M{low:.1f} {self._top + ROW // 2}H{high:.1f}" stroke="{INK}" stroke-width="2"/>')

    def render(self) -> str:
        """The whole picture, on a ground of its own."""
        size = f'width="{WIDTH}" height="{self._top + MARGIN}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="{INK}">'
        ground = f'<path d="M0 0H{WIDTH}V{self._top + MARGIN}H0Z" fill="white"/>'
        return "\n".join([head, ground, *self._parts, "</svg>\n"])


def draw(figures: Figures) -> str:
    """The rates and the stages, as far as there are any."""
    picture = Picture()
    if figures.throughput:
        _draw_rates(picture, figures.throughput)
    if figures.stages:
        picture.end_row()
        _draw_stages(picture, figures.stages)
    return picture.render()


def _draw_rates(picture: Picture, throughput: Sequence[Throughput]) -> None:
    picture.write("records a second: median, lowest to highest, and share of the model alone", x=MARGIN, weight="bold")
    picture.end_row()
    scale = LENGTH / max(each.high for each in throughput)
    for each in throughput:
        ratio = "" if each.ratio is None else f"  ({each.ratio:.2f})"
        picture.write(each.title, x=LABELS - 8, anchor="end")
        picture.fill(x=LABELS, width=each.median * scale, color=COLORS[each.layer], name=each.title)
        picture.span(low=LABELS + each.low * scale, high=LABELS + each.high * scale)
        picture.write(f"{each.median:,.0f}{ratio}", x=LABELS + each.high * scale + 8)
        picture.end_row()


def _draw_stages(picture: Picture, stages: Sequence[Stages]) -> None:
    picture.write("microseconds of CPU time a record, by stage of the worker", x=MARGIN, weight="bold")
    picture.end_row()
    names = list(dict.fromkeys(name for each in stages for name in each.microseconds))
    colors = {name: STAGE_COLORS[number % len(STAGE_COLORS)] for number, name in enumerate(names)}
    scale = LENGTH / max(sum(each.microseconds.values()) for each in stages)
    for each in stages:
        picture.write(each.client, x=LABELS - 8, anchor="end")
        x = float(LABELS)
        for name, microseconds in each.microseconds.items():
            told = f"{name}: {microseconds:.1f}"
            picture.fill(x=x, width=microseconds * scale, color=colors[name], name=told)
            x += microseconds * scale
        picture.write(f"{each.total:.1f}", x=x + 8)
        picture.end_row()
    for number, (name, color) in enumerate(colors.items()):
        x = MARGIN + number * LEGEND_WIDTH
        picture.fill(x=x, width=10, color=color, name=name)
        picture.write(name, x=x + 14)
    picture.end_row()
