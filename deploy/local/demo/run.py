"""The machinery of a demo: its children, its threads, its stages, and waiting for them without going blind.

The main thread waits only in `Run.wait`: there it shows how far everything is and looks after children and threads, so
whatever fails early ends the demo at once, and Ctrl-C always finds it where it can clean up.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from deploy.local.demo.background import Background
from deploy.local.demo.crew import Crew
from deploy.local.demo.errors import DemoError
from deploy.local.demo.options import Options
from deploy.local.demo.scene import Scene
from deploy.local.demo.stages import Stage
from deploy.local.processes import ChildProcess

PULSE_SECONDS = 0.05
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


class Run:
    """A demo at work; use it as a context manager. The end of the block ends everything that was started."""

    def __init__(self, options: Options, directory: Path, scene: Scene, *, show: Callable[[Scene], None]) -> None:
        """
        Args:
            options: what was asked for.
            directory: for everything that is made on the way.
            scene: what there is to see; kept up to date.
            show: called many times a second.
        """
        self.options = options
        self.directory = directory
        self.scene = scene
        self._cleanup = ExitStack()
        self.afterwards = self._cleanup.enter_context(ExitStack())
        """Takes what is to be done when all children have ended."""
        self.crew = self._cleanup.enter_context(Crew(directory))
        self._show = show
        self._backgrounds: list[Background] = []

    def begin(
        self, title: str, purpose: str, *, child: ChildProcess | None = None, progress: str | None = None
    ) -> Stage:
        """Adds a `Stage` that is under way."""
        stage = Stage(title, purpose, child=child, progress=progress)
        self.scene.stages.append(stage)
        return stage

    def start_background(self, name: str, work: Callable[[threading.Event], None]) -> Background:
        """Starts a thread that is looked after from now on."""
        background = self._cleanup.enter_context(Background(name, work))
        self._backgrounds.append(background)
        return background

    def wait(
        self, condition: Callable[[], bool], *, limit_seconds: float | None = None, otherwise: Callable[[], str] = str
    ) -> None:
        """Waits until the condition holds.

        Args:
            condition: asked many times a second.
            limit_seconds: how long at most; None for no limit.
            otherwise: what to say after the limit.

        Raises:
            DemoError: the limit has passed.
            LimelightError: a child or a thread failed meanwhile.
        """
        deadline_seconds = None if limit_seconds is None else time.monotonic() + limit_seconds
        while not condition():
            self.crew.check()
            for background in self._backgrounds:
                background.check()
            if deadline_seconds is not None and time.monotonic() > deadline_seconds:
                raise DemoError(otherwise())
            self._show(self.scene)
            time.sleep(PULSE_SECONDS)
        self._show(self.scene)

    def finish(self, job: ChildProcess) -> None:
        """Waits until a job has ended well."""
        self.wait(lambda: job.status is not None)
        self.crew.check()

    def call(self, name: str, work: Callable[[], T]) -> T:
        """Calls what takes a while, such as talking to a broker, and waits for what it returns."""
        results: list[Any] = []
        background = self.start_background(name, lambda _stop: results.append(work()))
        self.wait(lambda: background.is_done)
        background.check()
        self._backgrounds.remove(background)
        result: T = results[0]
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Ending takes a moment; a second Ctrl-C would cut it short and leave things behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTIONS}
        try:
            self._cleanup.close()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
