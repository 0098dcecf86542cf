"""What there is to see of a demo, whoever draws it."""

import time
from collections.abc import Callable

from deploy.local.demo.figures import Figures
from deploy.local.demo.stages import Stage


class Scene:
    """Changed by the route, read by the views."""

    def __init__(self) -> None:
        self.broker = ""
        """Name, version and address, once it runs."""
        self.stages: list[Stage] = []
        self.figures: Callable[[], Figures] = Figures
        """The stream as it is now; nothing but zeros before it runs."""
        self._started_seconds = time.monotonic()

    @property
    def uptime_seconds(self) -> float:
        """Since the demo was started."""
        return time.monotonic() - self._started_seconds
