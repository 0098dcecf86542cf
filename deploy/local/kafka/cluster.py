"""A cluster of real Kafka nodes that lives no longer than the process that started it."""

import base64
import fcntl
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.kafka.configuration import Endpoints
from deploy.local.kafka.distribution import Distribution
from deploy.local.kafka.errors import BrokerError, PortTakenError
from deploy.local.kafka.jars import KAFKA_VERSION
from deploy.local.kafka.node import Node, shorten_log
from deploy.local.kafka.ports import LOOPBACK, choose_ports, is_free
from deploy.local.kafka.secured.security import Security
from deploy.local.kafka.sources import find_distribution
from deploy.local.scratch import scratch_directory
from worker.files import write_file

READY_TIMEOUT_SECONDS = 90.0
"""Generous, for machines that start ten other things at the same time."""
BOOTSTRAP_TIMEOUT_MS = 5_000
POLL_SECONDS = 0.05
PORT_ATTEMPTS = 5
"""A second passes between choosing a free port and listening on it, and another process can be faster."""


class Cluster:
    """Running nodes. Use it as a context manager, or call `close`."""

    version = KAFKA_VERSION
    bootstrap_servers: str
    """Addresses of the nodes, with commas between."""
    certificate_servers: str
    """Those of a secured cluster at which a certificate is the login."""

    def __init__(
        self, distribution: Distribution, *, nodes: int, root: Path, security: Security | None, optimize: bool
    ) -> None:
        """See `start`, which is what callers use."""
        self._security = security
        self._cluster_id = _claim(root, nodes)
        self.nodes = [Node(distribution, node_id=index, root=root, optimize=optimize) for index in range(1, nodes + 1)]
        self._endpoints: list[Endpoints] = []
        self._cleanup = ExitStack()

    @classmethod
    def start(
        cls,
        *,
        nodes: int = 1,
        data_dir: Path | None = None,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
        optimize: bool = False,
        distribution: Distribution | None = None,
    ) -> Self:
        """Starts nodes and returns when all of them serve.

        Args:
            nodes: how many; each is broker and controller.
            data_dir: keeps the data, to be used again; by default a temporary directory.
            port: of the first node, the others follow; by default free ones.
            properties: broker properties in place of ours.
            security: makes the cluster demand logins; by default it lets everybody in.
            optimize: has Java compile as well as it can: the brokers are slower at first, and faster after minutes.
            distribution: by default the first that `find_distribution` finds.

        Raises:
            KafkaUnavailableError: no Kafka can be had on this machine.
            JarChecksumError: a jar is not the locked one.
            BrokerError: a node did not come up; its last output is in the message.
        """
        distribution = distribution or find_distribution()
        with ExitStack() as cleanup:
            root = data_dir or cleanup.enter_context(scratch_directory("limelight-kafka-"))
            cleanup.enter_context(_take(root))
            cluster = cls(distribution, nodes=nodes, root=root, security=security, optimize=optimize)
            # Data that is thrown away needs no orderly shutdown, but nobody may write to it any more.
            at_once = data_dir is None and distribution.ends_with_its_process
            cleanup.callback(cluster._kill if at_once else cluster._stop)
            cluster._bring_up(port, properties or {})
            cluster._cleanup = cleanup.pop_all()
        return cluster

    def wait_until_ready(self) -> None:
        """Returns when every node listens and the controller counts it in.

        Raises:
            BrokerError: a node ended, or took longer than `READY_TIMEOUT_SECONDS`.
        """
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            missing = self._find_missing()
            self.check_alive()
            if missing is None:
                return
            if time.monotonic() > deadline:
                logs = "".join(node.log_tail() for node in self.nodes)
                raise BrokerError(
                    f"Kafka is not ready after {READY_TIMEOUT_SECONDS:.0f} s: {missing}. Start it again when the "
                    f"machine is less busy.{logs}"
                )
            time.sleep(POLL_SECONDS)

    def check_alive(self) -> None:
        """
        Raises:
            BrokerError: a node ended without being asked to.
        """
        for node in self.nodes:
            node.check_alive()

    def close(self) -> None:
        """Ends all nodes and removes what was temporary."""
        self._cleanup.close()

    def _bring_up(self, port: int | None, properties: Mapping[str, str]) -> None:
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            self._endpoints = _choose_endpoints(len(self.nodes), port)
            self.bootstrap_servers = ",".join(f"{LOOPBACK}:{each.broker}" for each in self._endpoints)
            self.certificate_servers = ",".join(f"{LOOPBACK}:{each.certificates}" for each in self._endpoints)
            for node in self.nodes:
                node.configure(self._endpoints, properties, self._security)
            self._format()
            for node in self.nodes:
                node.start()
            try:
                self.wait_until_ready()
            except PortTakenError:
                self._kill()
                if not attempts_left:
                    raise
            else:
                break
        if self._security is not None:
            self._security.admit_users(servers=self.bootstrap_servers, certificate_servers=self.certificate_servers)

    def _format(self) -> None:
        with ExitStack() as running:
            new = [node for node in self.nodes if not node.is_formatted]
            for process in [running.enter_context(node.begin_format(self._cluster_id)) for node in new]:
                if process.wait() != 0:
                    raise BrokerError(f"{process.name} failed:\n{shorten_log(process)}")

    def _find_missing(self) -> str | None:
        # A plain connection first: it is refused at once, while the client would wait and retry.
        for node, endpoint in zip(self.nodes, self._endpoints, strict=True):
            try:
                socket.create_connection((LOOPBACK, endpoint.broker), timeout=1).close()
            except OSError as error:
                return f"{node.name} on port {endpoint.broker}: {error}"
        connection = {"bootstrap_servers": self.bootstrap_servers}
        if self._security is not None:
            # Nobody has a password yet.
            connection = {"bootstrap_servers": self.certificate_servers, **self._security.admin_connection()}
        try:
            with KafkaAdminClient(bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS, **connection) as admin:
                description = admin.describe_cluster()
        except KafkaError as error:
            return str(error)
        if description["cluster_id"] != self._cluster_id:
            return f"another cluster, {description['cluster_id']}, answers at {self.bootstrap_servers}"
        live = sum(not broker["is_fenced"] for broker in description["brokers"])
        return None if live == len(self.nodes) else f"the controller counts {live} of {len(self.nodes)} brokers"

    def _stop(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop()

    def _kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _take(root: Path) -> TextIO:
    """Makes the directory if need be, and keeps others out until the file that is returned is closed.

    Kafka's own lock comes too late: a second broker appends to the first one's metadata, and both end.

    Raises:
        BrokerError: the directory cannot be written, or named to Kafka, or another cluster runs there.
    """
    if "," in str(root):
        # The brokers would use the parts before and behind it.
        raise BrokerError(f"the data directory {root} cannot be used: a comma ends a path for Kafka. Choose another")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "cluster.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BrokerError(f"another cluster runs on the data directory {root}. Choose another, or end it") from error
    except OSError as error:
        raise BrokerError(f"the data directory {root} cannot be used: {error.strerror}. Choose another") from error
    return lock


def _claim(root: Path, nodes: int) -> str:
    """Makes `root` the home of a cluster of so many nodes and returns the cluster's id, which stays the same.

    Raises:
        BrokerError: the directory cannot be written, or another number of nodes lives there.
    """
    identity = root / "cluster.id"
    try:
        if not identity.exists():
            write_file(identity, _random_cluster_id().encode())
    except OSError as error:
        raise BrokerError(f"the data directory {root} cannot be used: {error.strerror}. Choose another") from error
    found = len(list(root.glob("node-*")))
    if found not in (0, nodes):
        raise BrokerError(f"{root} holds a cluster of {found} node(s), not {nodes}. Ask for as many, or choose another")
    return identity.read_text()


def _random_cluster_id() -> str:
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass  # Kafka's tool would take it for an option
    return text


def _choose_endpoints(nodes: int, first_port: int | None) -> list[Endpoints]:
    free = choose_ports(3 * nodes)
    brokers, controllers, certificates = free[:nodes], free[nodes : 2 * nodes], free[2 * nodes :]
    if first_port:
        brokers = list(range(first_port, first_port + nodes))
        for port in brokers:
            if not is_free(port):
                raise PortTakenError(f"port {port} is in use. Choose another --port, or none to get a free one")
    return [Endpoints(*ports) for ports in zip(brokers, controllers, certificates, strict=True)]
