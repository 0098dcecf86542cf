"""Answers a stretch of the past once more, into a topic of its own, beside the workers that follow the present.

The group of a backfill is named after its output topic, so it disturbs nobody, several workers can share it, and one
that died goes on where its last transaction ended. Where it begins is committed for that group before anybody joins.
What was asked for is kept beside it, as the note of a group that nobody ever joins: who asks for another beginning
means another backfill, and its answers would lie among those of the first. The note comes first: whoever dies between
the two has begun nothing.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import structlog

from worker.beginning import Begin
from worker.errors import SettingsError
from worker.ports import Offsets, Partition
from worker.settings import Settings
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.beginnings import begin_group, has_begun
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

log = structlog.get_logger("worker")


def backfill_settings(settings: Settings, *, output_topic: str, dead_letter_topic: str | None) -> Settings:
    """The settings of a backfill: another group, other topics, and no status beside that of the others.

    Args:
        settings: of the live workers.
        output_topic: takes the answers.
        dead_letter_topic: takes what is refused; by default a topic named after the output topic.

    Raises:
        SettingsError: a topic is one that the live workers use, or both are the same.
    """
    letters = dead_letter_topic or f"{output_topic}.dlq"
    live = (settings.input_topic, settings.output_topic, settings.dead_letter_topic, settings.status_topic)
    if output_topic in (*live, *settings.routes) or letters in (*live[:2], live[3], output_topic, *settings.routes):
        raise SettingsError(
            f"--output-topic {output_topic} and its dead-letter topic {letters} must differ, and be none of the live "
            f"workers' topics. Give the backfill topics of its own, made by: LIMELIGHT_OUTPUT_TOPIC={output_topic} "
            f"LIMELIGHT_DEAD_LETTER_TOPIC={letters} python -m worker topics create"
        )
    return settings.model_copy(
        update={
            "group_id": f"{settings.group_id}.backfill.{output_topic}",
            "output_topic": output_topic,
            "dead_letter_topic": letters,
            "status_topic": "",
        }
    )


def prepare(settings: Settings, *, begin: Begin, asked: str, until: Begin) -> Offsets:
    """Commits where the group begins, unless it has begun before, and finds out where it ends.

    Args:
        settings: from `backfill_settings`.
        begin: where the stretch begins.
        asked: the same as it was typed: "2h" is another moment each time, and yet the same backfill.
        until: where it ends. ``end`` is the end at this moment.

    Returns:
        The offset of each partition of each input topic behind the last record to answer.

    Raises:
        SettingsError: the group has begun elsewhere.
        TransportError: the brokers did not tell, or the topic does not exist.
    """
    client = client_properties(settings)
    offsets: dict[Partition, int] = {}
    for topic in settings.input_topics():
        _note_beginning(settings, client, topic, asked=asked)
        begin_group(client, topic=topic, group_id=settings.group_id, begin=begin)
        with closing(KafkaReader(client, topic=topic, begin="beginning")) as reader:
            offsets |= {(topic, number): end for number, end in reader.find(until).items()}
    return offsets


def _note_beginning(settings: Settings, client: Mapping[str, Any], topic: str, *, asked: str) -> None:
    notes = f"{settings.group_id}.from"
    with closing(KafkaAdmin(client)) as admin:
        if has_begun(admin, topic=topic, group_id=settings.group_id):
            # The brokers forget what nobody has committed for `offsets.retention.minutes`.
            _, began = admin.committed(notes).get((topic, 0), (0, asked))
            if began != asked:
                raise SettingsError(
                    f"the backfill into {settings.output_topic} began with --from {began}, not {asked}. Give --from "
                    f"{began} to go on where it is, or another --output-topic to begin anew."
                )
            log.info("the backfill goes on where it was", group_id=settings.group_id, topic=topic)
        admin.commit(notes, {(topic, 0): 0}, note=asked)
