"""The configuration files of a node."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.local.kafka.java_properties import render_properties_file
from deploy.local.kafka.ports import LOOPBACK

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


class Endpoints(NamedTuple):
    """The ports of one node."""

    broker: int
    controller: int
    certificates: int = 0
    """For clients that show a certificate; only a secured cluster listens there."""


def render_properties(
    *, node_id: int, endpoints: Sequence[Endpoints], data: Path, overrides: Mapping[str, str] | None = None
) -> str:
    """The ``server.properties`` of a node that is broker and controller at once.

    Args:
        node_id: counted from 1.
        endpoints: ports of all nodes, in the order of their ids.
        data: directory of the node's log.
        overrides: properties that replace ours or Kafka's defaults.
    """
    nodes = len(endpoints)
    own = endpoints[node_id - 1]
    replicas = min(3, nodes)
    in_sync = 2 if nodes >= 3 else 1
    voters = ",".join(f"{index}@{LOOPBACK}:{each.controller}" for index, each in enumerate(endpoints, start=1))
    properties = {
        "process.roles": "broker,controller",
        "node.id": node_id,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{own.broker},CONTROLLER://{LOOPBACK}:{own.controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{own.broker}",
        "log.dirs": data,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        # 50 partitions of each by default: seconds of file creation for the first group and the first transaction.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        # 128 MB by default, taken whether a topic is compacted or not.
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        # Three seconds by default, in which the first member of a group waits for others.
        "group.initial.rebalance.delay.ms": 0,
        # Records may carry any time: those of last month would be deleted half a minute after the start.
        "log.retention.ms": -1,
        # A misspelt topic must be an error, not a new topic.
        "auto.create.topics.enable": "false",
        **(overrides or {}),
    }
    return render_properties_file(properties)
