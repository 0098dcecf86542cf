"""Answers a stretch of the past once more, into a topic of its own, beside the workers that follow the present.

The group of a backfill is named after its output topic, so it disturbs nobody, several workers can share it, and one
that died goes on where its last transaction ended. Where it begins is committed for that group before anybody joins.
"""

from contextlib import closing

import structlog

from worker.beginning import Begin
from worker.errors import SettingsError
from worker.ports import Offsets
from worker.settings import Settings
from worker.transport.kafka_python.beginnings import begin_group
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

log = structlog.get_logger("worker")


def backfill_settings(settings: Settings, *, output_topic: str) -> Settings:
    """The settings of a backfill: another group, another output topic, and no status beside that of the others.

    Raises:
        SettingsError: the output topic is one that the live workers use.
    """
    if output_topic in (settings.input_topic, settings.output_topic, settings.dead_letter_topic, settings.status_topic):
        raise SettingsError(
            f"--output-topic {output_topic} is a topic of the live workers. Give the backfill one of its own, made by: "
            f"LIMELIGHT_OUTPUT_TOPIC={output_topic} python -m worker topics create"
        )
    group_id = f"{settings.group_id}.backfill.{output_topic}"
    return settings.model_copy(update={"group_id": group_id, "output_topic": output_topic, "status_topic": ""})


def prepare(settings: Settings, *, begin: Begin, until: Begin) -> Offsets:
    """Commits where the group begins, unless it has begun before, and finds out where it ends.

    Returns:
        The offset of each partition behind the last record to answer. ``end`` is the end at this moment.

    Raises:
        TransportError: the brokers did not tell, or the topic does not exist.
    """
    client, topic = client_properties(settings), settings.input_topic
    if not begin_group(client, topic=topic, group_id=settings.group_id, begin=begin):
        log.warning(
            "the group has begun before and goes on where it was, whatever --from says", group_id=settings.group_id
        )
    with closing(KafkaReader(client, topic=topic, begin="beginning")) as reader:
        return {(topic, number): end for number, end in reader.find(until).items()}
