"""Asking for offsets, through a consumer of its own that never joins the group.

On the connection of the member that reads, a question would wait behind the fetch that waits for records. The library's
admin client is no alternative: while brokers come and go, its question for committed offsets can end the process, with
a failed assertion or a null pointer (its issues 4605 and 5040), and it may wait for a coordinator that is dead.
"""

import random
from collections.abc import Collection, Iterable
from functools import partial
from itertools import takewhile

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from worker.ports import Committed, Partition
from worker.transport.deadline import Deadline
from worker.transport.librdkafka.client import close, code_of, connect, find_partitions, principal
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.rights import Rights
from worker.transport.terms import METADATA_SECONDS, RETRY_BACKOFF_MS, require_topic

NO_OFFSET = -1001
"""Of a partition for which the group has committed nothing."""
FIRST = OFFSET_BEGINNING
END = OFFSET_END
ANSWER_SECONDS = METADATA_SECONDS
"""Nothing is polled meanwhile. A question that takes longer is better asked again, when the brokers have settled."""
SINGLE_SECONDS = 0.2
"""For one partition of several of which an open transaction holds back at least one: the library waits for its end."""


class OffsetLookup:
    """Knows what a group has committed, and where logs begin and end."""

    def __init__(self, client: ClientProperties, *, group_id: str) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            group_id: whose committed offsets are asked for.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        properties = {
            "group.id": group_id,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            # It has none; but the library wants it to be shorter than the user's max.poll.interval.ms.
            "session.timeout.ms": 1,
            "retry.backoff.ms": RETRY_BACKOFF_MS,
        }
        self._rights = Rights(partial(principal, client), "READ", group_id=group_id)
        self._consumer = connect(Consumer, "C", client, properties)

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._consumer, topic, self._rights), topic)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        """What is committed, None where nothing is. What an open transaction may still change is left out.

        Raises:
            KafkaException: not answered, for none of them.
        """
        if not partitions:
            return {}
        try:
            return self._committed(partitions, ANSWER_SECONDS)
        except KafkaException as error:
            # One answer for all, or none: one that is held back holds up the others.
            if code_of(error) != KafkaError._TIMED_OUT or not (found := self._committed_singly(partitions)):
                raise
            return found

    def _committed_singly(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        found: dict[Partition, Committed | None] = {}
        # In any order: if time runs out, other partitions come first the next time.
        singly = random.sample(list(partitions), len(partitions)) if len(partitions) > 1 else []
        deadline = Deadline(ANSWER_SECONDS)
        for partition in singly:
            if not deadline.remaining_seconds():
                break
            try:
                found |= self._committed([partition], SINGLE_SECONDS)
            except KafkaException as error:
                if code_of(error) != KafkaError._TIMED_OUT:
                    raise
        return found

    def _committed(self, partitions: Collection[Partition], seconds: float) -> dict[Partition, Committed | None]:
        answers = self._consumer.committed([TopicPartition(*partition) for partition in partitions], seconds)
        return {
            (each.topic, each.partition): None if each.offset == NO_OFFSET else Committed(each.offset, _note(each))
            for each in _checked(answers)
        }

    def logged(self, partitions: Iterable[Partition], which: int) -> dict[Partition, int]:
        """Where logs begin, or end for a ``read_committed`` reader.

        Args:
            partitions: what to ask about.
            which: `FIRST` or `END`.

        Raises:
            KafkaException: not answered.
        """
        asked = [TopicPartition(*partition, which) for partition in partitions]
        if not asked:
            return {}
        answers = self._consumer.offsets_for_times(asked, ANSWER_SECONDS)
        return {(each.topic, each.partition): each.offset for each in _checked(answers)}

    def close(self) -> None:
        """Ends the connection."""
        close(self._consumer)


def _note(answer: TopicPartition) -> str:
    """The note beside a committed offset.

    The binding may read on behind the end of a note of fewer than 8 bytes, and calls the whole a text. What it finds in
    memory is rarely UTF-8, or printable: it is cut there.
    """
    try:
        text = answer.metadata or ""
    except UnicodeDecodeError as error:
        text = error.object[: error.start].decode()
    return "".join(takewhile(str.isprintable, text))


def _checked(answers: list[TopicPartition]) -> list[TopicPartition]:
    for each in answers:
        if each.error is not None:
            raise KafkaException(each.error)
    return answers
