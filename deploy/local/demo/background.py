"""Threads whose failures are not lost."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kafka.errors import KafkaError

from worker.transport.kafka_python.client import transport_error

END_SECONDS = 5.0


class Background:
    """Work in a thread of its own; use it as a context manager."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        """Starts the thread.

        Args:
            name: of the thread; failures begin with it.
            work: returns soon after the event that it is given was set.
        """
        self._name = name
        self._work = work
        self._stop = threading.Event()
        self._failure: Exception | None = None
        # A daemon, so that a call into a broker that is gone cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """True once the work has come to its end."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raises what ended the work early."""
        if isinstance(self._failure, KafkaError):
            raise transport_error(self._name, self._failure) from self._failure
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Ends the work."""
        self._stop.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except Exception as error:  # noqa: BLE001 - raised again by `check`, in the thread that asks
            self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
