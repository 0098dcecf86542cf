"""Finds out whether the brokers refuse an output for what it is.

A batch that holds such a record fails whole. The library tells what a batch was refused for, and not which of its
records the broker named.
"""

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError

from worker.errors import OutputRefusedError
from worker.ports import Output
from worker.transport.librdkafka.client import describe
from worker.transport.terms import refused_error

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
REFUSALS = TOO_LARGE | {KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}


def find_refusal(outputs: Sequence[Output], failures: Mapping[int, KafkaError]) -> OutputRefusedError | None:
    """The error to raise if one of `failures`, by the place of its output, is about what the output is."""
    refused = {number: error for number, error in failures.items() if error.code() in REFUSALS}
    return refused_error(
        outputs,
        {number: describe(error) for number, error in refused.items()},
        named=[],
        is_too_large=any(error.code() in TOO_LARGE for error in refused.values()),
    )
