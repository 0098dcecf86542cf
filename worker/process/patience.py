"""Patience at a start: with brokers that start together with the worker, and with an identity provider that is away."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from worker.errors import LimelightError

OPEN_SECONDS = 30.0
"""Brokers that are starting let a client in before the coordinator of its transactions has loaded what it knows."""
OPEN_AGAIN_SECONDS = 0.5
STEP_SECONDS = 0.05
"""A signal is noticed after so long."""

log = structlog.get_logger("worker")

T = TypeVar("T")


def open_patiently(open_once: Callable[[], T], *, is_stopping: Callable[[], bool]) -> T:
    """Returns what `open_once` opens, which is called again after an error that may pass.

    Raises:
        LimelightError: it does not pass, lasts for `OPEN_SECONDS`, or the process was asked to stop meanwhile.
    """
    end_seconds = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            return open_once()
        except LimelightError as error:
            if not error.retriable or time.monotonic() >= end_seconds:
                raise
            log.warning("cannot open, trying again", reason=str(error))
            again_seconds = time.monotonic() + OPEN_AGAIN_SECONDS
            while time.monotonic() < again_seconds and not is_stopping():
                time.sleep(STEP_SECONDS)
            if is_stopping():
                raise
