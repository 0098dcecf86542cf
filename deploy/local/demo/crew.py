"""The programs that a demo runs, and what it means when one of them ends."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.demo.errors import ChildFailedError
from deploy.local.processes import ChildProcess, stop_all

ERROR = "error: "
FAILURE_LINES = 200
"""Of a failed child's output are searched for its error: a broker's carries a hundred lines of log."""
SHOWN_LINES = 20
"""Of a child that gave no error of its own."""
SETTINGS = "LIMELIGHT_"
"""How the names of the worker's settings begin."""
CACHE_DIR = "LIMELIGHT_CACHE_DIR"
"""Not only a worker's setting: the broker's jars are there, too."""


class Crew:
    """Running children; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """
        Args:
            directory: takes the children's output.
        """
        self._directory = directory
        self._jobs: list[ChildProcess] = []
        self._services: list[ChildProcess] = []
        self._retired: list[ChildProcess] = []

    def start_job(
        self, name: str, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Starts ``python -m ARGUMENT...``, which is expected to end with status 0."""
        job = self._start(name, arguments, environment or {})
        self._jobs.append(job)
        return job

    def start_service(
        self, name: str, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Starts ``python -m ARGUMENT...``, which is expected to run until it is stopped."""
        service = self._start(name, arguments, environment or {})
        self._services.append(service)
        return service

    def check(self) -> None:
        """
        Raises:
            ChildFailedError: a job failed, or a service ended.
        """
        failed = [job for job in self._jobs if job.status not in (None, 0)]
        ended = [service for service in self._services if service.status is not None]
        for child in failed + ended:
            raise ChildFailedError(describe_failure(child.name, child.status, child.tail(FAILURE_LINES)))

    def retire(self, services: Sequence[ChildProcess]) -> None:
        """Ends services, together; from now on they may end."""
        self._services = [service for service in self._services if service not in services]
        self._retired += services
        stop_all(services)

    def close(self) -> None:
        """Ends what still runs: the jobs, then the services, the latest first, as those depend on earlier ones."""
        stop_all(self._jobs + self._retired)
        for service in reversed(self._services):
            service.stop()

    def _start(self, name: str, arguments: Sequence[str | Path], environment: Mapping[str, str]) -> ChildProcess:
        return ChildProcess(
            [sys.executable, "-m", *arguments],
            name=name,
            output=self._directory / f"{name}.log",
            environment=environment,
            inherited=without_settings(os.environ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are no worker's settings: what the user set for their own workers must not steer the demo."""
    return {name: value for name, value in environment.items() if not name.startswith(SETTINGS) or name == CACHE_DIR}


def describe_failure(name: str, status: int | None, tail: str) -> str:
    """What to tell the user: the program's own error and what follows if it gave one, otherwise the last lines."""
    lines = tail.splitlines()
    own = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
    if own:
        return "\n".join((f"{name}: {lines[own[-1]].removeprefix(ERROR)}", *lines[own[-1] + 1 :]))
    end = "\n".join(lines[-SHOWN_LINES:]) or "(none)"
    return f"{name} ended early with status {status}. The end of its output:\n{end}"
