"""What a Kafka cluster says about topics and permissions, and the creation of topics."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NoError,
    SecurityDisabledError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.structs import OffsetAndMetadata

from worker.errors import TransportError
from worker.ports import Offsets, Partition
from worker.topics.facts import Absence, Access, TopicFacts
from worker.topics.plan import NewTopic
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.client import connect, transport_error

COORDINATOR_SECONDS = 10.0
"""The first question about a group or a transactional id makes a new cluster create the topic that answers it."""
RETRY_SECONDS = 0.1
ANSWERS = (GroupAuthorizationFailedError, TransactionalIdAuthorizationFailedError, TransactionalIdNotFoundError)
"""Errors that tell what was asked."""
PERMISSIONS = "who may do what"


class KafkaAdmin:
    """Asks and orders in the name of the settings' user."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        """
        Args:
            client: connection properties, from `worker.transport.kafka_python.properties.client_properties`.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._admin = connect(KafkaAdminClient, client)

    def count_brokers(self) -> int:
        """Brokers that serve now."""
        cluster = self._ask("the cluster cannot be described", self._admin.describe_cluster)
        return sum(not broker.get("is_fenced", False) for broker in cluster["brokers"])

    def describe_topics(self, topics: Iterable[str]) -> dict[str, TopicFacts | Absence]:
        """What is known about each topic.

        Raises:
            TransportError: the cluster did not tell.
        """
        names = list(topics)
        problem = "the topics cannot be described"
        resources = [ConfigResource("TOPIC", name) for name in names]
        found = self._ask(problem, lambda: self._admin.describe_topics(names))
        configs = self._ask(problem, lambda: self._admin.describe_configs(resources, config_filter="all"))["topic"]
        return {topic["name"]: _facts(topic, configs[topic["name"]]) for topic in found}

    def create(self, topic: NewTopic) -> bool:
        """Creates a topic and returns when each of its partitions has a leader.

        Returns:
            False if it exists already; it was not changed.

        Raises:
            TransportError: the cluster refused.
        """
        request = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replication_factor,
                "configs": dict(topic.configs),
            }
        }
        what = f"topic {topic.name!r} cannot be created"
        answer = self._ask(what, lambda: self._admin.create_topics(request, raise_errors=False))
        # Not the client's own error, which would show the whole request and the whole response.
        [result] = answer["topics"]
        if result["error_code"] == TopicAlreadyExistsError.errno:
            return False
        if result["error_code"]:
            raise TransportError(f"{what}: {result['error_message'] or for_code(result['error_code']).__name__}")
        self._ask(what, lambda: self._admin.wait_for_topics([topic.name]))
        return True

    def delete(self, topics: Iterable[str]) -> None:
        """Deletes topics with everything in them.

        Raises:
            TransportError: the cluster refused.
        """
        names = list(topics)
        self._ask("the topics cannot be deleted", lambda: self._admin.delete_topics(names))

    def committed(self, group_id: str) -> dict[Partition, tuple[int, str]]:
        """Offset and the text beside it, of each partition for which the group has committed.

        Raises:
            TransportError: the cluster did not tell.
        """
        question = f"what group {group_id!r} has committed"
        found = self._ask_coordinator(question, lambda: self._admin.list_group_offsets(group_id))[group_id]
        return {(p.topic, p.partition): (each.offset, each.metadata) for p, each in found.items() if each.offset >= 0}

    def commit(self, group_id: str, offsets: Offsets, *, note: str = "") -> None:
        """Commits for a group that has no members, with a text beside each offset.

        Raises:
            TransportError: the group has members, or the cluster did not take them.
        """
        asked = {
            TopicPartition(*partition): OffsetAndMetadata(offset, note, -1) for partition, offset in offsets.items()
        }
        problem = f"what group {group_id!r} begins with"
        answers = self._ask_coordinator(problem, lambda: self._admin.alter_group_offsets(group_id, asked))
        for partition, answer in answers.items():
            if answer is not NoError:
                raise transport_error(f"{partition.topic}-{partition.partition}: {problem} is not taken", answer())

    def group_access(self, group_id: str, principal: str) -> Access:
        """Whether this user may read as a member of a group.

        Raises:
            TransportError: the cluster did not tell.
        """
        try:
            group = self._ask_coordinator(PERMISSIONS, lambda: self._admin.describe_groups([group_id]))[group_id]
        except GroupAuthorizationFailedError:
            return Access.DENIED
        if (operations := group["authorized_operations"]) is not None:
            return Access.ALLOWED if "READ" in operations else Access.DENIED
        # Of a group that does not exist yet the broker tells nothing.
        return self._ruled_access(ResourceType.GROUP, group_id, ACLOperation.READ, principal)

    def transactional_access(self, transactional_id: str, principal: str) -> Access:
        """Whether this user may write under a transactional id.

        Raises:
            TransportError: the cluster did not tell.
        """
        try:
            self._ask_coordinator(PERMISSIONS, lambda: self._admin.describe_transactions([transactional_id]))
        except TransactionalIdNotFoundError:
            pass
        except TransactionalIdAuthorizationFailedError:
            # Who may write may also describe.
            return Access.DENIED
        return self._ruled_access(ResourceType.TRANSACTIONAL_ID, transactional_id, ACLOperation.WRITE, principal)

    def close(self) -> None:
        """Ends the connection."""
        self._admin.close()

    def _ruled_access(self, kind: ResourceType, name: str, operation: ACLOperation, principal: str) -> Access:
        """What the ACLs say, if they may be seen. Super users, and defaults of the broker, stand in no ACL."""
        resource = ResourcePatternFilter(kind, name, ACLResourcePatternType.MATCH)
        everything = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, resource)
        try:
            rules, _ = self._admin.describe_acls(everything)
        except SecurityDisabledError:
            return Access.ALLOWED
        except ClusterAuthorizationFailedError:
            return Access.UNKNOWN
        except KafkaError as error:
            raise transport_error("the ACLs cannot be described", error) from error
        permissions = {
            rule.permission_type
            for rule in rules
            if rule.principal in (principal, "User:*")
            and rule.host == "*"
            and rule.operation in (operation, ACLOperation.ALL)
        }
        if ACLPermissionType.DENY in permissions:
            return Access.DENIED
        return Access.ALLOWED if ACLPermissionType.ALLOW in permissions else Access.UNKNOWN

    def _ask(self, problem: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except KafkaError as error:
            raise transport_error(problem, error) from error

    def _ask_coordinator(self, what: str, question: Callable[[], Any]) -> Any:
        deadline = Deadline(COORDINATOR_SECONDS)
        while True:
            try:
                return question()
            except ANSWERS:
                raise
            except KafkaError as error:
                if not error.retriable or not deadline.remaining_seconds():
                    raise transport_error(f"the cluster does not tell {what}", error) from error
                time.sleep(RETRY_SECONDS)


def _facts(topic: Mapping[str, Any], configs: Mapping[str, Any]) -> TopicFacts | Absence:
    match topic["error_code"]:
        case UnknownTopicOrPartitionError.errno:
            return Absence.MISSING
        case TopicAuthorizationFailedError.errno:
            return Absence.HIDDEN
    partitions, operations = topic["partitions"], topic["authorized_operations"]
    return TopicFacts(
        partitions=len(partitions),
        replication_factor=min((len(each["replica_nodes"]) for each in partitions), default=0),
        in_sync_replicas=min((len(each["isr_nodes"]) for each in partitions), default=0),
        leaderless=sum(each["leader_id"] < 0 for each in partitions),
        # To who may not see them the client shows none at all.
        configs={name: config["value"] for name, config in configs.items()} or None,
        operations=None if operations is None else frozenset(operations),
    )
