"""What can end a demo."""

from worker.errors import LimelightError


class DemoError(LimelightError):
    """The demo cannot go on."""


class ChildFailedError(DemoError):
    """A program that the demo needs ended early, or failed."""
