"""How a command leaves at Ctrl-C that has nothing to clean up."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT


@contextmanager
def leaving_at_interrupt() -> Iterator[None]:
    """Ends the process at once: a KeyboardInterrupt that is raised in the middle of the client's code can be lost."""
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
