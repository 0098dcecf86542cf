"""Compares the topics of a cluster with what the worker needs of them."""

from collections.abc import Iterator

from worker.settings import Settings
from worker.topics.facts import Absence, ClusterFacts, Identities, TopicFacts
from worker.topics.findings import Finding, Level
from worker.topics.permissions import Permissions
from worker.topics.plan import ANSWER_HEADROOM_BYTES, REPLICAS, Role, find_inputs, plan_topics, roles
from worker.topics.tools import KafkaTools

ANSWERS = (Role.OUTPUT, Role.DEAD_LETTERS)
"""Roles of the topics that hold one record for each of the input."""
TOO_SMALL = {
    Role.OUTPUT: "a prediction repeats the event's tokens and passthrough, with a place and a weight for each token: "
    "that of an event at the input's limit is cut to its largest weights, or refused",
    Role.DEAD_LETTERS: "a refused record at the input's limit does not fit together with its reason: only a pointer to "
    "it is kept, which is worth as much as the input's retention",
}
REFUSES = {
    Role.INPUT: "",
    Role.OUTPUT: ", and the answer to a record without a key is refused: it becomes a dead letter",
    Role.DEAD_LETTERS: ", and a letter without a key is refused: the first such record stops the worker",
}
"""What a topic that compacts does besides."""
POINTER_BYTES = 4096
"""The largest dead letter that is only a pointer, with names and a reason as long as they may be. Where not even that
fits, the first refused record stops its partition."""


def check_cluster(settings: Settings, cluster: ClusterFacts, identities: Identities) -> Iterator[Finding]:
    """Everything that can be said about the settings' topics before a worker starts."""
    permissions, check = Permissions(settings, identities.principal), _Check(settings, cluster)
    for topic, role in roles(settings).items():
        match cluster.topics[topic]:
            case Absence.HIDDEN:
                yield permissions.hidden_topic(role, topic)
            case Absence.MISSING:
                yield check.missing(role, topic)
            case TopicFacts() as facts:
                problems = [*check.topic(role, topic, facts), *permissions.check_topic(role, topic, facts)]
                if facts.configs is None:
                    problems.append(permissions.hidden_properties(topic))
                yield _describe(role, topic, facts, is_fine=not problems)
                yield from problems
    yield from permissions.check_identities(identities)


def _describe(role: Role, topic: str, facts: TopicFacts, *, is_fine: bool) -> Finding:
    size = f", records up to {facts.configs['max.message.bytes']} bytes" if facts.configs else ""
    counts = f"partitions: {facts.partitions}, replication factor: {facts.replication_factor}"
    return Finding("ok" if is_fine else "found", topic, f"{role.value}, {counts}{size}")


class _Check:
    """Each method yields what is wrong, nothing if all is well."""

    def __init__(self, settings: Settings, cluster: ClusterFacts) -> None:
        self._settings = settings
        self._cluster = cluster
        self._tools = KafkaTools(settings)
        self._inputs = find_inputs(settings, cluster)

    def missing(self, role: Role, topic: str) -> Finding:
        [planned] = [each for each in plan_topics(self._settings, self._cluster) if each.name == topic]
        return Finding("error", topic, f"{role.value}, does not exist", self._tools.create_topic(planned))

    def topic(self, role: Role, topic: str, facts: TopicFacts) -> Iterator[Finding]:
        yield from self._replicas(topic, facts)
        if role in ANSWERS:
            yield from self._partitions(topic, facts)
        if facts.configs is not None:
            yield from self._in_sync(topic, facts, int(facts.configs["min.insync.replicas"]))
            yield from self._cleanup(role, topic, facts.configs["cleanup.policy"].split(","))
            if role in ANSWERS:
                yield from self._size(role, topic, int(facts.configs["max.message.bytes"]))

    def _replicas(self, topic: str, facts: TopicFacts) -> Iterator[Finding]:
        if facts.leaderless:
            yield Finding("error", topic, f"{facts.leaderless} partitions have no leader: bring their brokers back")
        if facts.replication_factor == 1 and self._cluster.brokers >= REPLICAS:
            message = (
                f"replication factor 1 on {self._cluster.brokers} brokers: the loss of one stops the worker and can "
                "lose records. Raise it with kafka-reassign-partitions.sh"
            )
            yield Finding("warning", topic, message)

    def _in_sync(self, topic: str, facts: TopicFacts, needed: int) -> Iterator[Finding]:
        setting = f"min.insync.replicas={needed}"
        if needed > facts.replication_factor:
            message = f"{setting} with {facts.replication_factor} replicas: nothing can be written"
            possible = str(max(1, facts.replication_factor - 1))
            yield Finding("error", topic, message, self._tools.set_config(topic, "min.insync.replicas", possible))
        elif facts.in_sync_replicas < needed:
            message = f"{setting}, but a partition has only {facts.in_sync_replicas} now: bring the brokers back"
            yield Finding("error", topic, message)
        elif facts.replication_factor >= REPLICAS and needed < 2:
            message = f"{setting}: the loss of one broker can lose records that were confirmed"
            yield Finding("warning", topic, message, self._tools.set_config(topic, "min.insync.replicas", "2"))

    def _partitions(self, topic: str, facts: TopicFacts) -> Iterator[Finding]:
        wanted = self._inputs.partitions
        if wanted is not None and facts.partitions < wanted:
            message = (
                f"{facts.partitions} partitions for {wanted} of the input: what comes from input "
                f"partition p stands in p mod {facts.partitions}, in order, beside others; fewer readers can share it. "
                "Add partitions only while no worker runs: records move to other partitions"
            )
            yield Finding("warning", topic, message, self._tools.add_partitions(topic, wanted))

    def _cleanup(self, role: Role, topic: str, policies: list[str]) -> Iterator[Finding]:
        if role is Role.STATUS and "compact" not in policies:
            message = "cleanup.policy is not compact: old statuses pile up, and the last one of a silent worker goes"
            yield Finding("warning", topic, message, self._tools.set_config(topic, "cleanup.policy", "compact"))
        elif role is not Role.STATUS and "compact" in policies:
            message = "cleanup.policy contains compact: only the last record of each key survives" + REFUSES[role]
            level: Level = "error" if role in ANSWERS else "warning"
            yield Finding(level, topic, message, self._tools.set_config(topic, "cleanup.policy", "delete"))

    def _size(self, role: Role, topic: str, limit_bytes: int) -> Iterator[Finding]:
        wanted_bytes = POINTER_BYTES if role is Role.DEAD_LETTERS else 0
        if self._inputs.record_bytes is not None:
            wanted_bytes = self._inputs.record_bytes + ANSWER_HEADROOM_BYTES
        command = self._tools.set_config(topic, "max.message.bytes", str(wanted_bytes))
        if role is Role.DEAD_LETTERS and limit_bytes < POINTER_BYTES:
            message = "not even a pointer to a refused record fits: the first one would stop the worker"
            yield Finding("error", topic, f"records up to {limit_bytes} bytes: {message}", command)
        elif limit_bytes < wanted_bytes:
            yield Finding("warning", topic, f"records up to {limit_bytes} bytes: {TOO_SMALL[role]}", command)
