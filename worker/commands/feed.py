"""``python -m worker feed``: fill a topic with events, at a rate."""

import argparse
import math
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import msgspec

from worker.commands import _types as types
from worker.commands._leaving import leaving_at_interrupt
from worker.settings import Settings
from worker.transport.connections import Connections, Feed
from worker.transport.files import STANDARD_STREAM, open_input

FLUSH_SECONDS = 30.0
FLUSH_RECORDS = 10_000
TICK_SECONDS = 0.02
"""The rate is kept per tick: smaller ticks cost more wake-ups, larger ones make bursts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--input", default=STANDARD_STREAM, help="one record a line; - is standard input (default)")
    parser.add_argument("--topic", type=types.topic, metavar="T", help="any topic; default: LIMELIGHT_INPUT_TOPIC")
    parser.add_argument("--rate", type=rate, default=0.0, help="records a second; 0 (default) is as fast as it goes")
    parser.add_argument("--key-field", help="JSON field whose value becomes the record's key; default: no key")


def rate(text: str) -> float:
    """Parses a number of records a second."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def run(arguments: argparse.Namespace) -> int:
    """Sends every line as it is; lines need not be valid events. At Ctrl-C, what is not confirmed may be lost."""
    settings = Settings.from_environment()
    # Not a setting in place of ours: which topics a worker reads and writes is none of the feed's business.
    topic = arguments.topic or settings.input_topic
    with leaving_at_interrupt(), closing(Connections(settings).open_feed()) as feed:
        feed.require(topic)
        with open_input(arguments.input) as lines:
            count = _send(feed, lines, topic, arguments)
        feed.flush(timeout_seconds=FLUSH_SECONDS)
    print(f"{count} records sent to {topic}", file=sys.stderr)
    return 0


def _send(feed: Feed, lines: Iterable[bytes], topic: str, arguments: argparse.Namespace) -> int:
    started_seconds = time.monotonic()
    count = 0
    for line in lines:
        value = line.rstrip(b"\r\n")
        feed.send(topic, value, key=_key(value, arguments.key_field))
        count += 1
        if count % FLUSH_RECORDS == 0:
            # The client queues without limit.
            feed.flush(timeout_seconds=FLUSH_SECONDS)
        if arguments.rate > 0:
            ahead_seconds = count / arguments.rate - (time.monotonic() - started_seconds)
            if ahead_seconds > TICK_SECONDS:
                time.sleep(ahead_seconds)
    return count


def _key(value: bytes, field: str | None) -> bytes | None:
    """The record's key, or None where the line has none: a malformed line is sent all the same."""
    if field is None:
        return None
    try:
        found = msgspec.json.decode(value, type=dict[str, Any]).get(field)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found is None:
        return None
    return found.encode() if isinstance(found, str) else msgspec.json.encode(found)
