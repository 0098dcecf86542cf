"""Leaving for good, and saying who took over."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from deploy.local.kafka.topics import create_topics
from worker.errors import FencedError, TransportError
from worker.messages import status_key
from worker.ports import Output
from worker.transport.deadline import Deadline
from worker.transport.terms import client_id

pytestmark = pytest.mark.kafka

TELL_SECONDS = 0.05


def turn_until(done: Callable[[], object], *members: Any) -> None:
    deadline = Deadline(30)
    while not done():
        assert deadline.remaining_seconds() > 0, "it did not come to that"
        for member in members:
            member.source.poll(max_records=1, timeout_seconds=0.1)


def members(group: Any) -> dict[str, str]:
    """Static member id -> the client id of who has it."""
    with KafkaAdminClient(bootstrap_servers=group.servers) as admin:
        description = admin.describe_groups([group.name])[group.name]
    return {member["group_instance_id"]: member["client_id"] for member in description["members"]}


def status_topic(group: Any) -> str:
    return f"{group.name}.status"


@contextmanager
def telling(group: Any, *, group_id: str, process: str) -> Iterator[None]:
    """Publishes the status of a worker named "one" again and again."""
    key, value = status_key(group_id, "one"), msgspec.json.encode({"process": process})
    ended = threading.Event()

    def tell() -> None:
        with closing(KafkaProducer(bootstrap_servers=group.servers)) as producer:
            while not ended.wait(TELL_SECONDS):
                producer.send(status_topic(group), value, key=key).get(timeout=10)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_member_that_leaves_is_gone_at_once_and_one_that_closes_stays(kafka_group: Any) -> None:
    stays = kafka_group.join(instance="stays")
    stays.poll()
    leaves = kafka_group.join(instance="leaves")
    turn_until(lambda: leaves.ownership.joined, stays, leaves)
    assert members(kafka_group).keys() == {"stays", "leaves"}

    stays.source.close()
    leaves.source.leave()

    assert members(kafka_group).keys() == {"stays"}


def test_the_partitions_of_a_member_that_left_move_to_the_others(kafka_group: Any) -> None:
    stays, leaves = kafka_group.join(instance="stays"), kafka_group.join(instance="leaves")
    turn_until(lambda: stays.source.assignment() and leaves.source.assignment(), stays, leaves)
    kafka_group.fill(1, partition=0)
    kafka_group.fill(1, partition=1)

    leaves.source.leave()

    stays.poll(at_least=2)
    assert len(stays.source.assignment()) == 2


def test_who_leaves_late_does_not_take_its_successor_along(kafka_group: Any) -> None:
    first = kafka_group.join()
    first.poll()
    successor = kafka_group.join()
    successor.poll()

    with pytest.raises(TransportError):
        first.source.leave()

    assert members(kafka_group).keys() == {"one"}
    successor.source.close()


def test_a_member_that_never_joined_leaves_nobody(kafka_group: Any) -> None:
    kafka_group.join().poll()

    kafka_group.join().source.leave()

    assert members(kafka_group).keys() == {"one"}


def test_a_fenced_producer_names_who_took_over(kafka_group: Any) -> None:
    """As a worker does that was suspended for longer than its session."""
    first = kafka_group.join(status_topic="")
    first.poll()
    sink = first.open_sink()
    first.source.leave()
    second = kafka_group.join(properties="client.id=the-other-one")
    second.poll()
    second.open_sink()

    with pytest.raises(FencedError, match=r"^the-other-one at 127\.0\.0\.1 took over the transactional id"):
        sink.deliver([Output(kafka_group.topic, 0, None, b"late", [], 1)], {})


def test_nobody_took_over_from_who_still_has_the_name_under_a_client_id_of_its_own(
    kafka_group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.membership.HOLDER_SECONDS", 0.3)
    member = kafka_group.join(status_topic="", properties="client.id=my-own")
    member.poll()

    error = member.source.membership.fenced("transactional id", "x")

    assert str(error).startswith("another process took over"), error


def test_statuses_of_another_group_say_nothing_about_who_took_over(
    kafka_group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.membership.HOLDER_SECONDS", 2)
    create_topics(kafka_group.servers, {status_topic(kafka_group): 1})
    member = kafka_group.join(status_topic=status_topic(kafka_group))
    member.poll()
    with telling(kafka_group, group_id="another", process="a-namesake"):
        unknown = member.source.membership.fenced("transactional id", "x")
    with telling(kafka_group, group_id=kafka_group.name, process="the-successor"):
        known = member.source.membership.fenced("transactional id", "x")

    assert str(unknown).startswith("another process took over"), unknown
    assert str(known).startswith("the-successor took over"), known


def test_a_producer_whose_successor_is_not_known_says_so(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.membership.HOLDER_SECONDS", 0.3)
    first = kafka_group.join(status_topic="")
    first.poll()
    sink = first.open_sink()
    first.open_sink()

    with pytest.raises(FencedError, match=r"^another process took over the transactional id"):
        sink.deliver([], {(kafka_group.topic, 0): 1})


def test_a_client_is_named_after_its_host_and_process_unless_the_user_names_it(kafka_group: Any) -> None:
    kafka_group.join(instance="ours").poll()
    assert members(kafka_group) == {"ours": f"limelight-{socket.gethostname()}-{os.getpid()}"}
    assert client_id() == members(kafka_group)["ours"]
