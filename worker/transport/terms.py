"""What every client of Kafka is held to: sizes, times, and the words of the errors that both can meet.

The sizes bound the memory that records take, however large they are:

===============================  =======================================================================================
fetched, and not polled yet      kafka-python: one `PARTITION_FETCH_BYTES` for each partition; librdkafka: its
                                 ``QUEUE_BYTES``, and one answer of that size from each broker on the way
polled, and not committed yet    ``SLICES_AHEAD`` slices of ``LIMELIGHT_SLICE_BYTES``, and the poll that went beyond it
sent, and not confirmed yet      the answers that one transaction takes: part of the line above, which counts them
===============================  =======================================================================================
"""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from worker.errors import (
    BrokerUnreachableError,
    FencedError,
    OffsetGapError,
    OutputRefusedError,
    SettingsError,
    TopicMissingError,
    TransportError,
)
from worker.ports import Output

OffsetGap = Literal["stop", "skip"]

BOOTSTRAP_SECONDS = 10
RETRY_BACKOFF_MS = 5
"""A client sleeps this long when the coordinator is still busy with the last transaction. With the clients' default of
100 ms, 5-38 % of the transactions stall for 100-225 ms."""
RECONNECT_MAX_MS = 500
"""By default the pauses between attempts to connect grow to 10 s (librdkafka) or 30 s (kafka-python): a broker that is
back would be noticed that late."""
REQUEST_SECONDS = 5
COMMIT_SECONDS = REQUEST_SECONDS
"""For a commit outside a transaction. Nothing is polled meanwhile."""
METADATA_SECONDS = 2
LINGER_MS = 20
"""Lets a slice fill few large batches; a flush does not wait for it."""
BATCH_BYTES = 256 * 1024
"""Smaller where a topic takes no records of this size: its limit holds for batches too."""
MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Above any sensible topic limit: the broker judges the size of a record, not the client."""
DEFAULT_RECORD_LIMIT_BYTES = 1_048_588
"""``max.message.bytes`` of a topic that was created without."""
PARTITION_FETCH_BYTES = 512 * 1024
"""Most bytes of one partition in one answer to a fetch; a record that is larger comes alone."""
MAX_POLL_SECONDS = 30
HEARTBEAT_MS = 500
"""A member learns of a rebalance with its next heartbeat: at a third of the session, two workers that start together
wait seconds for each other."""
END_SECONDS = 2


def client_id() -> str:
    """Names this process to the brokers, and so to whoever asks them."""
    return f"limelight-{socket.gethostname()}-{os.getpid()}"


def unreachable(servers: str, *, within_seconds: float, reason: str) -> BrokerUnreachableError:
    """No broker answered at `servers`."""
    return BrokerUnreachableError(
        f"no Kafka broker answered at {servers} within {within_seconds:.0f} s: {reason}. "
        "Start one there, or set LIMELIGHT_BOOTSTRAP_SERVERS."
    )


def uninitialised(transactional_id: str, *, reason: str) -> BrokerUnreachableError:
    """The transaction coordinator did not answer."""
    return BrokerUnreachableError(
        f"transactional id {transactional_id!r} cannot be initialised: {reason}. "
        "Look at the broker's transaction state log."
    )


def unsupported(reason: str) -> TransportError:
    """The brokers are of another kind than those that the client can work with."""
    return TransportError(
        f"the brokers do not take what the client sends: {reason}. Run Kafka 2.5 or later, or set "
        "LIMELIGHT_DELIVERY=at_least_once if it is their transactions that are too old."
    )


def require_topic(partitions: set[int] | None, topic: str) -> set[int]:
    """Returns the partitions of `topic`.

    Raises:
        TopicMissingError: there are none.
    """
    if not partitions:
        raise TopicMissingError(f"topic {topic!r} does not exist. Create it, or name another in the settings.")
    return partitions


def gap(topic: str, partition: int, *, offset: int) -> OffsetGapError:
    """`offset` is no longer in the log."""
    return OffsetGapError(
        f"{topic}-{partition} no longer holds offset {offset}: retention removed records before they were scored. "
        "Lengthen the topic's retention; LIMELIGHT_OFFSET_GAP=skip goes on with the oldest record left."
    )


def beyond_end(topic: str, partition: int, *, offset: int, end: int) -> OffsetGapError:
    """The group is ahead of the log. Reading on anywhere would answer records twice or never."""
    return OffsetGapError(
        f"the group's offset {offset} of {topic}-{partition} lies behind the log's end {end}: the topic was made "
        "anew or truncated. Reset the group's offsets on purpose, or give LIMELIGHT_GROUP_ID a new name."
    )


def refused_error(
    outputs: Sequence[Output], refused: Mapping[int, str], *, named: Collection[int], is_too_large: bool
) -> OutputRefusedError | None:
    """The brokers refuse outputs for what they are.

    Args:
        outputs: what was delivered.
        refused: place in `outputs` -> reason, of those that failed for such a reason; empty gives None.
        named: those of them that the brokers named, and not the whole batch.
        is_too_large: whether something has too many bytes.
    """
    if not refused:
        return None
    # Alone there is nobody else to blame.
    certain = {number: refused[number] for number in (refused if len(outputs) == 1 else named)}
    first = outputs[min(refused)]
    return OutputRefusedError(
        f"{first.topic}-{first.partition} refuses {len(certain) or 'some'} of {len(outputs)} outputs: "
        f"{refused[min(refused)]}",
        outputs=certain,
        is_too_large=is_too_large,
    )


def session_refused(session_timeout_seconds: float) -> SettingsError:
    """The group's coordinator allows another range of session timeouts."""
    return SettingsError(
        f"the brokers take no session timeout of {session_timeout_seconds:g} s. Set LIMELIGHT_SESSION_TIMEOUT_SECONDS "
        "between their group.min.session.timeout.ms (6 s by default) and group.max.session.timeout.ms (30 min)."
    )


def fenced(kind: str, name: str, *, holder: str | None = None) -> FencedError:
    """Somebody else uses this worker's identity.

    Args:
        kind: of identity, ``transactional id`` or ``group instance``.
        name: the identity.
        holder: who, if that is known.
    """
    return FencedError(
        f"{holder or 'another process'} took over the {kind} {name!r}: this worker stops. Give every worker its own "
        "LIMELIGHT_INSTANCE_ID; if it was only suspended for long, start it again."
    )
