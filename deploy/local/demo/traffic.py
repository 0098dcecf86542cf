"""What is streamed: events from JSON Lines, with malformed records among them."""

from collections.abc import Iterable, Iterator
from random import Random

import msgspec

from deploy.local.demo.malformed import malformed_records
from deploy.local.demo.records import Outgoing

BLOCK = 50
"""One record of each block of so many is malformed: 2 %."""


class _Line(msgspec.Struct):
    client: str | None = None


def mix(lines: Iterable[bytes], *, seed: int, max_batch_bytes: int) -> Iterator[Outgoing]:
    """Yields the events, keyed by their client, and a malformed record at a random place of each `BLOCK`.

    Args:
        lines: events as JSON, one each.
        seed: of the places and of the malformed records.
        max_batch_bytes: the input topic's ``max.message.bytes``.
    """
    random = Random(seed)
    malformed = malformed_records(seed=seed, max_batch_bytes=max_batch_bytes)
    decoder = msgspec.json.Decoder(_Line)
    slots = _slots(random)
    for line in lines:
        while next(slots):
            yield next(malformed)
        value = line.rstrip(b"\n")
        client = decoder.decode(value).client
        yield Outgoing(None if client is None else client.encode(), value, [])


def _slots(random: Random) -> Iterator[bool]:
    """Yields True where a malformed record belongs."""
    while True:
        place = random.randrange(BLOCK)
        for index in range(BLOCK):
            yield index == place
