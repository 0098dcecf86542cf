"""What a look at the topics brings to light."""

from typing import Literal, NamedTuple

Level = Literal["ok", "found", "unknown", "warning", "error"]
"""What is *found* exists, and more is said about it. A *warning* names what will be lost, or stop, on a bad day; an
*error* keeps the worker from working."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    subject: str
    message: str
    command: str | None = None
    """What mends it, if one command does."""
