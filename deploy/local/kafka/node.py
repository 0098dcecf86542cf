"""One Kafka node: a directory and, while it runs, a child process."""

from pathlib import Path

from deploy.local.kafka.configuration import LOG4J
from deploy.local.kafka.distribution import Distribution
from deploy.local.kafka.errors import BrokerStartError, PortTakenError
from deploy.local.processes import ChildProcess
from worker.files import write_file

STOP_GRACE_SECONDS = 15.0
BIND_FAILURE = "Socket server failed to bind"


class Node:
    """A node whose configuration is written and whose data directory is or will be formatted.

    ::

        <directory>/
        ├── server.properties
        ├── log4j2.properties
        ├── broker.log         what the process printed
        └── data/
    """

    def __init__(self, distribution: Distribution, directory: Path, properties: str) -> None:
        """Writes the configuration; `directory` exists."""
        self.directory = directory
        self._distribution = distribution
        self._configuration = directory / "server.properties"
        self._log4j = directory / "log4j2.properties"
        self._log = directory / "broker.log"
        self._process: ChildProcess | None = None
        write_file(self._configuration, properties.encode())
        write_file(self._log4j, LOG4J.encode())

    @property
    def is_formatted(self) -> bool:
        """True if the data directory belongs to a cluster already."""
        return (self.directory / "data" / "meta.properties").exists()

    def begin_format(self, cluster_id: str) -> ChildProcess:
        """Starts to format the data directory."""
        return self._run(self._distribution.format_command(self._configuration, cluster_id), purpose="format")

    def start(self) -> None:
        """Starts the node and does not wait for it."""
        self._process = self._run(self._distribution.run_command(self._configuration, self._log4j), purpose="broker")

    def stop(self) -> None:
        """Shuts the node down in order, so that its log need not be recovered."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Ends the node at once, as a crash would."""
        if self._process is not None:
            self._process.kill()

    @property
    def pid(self) -> int:
        """Process id of the node that was started last."""
        if self._process is None:
            raise BrokerStartError(f"{self.directory.name} was never started")
        return self._process.pid

    def check_alive(self) -> None:
        """
        Raises:
            PortTakenError: the node ended because a port is in use.
            BrokerStartError: it ended for another reason.
        """
        if self._process is None or self._process.status is None:
            return
        tail = self._process.tail()
        kind = PortTakenError if BIND_FAILURE in tail else BrokerStartError
        raise kind(f"{self.directory.name} ended with status {self._process.status}. The end of {self._log}:\n{tail}")

    def _run(self, command: list[str], *, purpose: str) -> ChildProcess:
        return ChildProcess(
            command,
            name=f"{self.directory.name} {purpose}",
            output=self._log,
            environment=self._distribution.environment,
            grace_seconds=STOP_GRACE_SECONDS,
        )
