"""The steps of a transaction, each bounded by the deadline that they share."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from worker.ports import Committed, Output, Partition
from worker.transport.deadline import Deadline
from worker.transport.librdkafka.refusals import find_refusal

REPORTS = {"delivery.report.only.error": True}
"""What `send_all` wants of its producer."""
FLUSH_STEP_SECONDS = 0.1


def send_all(producer: Producer, outputs: Sequence[Output], deadline: Deadline) -> None:
    """Sends `outputs`, in the open transaction if there is one, and waits until every one is confirmed.

    Args:
        producer: reports only what failed, as `REPORTS` have it: a report of success would cost more than the sending.
        outputs: what to send.
        deadline: until then.

    Raises:
        OutputRefusedError: the brokers refuse at least one for what it is.
        KafkaException: at least one was not confirmed.
    """
    failures: dict[int, KafkaError] = {}

    def report(number: int, error: KafkaError, _message: Message) -> None:
        failures[number] = error

    for number, output in enumerate(outputs):
        producer.produce(
            output.topic,
            output.value,
            output.key,
            output.partition,
            on_delivery=partial(report, number),
            timestamp=output.timestamp_ms,
            headers=cast("list[Any]", output.headers),
        )
    is_flushed = _flush(producer, deadline, until=lambda: bool(failures))
    if failures:
        first = min(failures)
        raise find_refusal(outputs, failures) or KafkaException(failures[first], outputs[first].topic)
    if not is_flushed:
        raise _out_of_time("a send was not confirmed in time")


def _flush(producer: Producer, deadline: Deadline, *, until: Callable[[], bool]) -> bool:
    """Flushes, and looks up now and then: after a failure the others may wait for the end of their time.

    Returns:
        Whether the fate of everything that was sent is known.
    """
    try:
        while producer.flush(min(FLUSH_STEP_SECONDS, deadline.remaining_seconds())):
            if until() or not deadline.remaining_seconds():
                return False
    except SystemError as broken:
        # The binding raises a fatal error while it hands out reports, and so breaks the report that comes next.
        if isinstance(broken.__cause__, KafkaException):
            raise broken.__cause__ from None
        raise
    return True


def send_offsets(producer: Producer, offsets: Mapping[Partition, Committed], group: Any, deadline: Deadline) -> None:
    """Adds the offsets to the transaction, on behalf of the member of the consumer group that `group` describes.

    The call exceeds its own timeout by as long as a request may take, and while a coordinator is looked for it has been
    seen to wait without end.

    Raises:
        KafkaException: they were not added.
    """
    positions = [TopicPartition(*home, each.offset, metadata=each.metadata) for home, each in offsets.items()]
    remaining_seconds = deadline.remaining_seconds()
    _within(deadline, lambda: producer.send_offsets_to_transaction(positions, group, remaining_seconds))


def begin(producer: Producer) -> None:
    """Begins a transaction, which waits for nobody.

    Raises:
        KafkaException: the last one has not ended.
    """
    producer.begin_transaction()


def initialise(producer: Producer, deadline: Deadline) -> None:
    """Takes the transactional id over, and settles what its last holder left open.

    Raises:
        KafkaException: not in time, or it may not.
    """
    producer.init_transactions(deadline.remaining_seconds())


def commit(producer: Producer, deadline: Deadline) -> None:
    """Commits the transaction.

    Raises:
        KafkaException: it may be committed or not.
    """
    producer.commit_transaction(deadline.remaining_seconds())


def abort(producer: Producer, deadline: Deadline) -> None:
    """Aborts the transaction.

    Raises:
        KafkaException: it is still open.
    """
    producer.abort_transaction(deadline.remaining_seconds())


def _within(deadline: Deadline, call: Callable[[], None]) -> None:
    """Runs `call` on a thread, which is left behind when it takes too long."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(deadline.remaining_seconds())
    if thread.is_alive():
        raise _out_of_time("the group's coordinator did not answer in time")
    if raised:
        raise raised[0]


def _out_of_time(reason: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, reason))
