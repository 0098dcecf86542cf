"""The topics that are missing, as they should be created."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from worker.settings import Settings
from worker.topics.facts import Absence, ClusterFacts, TopicFacts

PARTITIONS = 4
"""Of a new input topic: as many workers can share it."""
REPLICAS = 3
"""Of a new topic, if there are so many brokers."""
EVENT_BYTES = 1_048_588
"""Kafka's own default limit on a record, said all the same: a broker can be configured otherwise."""
ANSWER_HEADROOM_BYTES = 64 * 1024
"""A refused record grows by its reason, and a prediction is about as large as its event and a bit: with the limit of
the input alone, an answer to the largest events could not be written."""


class Role(Enum):
    """What a topic is for."""

    INPUT = "input"
    OUTPUT = "predictions"
    DEAD_LETTERS = "dead letters"
    STATUS = "statuses"
    SHADOW = "predictions of a shadow"


class NewTopic(NamedTuple):
    """A topic to create."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


def roles(settings: Settings) -> dict[Role, str]:
    """The topics of the settings; no status topic if none is published, and a shadow's only with a registry."""
    topics = {
        Role.INPUT: settings.input_topic,
        Role.OUTPUT: settings.output_topic,
        Role.DEAD_LETTERS: settings.dead_letter_topic,
        Role.STATUS: settings.status_topic,
        Role.SHADOW: settings.shadow_topic if settings.registry else "",
    }
    return {role: topic for role, topic in topics.items() if topic}


def plan_topics(
    settings: Settings, cluster: ClusterFacts, *, partitions: int | None = None, replication_factor: int | None = None
) -> list[NewTopic]:
    """The topics that do not exist.

    Args:
        settings: name them.
        cluster: says which exist.
        partitions: of each but the status topic; by default as many as the input has.
        replication_factor: by default `REPLICAS`, or as many as there are brokers.
    """
    existing = cluster.topics[settings.input_topic]
    if isinstance(existing, TopicFacts):
        partitions = partitions or existing.partitions
    limit_bytes = _limit_bytes(existing)
    replicas = replication_factor or min(REPLICAS, cluster.brokers)
    return [
        NewTopic(topic, 1 if role is Role.STATUS else partitions or PARTITIONS, replicas, configs)
        for role, topic in roles(settings).items()
        if cluster.topics[topic] is Absence.MISSING
        for configs in [_configs(role, limit_bytes) | _durability(replicas)]
    ]


def _limit_bytes(existing: TopicFacts | Absence) -> int:
    if isinstance(existing, TopicFacts) and existing.configs is not None:
        return int(existing.configs["max.message.bytes"])
    return EVENT_BYTES


def _configs(role: Role, limit_bytes: int) -> dict[str, str]:
    match role:
        case Role.INPUT:
            return {"cleanup.policy": "delete", "max.message.bytes": str(limit_bytes)}
        case Role.OUTPUT | Role.DEAD_LETTERS | Role.SHADOW:
            return {"cleanup.policy": "delete", "max.message.bytes": str(limit_bytes + ANSWER_HEADROOM_BYTES)}
        case Role.STATUS:
            return {"cleanup.policy": "compact"}


def _durability(replication_factor: int) -> dict[str, str]:
    """One replica may be down without stopping the writers, and a confirmed record has a second copy."""
    return {"min.insync.replicas": "2" if replication_factor >= REPLICAS else "1"}
