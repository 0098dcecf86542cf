"""What kafka-python does without each of the three precautions of `worker.transport.kafka_python.transactions`.

On three brokers of which some are killed. Every test has a twin that runs without the precaution and shows the harm: a
version of the client that needs no precaution makes the twin fail, and the precaution can go.
"""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import KafkaUnavailableError
from worker.errors import DeliveryError
from worker.ports import Output
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.producers import KafkaTransactionalProducers
from worker.transport.transactional import TransactionalSink

pytestmark = pytest.mark.kafka

# By default nine seconds pass until the others take a dead broker's partitions over.
FAST_FAILOVER = {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "500"}
FAILOVER_SECONDS = 20
TIMES = 5
"""What the client does wrong it does not do wrong every time."""
"""Enough for a failover on a busy machine; the twins, which wait in vain, wait for less."""
IN_VAIN_SECONDS = 8
IMPATIENT = {"delivery_timeout_ms": 2500, "request_timeout_ms": 2000}
"""A send expires before another node has taken the partition over."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        started = Cluster.start(nodes=3, properties=FAST_FAILOVER)
    except KafkaUnavailableError as error:
        pytest.skip(str(error))
    with started:
        yield started


@contextmanager
def killed(cluster: Cluster, *node_ids: int) -> Iterator[None]:
    """These nodes end with SIGKILL, and come back at the end of the block."""
    nodes = [cluster.nodes[node_id - 1] for node_id in node_ids]
    for node in nodes:
        node.kill()
    try:
        yield
    finally:
        for node in nodes:
            node.start()
        cluster.wait_until_ready()


class Place:
    """A topic and a group of their own."""

    def __init__(self, cluster: Cluster, opened: ExitStack) -> None:
        self.topic = self.group = f"precaution.{uuid.uuid4().hex[:8]}"
        self.servers = cluster.bootstrap_servers.split(",")
        self._opened = opened

    def create_topic(self, **configs: str) -> None:
        request = {self.topic: {"num_partitions": 1, "replication_factor": 3, "configs": configs}}
        with KafkaAdminClient(bootstrap_servers=self.servers) as admin:
            admin.create_topics(request, wait_for_metadata=True)

    def leader(self) -> int:
        with KafkaAdminClient(bootstrap_servers=self.servers) as admin:
            [topic] = admin.describe_topics([self.topic])
        return int(topic["partitions"][0]["leader_id"])

    def sink(self, *, deadline_seconds: float, **properties: int) -> TransactionalSink[KafkaProducer]:
        producers = KafkaTransactionalProducers(
            {"bootstrap_servers": self.servers, **properties},
            transactional_id=self.group,
            group_id=self.group,
            transaction_timeout_seconds=30,
            deadline_seconds=deadline_seconds,
        )
        sink = TransactionalSink(
            producers,
            transactional_id=self.group,
            group=lambda *, anew: ConsumerGroupMetadata(self.group),
            deadline_seconds=deadline_seconds,
        )
        self._opened.callback(sink.close)
        return sink

    def output(self, value: bytes) -> Output:
        return Output(self.topic, 0, None, value, [], 1)

    def read(self) -> list[bytes]:
        """Committed values."""
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(bootstrap_servers=self.servers, **options)) as consumer:
            partition = TopicPartition(self.topic, 0)
            consumer.assign([partition])
            [end] = consumer.end_offsets([partition]).values()
            found: list[bytes] = []
            while consumer.position(partition) < end:
                found += [record.value for records in consumer.poll(timeout_ms=100).values() for record in records]
        return found

    def committed(self) -> list[int]:
        with KafkaAdminClient(bootstrap_servers=self.servers) as admin:
            return [found.offset for found in admin.list_group_offsets(self.group)[self.group].values()]


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    with ExitStack() as opened:
        yield Place(cluster, opened)


def coordinator(producer: KafkaProducer) -> int:
    # "coordinator-2", say: the client keeps a connection of its own to it.
    return int(producer._transaction_manager._transaction_coordinator.rpartition("-")[2])


def begin(place: Place, *, deadline_seconds: float = FAILOVER_SECONDS) -> KafkaProducer:
    """A transaction with one confirmed output."""
    producer = place.sink(deadline_seconds=deadline_seconds)._producer
    producer.begin_transaction()
    transactions.send_all(producer, [place.output(b"sent")], Deadline(deadline_seconds))
    return producer


def majority(producer: KafkaProducer) -> tuple[int, int]:
    """The coordinator and one more node. The third can decide nothing alone."""
    first = coordinator(producer)
    return first, first % 3 + 1


def test_a_request_survives_a_coordinator_that_refuses_connections(cluster: Cluster, place: Place) -> None:
    place.create_topic()
    producer = begin(place)

    with killed(cluster, coordinator(producer)):
        transactions.commit(producer, Deadline(FAILOVER_SECONDS))

    assert place.read() == [b"sent"]


def test_without_the_precaution_the_request_is_lost(
    cluster: Cluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.create_topic()
    monkeypatch.setattr(transactions, "tolerate_refused_coordinator", lambda producer: None)
    producer = begin(place)

    with killed(cluster, coordinator(producer)):
        with pytest.raises(KafkaTimeoutError):
            transactions.commit(producer, Deadline(IN_VAIN_SECONDS))
        # The coordinator has long moved: it settles the transaction for a producer that asks.
        monkeypatch.undo()
        assert coordinator(begin(place)) is not None


def test_a_send_that_expires_keeps_its_offsets_from_being_committed(cluster: Cluster, place: Place) -> None:
    place.create_topic()
    sink = place.sink(deadline_seconds=FAILOVER_SECONDS, **IMPATIENT)
    sink.deliver([], {(place.topic, 0): 1})

    with killed(cluster, place.leader()), pytest.raises(DeliveryError):
        sink.deliver([place.output(b"lost")], {(place.topic, 0): 7})

    assert (place.committed(), place.read()) == ([1], [])


def test_without_a_look_at_the_sends_their_offsets_are_committed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "send_all", send_and_flush)
    found = []
    for _ in range(TIMES):
        with ExitStack() as opened:
            place = Place(cluster, opened)
            place.create_topic()
            sink = place.sink(deadline_seconds=FAILOVER_SECONDS, **IMPATIENT)
            sink.deliver([], {(place.topic, 0): 1})
            # Now and then the client notices by itself.
            with killed(cluster, place.leader()), suppress(DeliveryError):
                sink.deliver([place.output(b"lost")], {(place.topic, 0): 7})
            found.append((place.committed(), place.read()))
        if found[-1] == ([7], []):
            return
    pytest.fail(f"(committed offsets, outputs) were {found}, and never offsets alone")


def send_and_flush(producer: KafkaProducer, outputs: Sequence[Output], deadline: Deadline) -> None:
    """As one would do it with the public interface alone."""
    for output in outputs:
        producer.send(output.topic, output.value, partition=output.partition)
    producer.flush(timeout=deadline.remaining_seconds())


def test_a_delivery_ends_by_its_deadline_whatever_the_brokers_do(cluster: Cluster, place: Place) -> None:
    place.create_topic()
    producer = begin(place)

    with killed(cluster, *majority(producer)):
        deadline = Deadline(2 * IN_VAIN_SECONDS)
        with pytest.raises(KafkaTimeoutError):
            transactions.commit(producer, Deadline(IN_VAIN_SECONDS))
        assert deadline.remaining_seconds() > 0


def test_without_a_deadline_a_commit_waits_as_long_as_the_brokers_are_away(cluster: Cluster, place: Place) -> None:
    place.create_topic()
    producer = begin(place, deadline_seconds=IN_VAIN_SECONDS)  # also of the client's own timeouts, which do not hold

    def commit() -> None:
        with suppress(KafkaError):  # in the end, when the producer is closed
            producer.commit_transaction()

    # A daemon, because not even the end of the producer wakes it every time: its error may reach no one who waits.
    waiting = threading.Thread(target=commit, daemon=True)

    with killed(cluster, *majority(producer)):
        waiting.start()
        waiting.join(2 * IN_VAIN_SECONDS)
        assert waiting.is_alive()
