"""Rounds on a topic of a real broker; and a broker that is not there ends nothing."""

import json
from contextlib import closing

import msgspec
import pytest
from kafka import KafkaConsumer

from deploy.local.kafka.topics import create_topics
from federated.training_topic import TOPIC, open_topic
from worker.messages import RoundRecord

pytestmark = pytest.mark.kafka


def record(number):
    return RoundRecord(
        run="run-1", round=number, rounds=3, timestamp_ms=0, seconds=1.0, clients=[1], examples=2, train={"loss": 0.5}
    )


def test_every_round_is_on_the_topic(broker):
    create_topics(broker, {TOPIC: 1})
    with open_topic(broker) as send:
        for number in (1, 2, 3):
            send(record(number))
    with closing(
        KafkaConsumer(
            TOPIC, bootstrap_servers=broker, group_id=None, auto_offset_reset="earliest", consumer_timeout_ms=20_000
        )
    ) as consumer:
        found = [next(consumer) for _ in range(3)]
    assert [message.key for message in found] == [b"run-1"] * 3
    assert [msgspec.json.decode(message.value, type=RoundRecord) for message in found] == [record(n) for n in (1, 2, 3)]
    assert json.loads(found[0].value)["train"] == {"loss": 0.5}


def test_a_broker_that_is_not_there_is_said_once_and_ends_nothing(capfd):
    with open_topic("127.0.0.1:1") as send:
        send(record(1))
        while "no longer go to" not in capfd.readouterr().err:
            send(record(2))
        send(record(3))
    assert "Traceback" not in capfd.readouterr().err
