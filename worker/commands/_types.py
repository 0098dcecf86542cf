"""What options take: argparse types with messages that say what would be right."""

import re
from argparse import ArgumentTypeError

from worker.beginning import Begin, parse_begin
from worker.clock import SystemClock

BEGIN = "beginning, end, a time such as 2026-11-22T20:15, or how long ago, such as 15m"
"""What to say about an option of type `begin`."""


def count(text: str) -> int:
    """A number of things, at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return number


def begin(text: str) -> Begin:
    """A place in a topic; see `worker.beginning`."""
    try:
        return parse_begin(text, now_ms=SystemClock().now_ms())
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def typed_begin(text: str) -> tuple[str, Begin]:
    """The same, and how it was typed: what is ago moves on, and yet it is the same that was asked for."""
    return text, begin(text)


def name(text: str) -> str:
    """A word that can be a part of Kafka's names."""
    return _word(text, "name", most=100)


def topic(text: str) -> str:
    """A topic, as Kafka allows it. The cluster would answer another name as if nothing were wrong with it."""
    return _word(text, "topic", most=249)


def _word(text: str, kind: str, *, most: int) -> str:
    if not re.fullmatch(rf"[a-zA-Z0-9._-]{{1,{most}}}", text):
        allowed = f"at most {most} letters, digits, dots, underscores and dashes"
        raise ArgumentTypeError(f"{text!r} is no {kind}: give {allowed}")
    return text
