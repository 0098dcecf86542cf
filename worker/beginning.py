"""Where reading begins, as a person types it."""

import re
from datetime import datetime
from typing import Literal

Begin = Literal["beginning", "end"] | int
"""One of the two ends of a topic, or its first record at or after a time in milliseconds since the epoch."""

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"([0-9]{1,9})([smhd])")


def parse_begin(text: str, *, now_ms: int) -> Begin:
    """Reads ``beginning``, ``end``, a time in ISO 8601, or how long ago: ``90s``, ``15m``, ``2h``, ``7d``.

    Args:
        text: what was typed. A time without a zone is local.
        now_ms: what "ago" counts from.

    Raises:
        ValueError: it is none of these; the message says what would be.
    """
    match text:
        case "beginning" | "end":
            return text
    if ago := _AGO.fullmatch(text):
        return max(0, now_ms - int(ago[1]) * UNITS_MS[ago[2]])
    try:
        time_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        time_ms = -1
    if time_ms < 0:
        raise ValueError(
            f"{text!r} is no place to begin: give beginning, end, a time since 1970 such as 2026-11-22T20:15, or how "
            "long ago, such as 15m"
        )
    return time_ms
