"""One Kafka node: a directory and, while it runs, a child process."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.kafka.configuration import LOG4J, Endpoints, render_properties
from deploy.local.kafka.distribution import Distribution
from deploy.local.kafka.errors import BrokerError, PortTakenError
from deploy.local.kafka.secured.authority import PRIVATE
from deploy.local.kafka.secured.security import Security
from deploy.local.processes import ChildProcess
from worker.files import write_file

STOP_GRACE_SECONDS = 20.0
LOG_LINES = 100
BIND_FAILURE = "Socket server failed to bind"


def shorten_log(process: ChildProcess) -> str:
    """The end of what Java printed, without stack frames: who sees them looks for the reason between them in vain."""
    return "\n".join(line for line in process.tail(LOG_LINES).splitlines() if not line.startswith("\tat "))


class Node:
    """A node and its directory.

    ::

        node-1/
        ├── server.properties
        ├── log4j2.properties
        ├── broker.log           what the processes printed
        └── data/
    """

    def __init__(self, distribution: Distribution, *, node_id: int, root: Path, optimize: bool) -> None:
        """Makes the directory ``node-<node_id>`` in `root`; for `optimize` see `Distribution.run_command`."""
        self._optimize = optimize
        self.name = f"node-{node_id}"
        self._node_id = node_id
        self._distribution = distribution
        self._directory = root / self.name
        self._data = self._directory / "data"
        self._configuration = self._directory / "server.properties"
        self._log4j = self._directory / "log4j2.properties"
        self._process: ChildProcess | None = None
        self._system: Mapping[str, str] = {}
        self._directory.mkdir(exist_ok=True)

    def configure(
        self, endpoints: Sequence[Endpoints], overrides: Mapping[str, str], security: Security | None = None
    ) -> None:
        """Writes the configuration: ports of all nodes, properties in place of ours, and who is let in."""
        if security is not None:
            own = endpoints[self._node_id - 1]
            overrides = {**security.node_properties(own, self._directory), **overrides}
            self._system = security.system_properties(self._directory)
        text = render_properties(node_id=self._node_id, endpoints=endpoints, data=self._data, overrides=overrides)
        # It may hold passwords.
        write_file(self._configuration, text.encode(), mode=PRIVATE)
        write_file(self._log4j, LOG4J.encode())

    @property
    def is_formatted(self) -> bool:
        """True if the data directory belongs to a cluster already."""
        return (self._data / "meta.properties").exists()

    def begin_format(self, cluster_id: str) -> ChildProcess:
        """Starts to format the data directory; the caller waits."""
        return self._run(self._distribution.format_command(self._configuration, cluster_id), purpose="format")

    def start(self) -> None:
        """Starts the node and does not wait until it serves."""
        command = self._distribution.run_command(
            self._configuration, self._log4j, self._system, optimize=self._optimize
        )
        self._process = self._run(command, purpose="broker")

    def terminate(self) -> None:
        """Begins to shut the node down in order, so that its log need not be recovered."""
        if self._process:
            self._process.terminate()

    def stop(self) -> None:
        """Shuts the node down in order, and returns when it is gone."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Ends the node at once, as a crash would."""
        if self._process:
            self._process.kill()

    @property
    def pid(self) -> int | None:
        """Process id, if the node was ever started."""
        return self._process.pid if self._process else None

    def check_alive(self) -> None:
        """
        Raises:
            PortTakenError: the node ended because a port is in use.
            BrokerError: it ended for another reason.
        """
        if self._process is None or self._process.status is None:
            return
        raised = PortTakenError if BIND_FAILURE in self.log_tail() else BrokerError
        raise raised(f"{self.name} ended with status {self._process.status}.{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of its log, as it is added to an error message."""
        return "" if self._process is None else f" Its log, without stack frames:\n{shorten_log(self._process)}"

    def _run(self, command: list[str], *, purpose: str) -> ChildProcess:
        return ChildProcess(
            command,
            name=f"{self.name} {purpose}",
            output=self._directory / f"{purpose}.log",
            environment=self._distribution.environment,
            grace_seconds=STOP_GRACE_SECONDS,
        )
