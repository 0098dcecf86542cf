"""Opens the worker's connections with the client library that the settings name; only that one is imported."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from worker.errors import SettingsError
from worker.ports import Offsets, Sink, Source
from worker.settings import Settings, variable
from worker.stream.ownership import Ownership
from worker.transport.at_least_once import AtLeastOnceSink
from worker.transport.membership import Membership
from worker.transport.producing import Producers, TransactionalProducers
from worker.transport.terms import REQUEST_SECONDS, client_id
from worker.transport.transactional import TransactionalSink

log = logging.getLogger(__name__)


class GroupSource(Source, Protocol):
    """A source that belongs to a consumer group."""

    def group_metadata(self, *, anew: bool) -> Any:
        """Implements `worker.transport.transactional.GroupMetadata`."""
        ...

    @property
    def membership(self) -> Membership:
        """What the group knows of this member."""
        ...

    def leave(self) -> None:
        """Closes, and leaves the group for good: others get the partitions at once, not when the session times out.

        Raises:
            TransportError: the group did not take note.
        """
        ...

    @property
    def commit_soon(self) -> Callable[[Offsets], None]:
        """Takes offsets, on any thread, that the source commits between its polls and before their partitions go."""
        ...


class Feed(Protocol):
    """A plain producer."""

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        ...

    def send(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Queues a record; a failure is raised by the next `send` or `flush`."""
        ...

    def flush(self, *, timeout_seconds: float) -> None:
        """Waits until everything that was sent is confirmed, or raises `TransportError`."""
        ...

    def close(self) -> None:
        """Ends the connection; what was not flushed may be lost."""
        ...


class Library(NamedTuple):
    """What a client library provides."""

    properties: Callable[[Settings], Any]
    source: Callable[..., GroupSource]
    producers: Callable[..., Producers[Any]]
    transactional_producers: Callable[..., TransactionalProducers[Any]]
    feed: Callable[..., Feed]


class Connections:
    """The settings' brokers, reached through the settings' client. Nothing connects before it is opened."""

    def __init__(self, settings: Settings) -> None:
        """
        Args:
            settings: effective settings.

        Raises:
            SettingsError: the client is not installed, or does not take the user's properties.
        """
        self._settings = settings
        self._library = _load(settings.transport)
        self._client = self._library.properties(settings)

    def open_source(self, *, instance: str, ownership: Ownership) -> GroupSource:
        """Joins the group, which begins where the settings say if it has not begun before.

        Args:
            instance: static member id.
            ownership: told which partitions come and go.

        Raises:
            BrokerUnreachableError: no broker answered.
            TopicMissingError: the input topic does not exist.
        """
        settings = self._settings
        if settings.start == "latest":
            _begin_at_the_end(settings)
        return self._library.source(
            self._client,
            topics=settings.input_topics(),
            group_id=settings.group_id,
            instance=instance,
            offset_gap=settings.offset_gap,
            session_timeout_seconds=settings.session_timeout_seconds,
            ownership=ownership,
            membership=_load_membership(settings, instance),
            may_repeat=settings.delivery == "at_least_once",
        )

    def open_sink(self, *, transactional_id: str, source: GroupSource) -> Sink:
        """Takes the transactional id over, where the settings ask for transactions.

        Args:
            transactional_id: stable name of the producer.
            source: where the offsets come from that the sink commits.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        settings, library = self._settings, self._library
        deadline_seconds = settings.delivery_deadline_seconds
        if settings.delivery == "at_least_once":
            producers = library.producers(self._client, deadline_seconds=deadline_seconds)
            return AtLeastOnceSink(producers, commit_soon=source.commit_soon, deadline_seconds=deadline_seconds)
        transactional = library.transactional_producers(
            self._client,
            transactional_id=transactional_id,
            group_id=settings.group_id,
            transaction_timeout_seconds=settings.transaction_timeout_seconds,
            deadline_seconds=deadline_seconds,
        )
        return TransactionalSink(
            transactional,
            transactional_id=transactional_id,
            group=source.group_metadata,
            deadline_seconds=deadline_seconds,
            fenced=source.membership.fenced_or_expired,
            await_news=source.membership.await_news,
        )

    def open_outlet(self) -> Sink:
        """A sink that belongs to no group: what it is told to commit is nobody's.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        deadline_seconds = self._settings.delivery_deadline_seconds
        producers = self._library.producers(self._client, deadline_seconds=deadline_seconds)
        return AtLeastOnceSink(producers, commit_soon=lambda _: None, deadline_seconds=deadline_seconds)

    def open_feed(self, *, block_seconds: float = REQUEST_SECONDS) -> Feed:
        """
        Args:
            block_seconds: how long sending a record may wait for the brokers.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        return self._library.feed(self._client, block_seconds=block_seconds)


def _begin_at_the_end(settings: Settings) -> None:
    from worker.transport.kafka_python.beginnings import begin_group  # noqa: PLC0415 - it loads a client
    from worker.transport.kafka_python.properties import client_properties  # noqa: PLC0415

    for topic in settings.input_topics():
        if begin_group(client_properties(settings), topic=topic, group_id=settings.group_id, begin="end"):
            log.warning(
                "group %r has committed nothing: it begins at the end of %s, and what stands there is not answered",
                settings.group_id,
                topic,
            )


def _load_membership(settings: Settings, instance: str) -> Membership:
    from worker.transport.kafka_python.membership import KafkaMembership  # noqa: PLC0415 - it loads a client
    from worker.transport.kafka_python.properties import client_properties  # noqa: PLC0415

    return KafkaMembership(
        client_properties(settings),
        # The user's own is among the properties of the client that was chosen, whichever that is.
        client_id=settings.property_values().get("client.id", client_id()),
        group_id=settings.group_id,
        instance=instance,
        status_topic=settings.status_topic,
        transaction_timeout_seconds=settings.transaction_timeout_seconds,
    )


def _load(transport: str) -> Library:
    try:
        return _load_kafka_python() if transport == "kafka-python" else _load_librdkafka()
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingsError(
            f"{variable('transport')}=librdkafka needs a package that is not installed. "
            "Run: pip install 'limelight[librdkafka]'"
        ) from error


def _load_kafka_python() -> Library:
    from worker.transport.kafka_python.feed import KafkaFeed  # noqa: PLC0415 - only the chosen one
    from worker.transport.kafka_python.producers import KafkaProducers, KafkaTransactionalProducers  # noqa: PLC0415
    from worker.transport.kafka_python.properties import client_properties  # noqa: PLC0415
    from worker.transport.kafka_python.source import KafkaSource  # noqa: PLC0415

    return Library(client_properties, KafkaSource, KafkaProducers, KafkaTransactionalProducers, KafkaFeed)


def _load_librdkafka() -> Library:
    from worker.transport.librdkafka.feed import LibrdkafkaFeed  # noqa: PLC0415 - only the chosen one
    from worker.transport.librdkafka.producers import (  # noqa: PLC0415
        LibrdkafkaProducers,
        LibrdkafkaTransactionalProducers,
    )
    from worker.transport.librdkafka.properties import client_properties  # noqa: PLC0415
    from worker.transport.librdkafka.source import LibrdkafkaSource  # noqa: PLC0415

    return Library(
        client_properties, LibrdkafkaSource, LibrdkafkaProducers, LibrdkafkaTransactionalProducers, LibrdkafkaFeed
    )
