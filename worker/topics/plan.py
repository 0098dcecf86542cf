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


def roles(settings: Settings) -> dict[str, Role]:
    """What each topic of the settings is for.

    Those of `ROUTES` are inputs, too. There is no status topic if none is published, and a shadow's only with a
    registry.
    """
    topics = {
        **dict.fromkeys(settings.input_topics(), Role.INPUT),
        settings.output_topic: Role.OUTPUT,
        settings.dead_letter_topic: Role.DEAD_LETTERS,
        settings.status_topic: Role.STATUS,
        (settings.shadow_topic if settings.registry else ""): Role.SHADOW,
    }
    topics.pop("", None)
    return topics


class Inputs(NamedTuple):
    """The input topics that exist, as far as the others have to suit them."""

    partitions: int | None
    """Of the one that has the most; None if there is none."""
    record_bytes: int | None
    """The largest record that one of them takes; None if that is not known."""


def find_inputs(settings: Settings, cluster: ClusterFacts) -> Inputs:
    """Looks at the input topics of the settings."""
    existing = [facts for topic in settings.input_topics() if isinstance(facts := cluster.topics[topic], TopicFacts)]
    limits = [int(facts.configs["max.message.bytes"]) for facts in existing if facts.configs is not None]
    return Inputs(max((facts.partitions for facts in existing), default=None), max(limits, default=None))


def plan_topics(
    settings: Settings, cluster: ClusterFacts, *, partitions: int | None = None, replication_factor: int | None = None
) -> list[NewTopic]:
    """The topics that do not exist.

    Args:
        settings: name them.
        cluster: says which exist.
        partitions: of each but the status topic; by default as many as the inputs have.
        replication_factor: by default `REPLICAS`, or as many as there are brokers.
    """
    inputs = find_inputs(settings, cluster)
    partitions = partitions or inputs.partitions or PARTITIONS
    replicas = replication_factor or min(REPLICAS, cluster.brokers)
    return [
        NewTopic(topic, 1 if role is Role.STATUS else partitions, replicas, configs)
        for topic, role in roles(settings).items()
        if cluster.topics[topic] is Absence.MISSING
        for configs in [_configs(role, inputs.record_bytes or EVENT_BYTES) | _durability(replicas)]
    ]


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
