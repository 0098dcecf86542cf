"""The worker command under test, and one running process of it.

Any program that keeps this protocol can be put to the test (see README.md beside the tests):

* it is started as ``COMMAND --ready-file PATH`` with its settings in ``LIMELIGHT_*`` variables, and writes the file
  when it has joined its group;
* it answers every record of the input topic in the output topic or the dead-letter topic (see `harness.shape`);
* SIGTERM ends it in order, with status 0.
"""

import http.client
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from harness.shape import Shape

from deploy.local.processes import ChildProcess

READY_SECONDS = 60
EXIT_SECONDS = 45
PAGE_SECONDS = 10
PREFIX = "LIMELIGHT_"
IS_FOREIGN = bool(os.environ.get("CONFORMANCE_WORKER"))
ONLY_OWN = pytest.mark.skipif(IS_FOREIGN, reason="the fault is planted in the model of Limelight's own worker")
SABOTAGE = Path(__file__).parent / "sabotage"


class Subject(NamedTuple):
    """A worker command and the records that it speaks."""

    command: tuple[str, ...]
    shape: Shape = Shape()
    malformed: bool = True
    """Whether it has dead letters for records that cannot be scored."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Limelight's own worker, unless ``CONFORMANCE_*`` variables name another."""
        command = environment.get("CONFORMANCE_WORKER") or "python -m worker run"
        given = {name: environment.get(f"CONFORMANCE_{name.upper()}") for name in Shape._fields}
        return cls(
            command=tuple(sys.executable if word == "python" else word for word in shlex.split(command)),
            shape=Shape(**{name: value for name, value in given.items() if value}),
            malformed=environment.get("CONFORMANCE_MALFORMED", "yes") != "no",
        )


class WorkerProcess:
    """One process of a worker command. Its signals are real ones."""

    def __init__(self, subject: Subject, name: str, environment: Mapping[str, str], directory: Path) -> None:
        """Starts it.

        Args:
            subject: what to start.
            name: its lasting name in the group.
            environment: its settings.
            directory: takes its output and its ready file.
        """
        self.name = name
        self.started_seconds = time.monotonic()
        self._ready_file = directory / f"{name}-{time.monotonic_ns()}.ready"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        self._child = ChildProcess(
            [*subject.command, "--ready-file", self._ready_file],
            name=name,
            output=directory / f"{name}.log",
            environment=environment,
            inherited=inherited,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def is_ready(self) -> bool:
        """True if it has said that it joined its group."""
        return self._ready_file.exists()

    def ask(self, page: str) -> tuple[int, bytes]:
        """Status and body of one of Limelight's own health pages, such as ``/readyz``; only when it is ready."""
        port = json.loads(self._ready_file.read_text())["health_port"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PAGE_SECONDS)
        with closing(connection):
            connection.request("GET", page)
            response = connection.getresponse()
            return response.status, response.read()

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.status

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process that was started, and only to that one."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._child.kill()

    def terminate(self) -> None:
        """SIGTERM, and does not wait."""
        self.signal(signal.SIGTERM)

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        """Returns its exit status when it has ended."""
        return self._child.wait(seconds)

    def end(self) -> None:
        """Ends what is left of it, at once."""
        self._child.kill()

    def log(self, lines: int = 15) -> str:
        """The end of its output."""
        return f"--- {self.name} (status {self.status}):\n{self._child.tail(lines)}"
