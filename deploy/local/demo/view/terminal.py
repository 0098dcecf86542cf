"""The live view on a terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from deploy.local.demo.scene import Scene
from deploy.local.demo.view.panels import draw

INTERVAL_SECONDS = 0.25


class TerminalView:
    """Redraws in place; the last picture stays. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._next_seconds = 0.0

    def show(self, scene: Scene) -> None:
        """Draws, unless it has just drawn."""
        now_seconds = time.monotonic()
        if now_seconds >= self._next_seconds:
            self._next_seconds = now_seconds + INTERVAL_SECONDS
            self.draw(scene)

    def draw(self, scene: Scene) -> None:
        """Draws."""
        width, height = self._console.size
        # One line less than the terminal has: the line of the cursor.
        self._live.update(draw(scene, width=width, height=height - 1), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()
