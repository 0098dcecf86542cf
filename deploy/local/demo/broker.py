"""The first steps: a broker and the topics on it."""

import sys
from typing import NamedTuple

from kafka import KafkaAdminClient

from deploy.local.demo import programs
from deploy.local.demo.errors import DemoError
from deploy.local.demo.run import Run
from deploy.local.demo.stages import Stage
from deploy.local.demo.summary import BrokerFacts
from deploy.local.demo.topics import PARTITIONS, Topics
from deploy.local.kafka.jars import KAFKA_VERSION
from worker.errors import BrokerUnreachableError, TransportError
from worker.transport.kafka_python.client import connect

NAME = "Apache Kafka"


class Site(NamedTuple):
    """Where the stream takes place."""

    servers: str
    topics: Topics
    facts: BrokerFacts


def begin_broker(run: Run) -> Stage:
    """Starts a broker, unless the user gave the address of one."""
    if run.options.bootstrap_servers:
        return run.begin("broker", f"looking for a broker at {run.options.bootstrap_servers}")
    child = run.crew.start_service("broker", programs.broker(ready_file=run.directory / "broker.ready"))
    return run.begin("broker", f"starting {NAME} {KAFKA_VERSION}", child=child, progress="Fetching ")


def finish_broker(run: Run, stage: Stage) -> Site:
    """Waits for the broker and creates the topics.

    Raises:
        LimelightError: the broker does not come up, cannot be reached, or refuses.
    """
    given = run.options.bootstrap_servers
    endless = not run.options.once
    if given:
        servers, topics = given, Topics.of_shared_broker()
        try:
            version = run.call("broker", lambda: _spoken_version(servers))
        except BrokerUnreachableError as error:
            raise DemoError(
                f"no Kafka broker answers at {servers}. Check --bootstrap-servers, or leave it out: the demo then "
                "starts a broker of its own."
            ) from error
        # Before they exist: an interruption may come while they are made.
        run.afterwards.callback(_leave_nothing, topics, servers)
        run.call("broker", lambda: topics.create(servers, endless=endless))
    else:
        ready_file, topics, version = run.directory / "broker.ready", Topics.of_own_broker(), KAFKA_VERSION
        run.wait(ready_file.exists)
        servers = ready_file.read_text().strip()
        run.call("broker", lambda: topics.create(servers, endless=endless))
    run.scene.broker = f"{NAME} {version} at {servers}"
    stage.end(f"{run.scene.broker}, topics with {PARTITIONS} partitions")
    return Site(servers, topics, BrokerFacts(NAME, version))


def _leave_nothing(topics: Topics, servers: str) -> None:
    try:
        topics.delete(servers)
    except TransportError as error:
        print(f"note: {error}", file=sys.stderr)


def _spoken_version(servers: str) -> str:
    """A broker does not tell its version; this is the newest whose protocol it speaks."""
    with connect(KafkaAdminClient, {"bootstrap_servers": servers.split(",")}) as admin:
        node = admin.describe_cluster()["brokers"][0]["broker_id"]
        return ".".join(map(str, admin.get_broker_version_data(node).broker_version))
