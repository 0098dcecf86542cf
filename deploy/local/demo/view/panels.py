"""The picture of a demo, made of rich's tables. Pure: the same scene gives the same picture."""

import re

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.local.demo.figures import Figures, Sentence, WorkerRow
from deploy.local.demo.scene import Scene
from deploy.local.demo.stages import Stage
from deploy.local.demo.view.tint import printable, tint

MAX_SENTENCES = 12
MIN_SENTENCES = 3
SHORT_VERSION = 8
NARROW = 72
"""Columns below which less is shown side by side."""
SCORE_WIDTH = 6
"""Columns of the score and of the space around it."""
MIB = 1024 * 1024

_ROUND = re.compile(r"round (\d+)/(\d+)")


def draw(scene: Scene, *, width: int, height: int) -> RenderableType:
    """The whole picture.

    Args:
        scene: what there is to see.
        width: columns of the terminal.
        height: lines of the terminal; as many sentences are shown as fit.
    """
    figures = scene.figures()
    parts: list[RenderableType] = [_header(scene, figures)]
    if figures.records_in == 0:
        return Group(*parts, _stages(scene.stages))
    parts += [_steps(scene.stages), Text(), _numbers(figures, width), Text(), _workers(figures.workers, width)]
    used = 9 + len(figures.workers) + (3 if width < NARROW else 0)
    rows = min(MAX_SENTENCES, max(MIN_SENTENCES, height - used))
    return Group(*parts, Text(), _sentences(figures.sentences[:rows], width))


def _header(scene: Scene, figures: Figures) -> RenderableType:
    title = Text.assemble(("Limelight", "bold"), no_wrap=True, overflow="ellipsis")
    if scene.broker:
        title.append("  ").append(scene.broker, "cyan")
    if figures.model:
        model = figures.model
        title.append("  ").append(f"{model.name} {model.version[:SHORT_VERSION]}, round {model.round}", "magenta")
    minutes, seconds = divmod(int(scene.uptime_seconds), 60)
    row = Table.grid(expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right")
    row.add_row(title, Text(f" up {minutes}:{seconds:02}", "dim"))
    return row


def _stages(stages: list[Stage]) -> RenderableType:
    """One line for each step, while there is nothing better to see."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for stage in stages:
        mark = Text("✓", "green") if stage.is_done else Text("●", "yellow")
        seconds = Text(f"{stage.seconds:.1f} s", "dim")
        table.add_row(mark, Text(stage.title, "bold"), Text(printable(stage.detail)), seconds)
        if not stage.is_done and (rounds := _ROUND.search(stage.detail)):
            table.add_row("", "", ProgressBar(total=int(rounds[2]), completed=int(rounds[1])), "")
    return Padding(table, (1, 0))


def _steps(stages: list[Stage]) -> RenderableType:
    """All steps on one line."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for stage in stages:
        line.append("✓" if stage.is_done else "●", "green" if stage.is_done else "yellow").append(" ")
        line.append(f"{stage.title} {stage.seconds:.0f} s", "dim").append("  ")
    return line


def _numbers(figures: Figures, width: int) -> RenderableType:
    cells = {
        "records/s": f"{figures.records_per_second:,.0f}",
        "records": f"{figures.records_in:,}",
        "dead letters": f"{figures.dead_letters:,}",
        "lag": f"{figures.lag_records:,}",
        "latency p50": _milliseconds(figures.latency_p50_ms),
        "latency p99": _milliseconds(figures.latency_p99_ms),
        "accuracy": "-" if figures.accuracy is None else f"{figures.accuracy:.1%}",
    }
    names = list(cells)
    rows = [names] if width >= NARROW else [names[:4], names[4:]]
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    for _ in rows[0]:
        table.add_column(ratio=1, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cells[name], "bold") for name in row))
        table.add_row(*(Text(name, "dim") for name in row))
    return table


def _workers(workers: tuple[WorkerRow, ...], width: int) -> RenderableType:
    table = Table(box=None, padding=(0, 1 if width < NARROW else 2, 0, 0), header_style="dim")
    table.add_column("worker", no_wrap=True)
    table.add_column("partitions", no_wrap=True)
    for heading in ("records/s", "lag", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for worker in workers:
        table.add_row(
            worker.instance,
            " ".join(map(str, worker.partitions)) or "-",
            f"{worker.records_per_second:,.0f}",
            f"{worker.lag_records:,}",
            f"{worker.rss_bytes / MIB:.0f} MiB",
        )
    return table


def _sentences(sentences: tuple[Sentence, ...], width: int) -> RenderableType:
    """The latest answers; a label that is wrong is red, with the right one beside it."""
    label_width = 10 if width < NARROW else 18
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=label_width, no_wrap=True, overflow="ellipsis")
    table.add_column(width=4, justify="right")
    table.add_column(no_wrap=True)
    for sentence in sentences:
        is_right = sentence.label == sentence.truth
        label = Text().append(printable(sentence.label), "green" if is_right else "red")
        if not is_right:
            label.append(" ").append(f"≠ {printable(sentence.truth)}", "dim")
        text = tint(sentence.text, sentence.attention, width=width - label_width - SCORE_WIDTH)
        table.add_row(label, Text(f"{sentence.score:.0%}", "dim"), text)
    return table


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
