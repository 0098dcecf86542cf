"""A process of the bench's own, beside the one that keeps the books: it measures without brokers, or it feeds."""

from collections.abc import Callable
from typing import Generic, TypeVar

from worker.bench.errors import BenchError
from worker.process.child import Child, ChildEndedError

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class SideProcess(Generic[Request, Reply]):
    """A child whose end is an error of the bench. Used on one thread."""

    def __init__(self, build: Callable[[], Callable[[Request], Reply]], *, name: str) -> None:
        """Starts it, and waits until it can be asked.

        Args:
            build: builds in the child what answers; it is pickled.
            name: what messages call it.

        Raises:
            BenchError: it died, or took too long.
            LimelightError: `build` raised it.
        """
        self._name = name
        self._child: Child[Request, Reply] = Child(build)
        try:
            self._child.await_ready()
        except BaseException as error:
            self._child.close()
            if isinstance(error, ChildEndedError):
                raise BenchError(f"{name} could not be started: {error}.") from error
            raise

    def ask(self, request: Request, *, timeout_seconds: float) -> Reply:
        """
        Raises:
            BenchError: it died, or took too long.
            LimelightError: what answers raised it.
        """
        try:
            return self._child.ask(request, timeout_seconds=timeout_seconds)
        except ChildEndedError as error:
            raise BenchError(f"{self._name} could not be finished: {error}.") from error

    def close(self) -> None:
        """Ends it at once."""
        self._child.close()
