"""A cluster of real Kafka nodes that lives as long as the process that started it."""

import base64
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.kafka.configuration import Endpoints, render_properties
from deploy.local.kafka.distribution import Distribution, find_distribution
from deploy.local.kafka.errors import BrokerStartError, PortTakenError
from deploy.local.kafka.jars import KAFKA_VERSION
from deploy.local.kafka.node import Node
from deploy.local.kafka.ports import LOOPBACK, choose_ports

READY_TIMEOUT_SECONDS = 90.0
"""Generous, for machines that start ten other things at the same time."""
PORT_ATTEMPTS = 5
POLL_SECONDS = 0.05


class Cluster:
    """Running nodes. Use it as a context manager, or call `close`."""

    version = KAFKA_VERSION

    def __init__(self, nodes: Sequence[Node], endpoints: Sequence[Endpoints], *, temporary: Path | None) -> None:
        """See `start`. `temporary` is removed with the cluster."""
        self.nodes = nodes
        self.bootstrap_servers = ",".join(f"{LOOPBACK}:{each.broker}" for each in endpoints)
        self._endpoints = endpoints
        self._temporary = temporary

    @classmethod
    def start(
        cls,
        *,
        nodes: int = 1,
        data_dir: Path | None = None,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        distribution: Distribution | None = None,
    ) -> Self:
        """Starts `nodes` nodes and returns when all of them serve.

        Args:
            nodes: each is broker and controller.
            data_dir: keeps the data and is used again next time; by default a temporary directory.
            port: of the first node, the others follow; by default free ones.
            properties: broker properties in place of ours.
            distribution: by default the first that `find_distribution` finds.

        Raises:
            KafkaUnavailableError: no Kafka can be had on this machine.
            BrokerStartError: a node did not come up; its last output is in the message.
        """
        distribution = distribution or find_distribution()
        temporary = None if data_dir else Path(tempfile.mkdtemp(prefix="limelight-kafka-"))
        attempts = 1 if port else PORT_ATTEMPTS
        while True:
            attempts -= 1
            endpoints = _choose_endpoints(nodes, port)
            directories = _node_directories(data_dir or temporary, nodes)
            members = [
                Node(
                    distribution,
                    directory,
                    render_properties(
                        node_id=index, endpoints=endpoints, data=directory / "data", overrides=properties
                    ),
                )
                for index, directory in enumerate(directories, start=1)
            ]
            cluster = cls(members, endpoints, temporary=temporary)
            try:
                cluster._bring_up()
            except PortTakenError:
                cluster._kill()
                if attempts == 0:
                    cluster.close()
                    raise
            except BaseException:
                cluster.close()
                raise
            else:
                return cluster

    def wait_until_ready(self, *, brokers: int | None = None) -> None:
        """Waits until the controller counts `brokers` live brokers, by default all."""
        expected = len(self.nodes) if brokers is None else brokers
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while self._count_live_brokers() < expected:
            for node in self.nodes:
                node.check_alive()
            if time.monotonic() > deadline:
                raise BrokerStartError(f"{expected} broker(s) were not ready after {READY_TIMEOUT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Ends all nodes and removes what was temporary."""
        self._kill()
        if self._temporary:
            shutil.rmtree(self._temporary)

    def _bring_up(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for formatting in [node.begin_format(cluster_id) for node in self.nodes if not node.is_formatted]:
            if formatting.wait() != 0:
                raise BrokerStartError(f"{formatting.name} failed: {formatting.tail()}")
        for node in self.nodes:
            node.start()
        self.wait_until_ready()

    def _kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def _count_live_brokers(self) -> int:
        for endpoint in self._endpoints:
            try:
                socket.create_connection((LOOPBACK, endpoint.broker), timeout=1).close()
            except OSError:
                return 0
        try:
            with KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, bootstrap_timeout_ms=5000) as admin:
                return sum(not broker["is_fenced"] for broker in admin.describe_cluster()["brokers"])
        except KafkaError:
            return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _choose_endpoints(nodes: int, port: int | None) -> list[Endpoints]:
    ports = choose_ports(2 * nodes)
    brokers = range(port, port + nodes) if port else ports[:nodes]
    return [Endpoints(broker, controller) for broker, controller in zip(brokers, ports[nodes:], strict=True)]


def _node_directories(root: Path, nodes: int) -> list[Path]:
    directories = [root / f"node-{index}" for index in range(1, nodes + 1)]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    return directories
