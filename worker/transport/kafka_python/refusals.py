"""Finds out which outputs the brokers refuse for what they are.

A batch that holds such a record fails whole. Newer brokers name the guilty ones in it (KIP-467), and the client gives
each of those an error of its own, the others another kind. Where the batch was refused as a whole, all of its records
get one and the same error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.producer.future import FutureRecordMetadata

from worker.errors import OutputRefusedError
from worker.ports import Output
from worker.transport.kafka_python.client import describe
from worker.transport.terms import refused_error

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
REFUSALS = (*TOO_LARGE, InvalidRecordError, InvalidTimestampError)
BATCH_SECONDS = 1.0
"""The records of a batch that has failed get their errors one after the other, on the client's thread."""


def find_refusal(outputs: Sequence[Output], futures: Sequence[FutureRecordMetadata]) -> OutputRefusedError | None:
    """The error to raise if one of `futures` has failed because of what its output is."""
    refused = {number: error for number, error in _failures(futures).items() if isinstance(error, REFUSALS)}
    shared = Counter(map(id, refused.values()))
    return refused_error(
        outputs,
        {number: describe(error) for number, error in refused.items()},
        named=[number for number, error in refused.items() if shared[id(error)] == 1],
        is_too_large=any(isinstance(error, TOO_LARGE) for error in refused.values()),
    )


def _failures(futures: Sequence[FutureRecordMetadata]) -> Mapping[int, KafkaError]:
    failures = {}
    for number, future in enumerate(futures):
        if future.is_done or future._produce_future.is_done:
            try:
                future.get(timeout=BATCH_SECONDS)
            except KafkaError as error:
                failures[number] = error
    return failures
