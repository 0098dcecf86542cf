"""Being asked to stop: by SIGTERM or Ctrl-C, once, twice, or in vain.

::

    first signal, or an error ──> the caller ends ─────────┬── in time ──> it returns
         │                                                 └── not in time ──> the process ends with status 1
         └── another signal ──> the process ends at once, with 128 + the signal's number

A handler runs in the middle of whatever the main thread is doing, and must not wait for a lock that is held right
there: so it starts no thread, sets no event and writes no log. What has to be watched is watched by a thread that was
there before, and a `queue.SimpleQueue` may be written to from a handler.
"""

import faulthandler
import os
import queue
import signal
import threading
import time
from types import FrameType

import structlog

LEAVE_SECONDS = 10.0
"""Time to close the clients after the drain, before a process leaves without them."""

STDERR = 2

log = structlog.get_logger("worker")


class Stopping:
    """What was asked of this process, which then has `limit_seconds` to end."""

    def __init__(self, *, limit_seconds: float) -> None:
        """Listens from now on. Called on the main thread."""
        self.signal: int | None = None
        """The first signal that came, if one did."""
        self._limit_seconds = limit_seconds
        self._once = threading.Lock()  # never released: the handler may run long after the order
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._watch = threading.Thread(target=self._end_in_time, name="stopping", daemon=True)
        self._watch.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def order(self) -> None:
        """The same as SIGTERM, but given once or more often, from any thread, it is no second signal."""
        if self.signal is None and self._once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGTERM)

    def expect_end(self) -> None:
        """The process is about to end, asked or not: only its clients have to be closed."""
        self._news.put("ending")
        # Python cannot watch a client that keeps the interpreter's lock while it waits: librdkafka's binding does, and
        # its consumer has been seen to wait for ever. This timer needs no lock; it shows where we are and ends us.
        faulthandler.dump_traceback_later(LEAVE_SECONDS, exit=True, file=STDERR)

    def close(self) -> None:
        """The process ends in time."""
        faulthandler.cancel_dump_traceback_later()
        self._news.put("closed")
        self._watch.join()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's shape
        if self.signal is not None:
            # Asked twice. Like a crash: what is not committed will be read again.
            os._exit(128 + number)
        self.signal = number
        self._news.put("asked")

    def _end_in_time(self) -> None:
        """The last resort against a client that does not return. What is not committed will be read again."""
        news = self._news.get()
        end_seconds = time.monotonic() + self._limit_seconds
        try:
            while news != "closed":
                news = self._news.get(timeout=max(0, end_seconds - time.monotonic()))
        except queue.Empty:
            log.error("did not stop in time, leaving at once", limit=self._limit_seconds)
            os._exit(1)
