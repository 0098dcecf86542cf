"""Real brokers, seen by a client."""

import socket
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from deploy.local.kafka import cluster as cluster_module
from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import BrokerError
from deploy.local.kafka.ports import LOOPBACK, choose_ports
from deploy.local.kafka.topics import create_topics
from worker.errors import BrokerUnreachableError, TransportError

pytestmark = pytest.mark.kafka

QUICK_FAILOVER = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
"""9 s by default, until the controller believes that a broker is gone."""


@pytest.fixture
def topic() -> str:
    return f"test-{uuid.uuid4()}"


def produce(servers: str, topic: str, values: Sequence[int], **config: object) -> None:
    with KafkaProducer(bootstrap_servers=servers, **config) as producer:
        sent = [producer.send(topic, value=b"%d" % value, partition=0) for value in values]
        for future in sent:
            future.get(timeout=30)


def consume(servers: str, topic: str, count: int, **config: object) -> list[int]:
    """Reads `count` records, or fewer if 20 s pass without a new one."""
    with KafkaConsumer(
        topic,
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        group_id=None,
        consumer_timeout_ms=20_000,
        **config,
    ) as consumer:
        return [int(record.value) for _, record in zip(range(count), consumer, strict=False)]


def test_what_is_produced_is_consumed(broker: str, topic: str) -> None:
    create_topics(broker, {topic: 2})
    produce(broker, topic, range(100))
    assert consume(broker, topic, 100) == list(range(100))


def test_a_reader_of_committed_records_sees_no_aborted_ones(broker: str, topic: str) -> None:
    create_topics(broker, {topic: 1})
    with KafkaProducer(bootstrap_servers=broker, transactional_id=topic, retry_backoff_ms=5) as producer:
        producer.init_transactions()
        for value, end in ((1, producer.commit_transaction), (2, producer.abort_transaction)):
            producer.begin_transaction()
            producer.send(topic, value=b"%d" % value, partition=0)
            producer.flush()
            end()
    produce(broker, topic, [3])
    assert consume(broker, topic, 2, isolation_level="read_committed") == [1, 3]
    assert consume(broker, topic, 3, isolation_level="read_uncommitted") == [1, 2, 3]


def test_creating_a_topic_again_keeps_it(broker: str, topic: str) -> None:
    create_topics(broker, {topic: 2}, configs={topic: {"cleanup.policy": "compact"}})
    create_topics(broker, {topic: 3})
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        assert len(admin.describe_topics([topic])[0]["partitions"]) == 2


def test_a_topic_that_the_broker_refuses_is_named(broker: str) -> None:
    with pytest.raises(TransportError, match="topic 'no/slash' cannot be created"):
        create_topics(broker, {"no/slash": 1})


def test_nobody_at_the_address_is_said_so() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        create_topics("127.0.0.1:1", {"any": 1})


def test_a_misspelt_topic_is_not_made(broker: str, topic: str) -> None:
    with pytest.raises(KafkaError):
        produce(broker, topic, [1], max_block_ms=1_000)
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        assert topic not in admin.list_topics()


def test_another_port_is_tried_when_somebody_was_faster(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as faster:
        free = choose_ports(2)
        chosen = [[free[0], faster.getsockname()[1], free[1]], choose_ports(3)]
        expected = chosen[1][0]
        monkeypatch.setattr(cluster_module, "choose_ports", lambda count: chosen.pop(0))
        with Cluster.start() as cluster:
            assert cluster.bootstrap_servers == f"{LOOPBACK}:{expected}"


def test_three_nodes_replicate_and_survive_the_loss_of_one(
    topic: str, is_alive: Callable[[int], bool], wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    with Cluster.start(nodes=3, properties=QUICK_FAILOVER) as cluster:
        servers = cluster.bootstrap_servers
        assert len(servers.split(",")) == 3
        create_topics(servers, {topic: 1})
        with KafkaAdminClient(bootstrap_servers=servers) as admin:
            partition = admin.describe_topics([topic])[0]["partitions"][0]
        assert sorted(partition["replica_nodes"]) == [1, 2, 3]
        produce(servers, topic, [1], acks="all")

        killed = cluster.nodes[partition["leader_id"] - 1]
        pid = killed.pid
        killed.kill()
        assert not is_alive(pid)
        produce(servers, topic, [2], acks="all")
        with pytest.raises(BrokerError, match=f"{killed.name} ended with status -9"):
            cluster.check_alive()

        killed.start()
        cluster.wait_until_ready()
        assert killed.pid != pid
        assert consume(servers, topic, 2) == [1, 2]
        pids = [node.pid for node in cluster.nodes]
    assert not any(is_alive(pid) for pid in pids)


def test_a_data_directory_is_used_again(topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In this locale Java has no name for the directory, and in a properties file it would read another.
    monkeypatch.setenv("LC_ALL", "C")
    directory = tmp_path / "Daten für \\unsere Prüfung 数据"
    with Cluster.start(data_dir=directory) as cluster:
        create_topics(cluster.bootstrap_servers, {topic: 1})
        produce(cluster.bootstrap_servers, topic, [1, 2])
    assert list(tmp_path.iterdir()) == [directory]
    with Cluster.start(data_dir=directory) as cluster:
        assert consume(cluster.bootstrap_servers, topic, 2) == [1, 2]
    with pytest.raises(BrokerError, match=r"holds a cluster of 1 node\(s\), not 2"):
        Cluster.start(nodes=2, data_dir=directory)


def test_a_directory_that_kafka_would_take_for_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="a comma ends a path"):
        Cluster.start(data_dir=tmp_path / "a,b")
    assert list(tmp_path.iterdir()) == []
