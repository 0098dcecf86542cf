"""Records that cannot be scored, one kind for each way in which real producers go wrong.

Each carries its kind in a header, so that the audit knows what was meant, and headers of every shape that Kafka
allows, so that a dead letter which changes them is found out.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from random import Random

from kafka.record.default_records import DefaultRecordBatchBuilder

from deploy.local.demo.records import Outgoing
from worker.messages import Headers

KIND_HEADER = "limelight-demo-malformed"
NESTING = 10_000
_TEXT = "Please call me back about my order."

Value = Callable[[Random], bytes | None]

_SMALL: Mapping[str, Value] = {
    "invalid UTF-8": lambda random: b'{"text": "caf' + bytes([random.randrange(0x80, 0xC0)]) + b'"}',
    "broken JSON": lambda random: f'{{"text": "{_TEXT}"'.encode()[: random.randrange(1, 20)],
    "missing field": lambda random: f'{{"message": "{_TEXT}", "id": {random.randrange(1000)}}}'.encode(),
    "wrong type": lambda random: f'{{"text": {random.choice(("12", "null", "[]", "true"))}}}'.encode(),
    "empty text": lambda random: f'{{"text": "{random.choice(("", " "))}"}}'.encode(),
    "no value": lambda _: None,
    "neither key nor value": lambda _: None,
    "deep nesting": lambda _: f'{{"text": "{_TEXT}", "extra": {"[" * NESTING}{"]" * NESTING}}}'.encode(),
}
_LARGEST = "largest value"
KINDS = (*_SMALL, _LARGEST)


def malformed_records(*, seed: int, max_batch_bytes: int) -> Iterator[Outgoing]:
    """Yields malformed records without end, going round all `KINDS`; the same seed gives the same records.

    Args:
        seed: of the details.
        max_batch_bytes: the topic's ``max.message.bytes``, which the largest one fills to the last byte.
    """
    random = Random(seed)
    for kind in cycle(KINDS):
        key = None if kind == "neither key nor value" else random.randbytes(6)
        headers: Headers = [(KIND_HEADER, kind.encode()), ("trace", None), ("trace", b"\x00\xff"), ("empty", b"")]
        value = _SMALL[kind](random) if kind in _SMALL else _largest(key, headers, max_batch_bytes)
        yield Outgoing(key, value, headers)


def kind_of(headers: Headers) -> str | None:
    """The kind of a malformed record; None for a well-formed one."""
    return next((value.decode() for name, value in headers if name == KIND_HEADER and value is not None), None)


def _largest(key: bytes | None, headers: Headers, max_batch_bytes: int) -> bytes:
    """A JSON text that was cut off where the broker's limit is: alone in its batch, it fills it exactly."""

    def batch_bytes(value_bytes: int) -> int:
        record: int = DefaultRecordBatchBuilder.size_in_bytes(0, 0, key, bytes(value_bytes), headers)
        header: int = DefaultRecordBatchBuilder.header_size_in_bytes()
        return header + record

    size = bisect_right(range(max_batch_bytes), max_batch_bytes, key=batch_bytes) - 1
    return b'{"text": "'.ljust(size, b"x")
