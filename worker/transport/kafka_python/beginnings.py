"""Where a group begins to read a topic, settled for all partitions at once before anybody has joined.

A partition without a committed offset begins at its oldest record: what is added to the topic later belongs to the
group from its first record on. So a group that is to begin elsewhere gets its offsets before its first member comes.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from worker.beginning import Begin
from worker.errors import TransportError
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.reader import KafkaReader


def has_begun(admin: KafkaAdmin, *, topic: str, group_id: str) -> bool:
    """Whether `group_id` has committed where it is in `topic`.

    Raises:
        TransportError: the brokers did not tell.
    """
    return any(name == topic for name, _ in admin.committed(group_id))


def begin_group(client: Mapping[str, Any], *, topic: str, group_id: str, begin: Begin) -> bool:
    """Commits where `group_id` begins to read `topic`, unless it has begun before.

    Args:
        client: connection properties, from `worker.transport.kafka_python.properties.client_properties`.
        topic: what it reads.
        group_id: a group that nobody has joined yet.
        begin: where each partition begins.

    Returns:
        False if it had begun before; nothing was changed.

    Raises:
        TransportError: the brokers did not tell, or did not take it.
    """
    with closing(KafkaAdmin(client)) as admin:
        if has_begun(admin, topic=topic, group_id=group_id):
            return False
        with closing(KafkaReader(client, topic=topic, begin="beginning")) as reader:
            offsets = {(topic, number): offset for number, offset in reader.find(begin).items()}
        try:
            admin.commit(group_id, offsets)
        except TransportError:
            # Somebody was faster, and has joined meanwhile.
            if not has_begun(admin, topic=topic, group_id=group_id):
                raise
            return False
    return True
