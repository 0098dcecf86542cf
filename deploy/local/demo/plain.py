"""What a log file or a pipe gets: a line for each step, and the figures every few seconds."""

import time
from typing import TextIO

from deploy.local.demo.figures import Figures
from deploy.local.demo.run import Scene

INTERVAL_SECONDS = 5.0


class PlainView:
    """Writes lines. `show` may be called as often as one likes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = 0
        self._done: set[int] = set()
        self._next_seconds = 0.0

    def show(self, scene: Scene) -> None:
        """Writes what is new."""
        for number, stage in enumerate(scene.stages):
            if number >= self._begun:
                self._line(scene, f"{stage.title}: {stage.detail}")
                self._begun += 1
            elif stage.is_done and number not in self._done:
                self._done.add(number)
                self._line(scene, f"{stage.title}: {stage.detail} ({stage.seconds:.1f} s)")
        if time.monotonic() > self._next_seconds:
            self._next_seconds = time.monotonic() + INTERVAL_SECONDS
            figures = scene.figures()
            if figures.records_in:
                self._line(scene, describe(figures))
            else:
                for stage in scene.stages:
                    if not stage.is_done:
                        self._line(scene, f"{stage.title}: {stage.detail}")

    def _line(self, scene: Scene, text: str) -> None:
        print(f"[{scene.uptime_seconds:6.1f} s] {text}", file=self._out, flush=True)


def describe(figures: Figures) -> str:
    """The figures in one line."""
    return (
        f"{figures.records_per_second:,.0f} records/s, {figures.predictions:,} predictions, "
        f"{figures.dead_letters:,} dead letters, lag {figures.lag_records:,}, latency p50 "
        f"{figures.latency_p50_ms or 0:.0f} ms p99 {figures.latency_p99_ms or 0:.0f} ms, "
        f"accuracy {figures.accuracy or 0:.3f}"
    )
