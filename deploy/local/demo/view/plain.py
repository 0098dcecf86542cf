"""What a log file or a pipe gets: a line for each step, and the figures every few seconds."""

import time
from typing import TextIO

from deploy.local.demo.figures import Figures
from deploy.local.demo.scene import Scene
from deploy.local.demo.stages import Stage

INTERVAL_SECONDS = 5.0


class PlainView:
    """Writes lines. `show` may be called as often as one likes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = 0
        self._running: list[Stage] = []
        self._next_seconds = time.monotonic() + INTERVAL_SECONDS

    def show(self, scene: Scene) -> None:
        """Writes what is new."""
        for stage in [stage for stage in self._running if stage.is_done]:
            self._running.remove(stage)
            self._line(scene, f"{stage.title}: {stage.detail} ({stage.seconds:.1f} s)")
        for stage in scene.stages[self._begun :]:
            self._begun += 1
            self._running.append(stage)
            self._line(scene, f"{stage.title}: {stage.detail}")
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + INTERVAL_SECONDS
            figures = scene.figures()
            running = [f"{stage.title}: {stage.detail}" for stage in self._running]
            for line in [describe(figures)] if figures.records_in else running:
                self._line(scene, line)

    def _line(self, scene: Scene, text: str) -> None:
        print(f"[{scene.uptime_seconds:6.1f} s] {text}", file=self._out, flush=True)


def describe(figures: Figures) -> str:
    """The figures in one line; a dash for what is not known yet."""
    accuracy = "-" if figures.accuracy is None else f"{figures.accuracy:.3f}"
    return (
        f"{figures.records_per_second:,.0f} records/s, {figures.predictions:,} predictions, "
        f"{figures.dead_letters:,} dead letters, lag {figures.lag_records:,}, latency p50 "
        f"{_milliseconds(figures.latency_p50_ms)} p99 {_milliseconds(figures.latency_p99_ms)}, accuracy {accuracy}"
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
