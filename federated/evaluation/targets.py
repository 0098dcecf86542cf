"""What it cost to get as far as a target: rounds, bytes and seconds until a figure first reached it."""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import UNSET

from worker.messages import RoundRecord


class Reached(NamedTuple):
    """The first evaluation at or above the target."""

    round: int
    bytes: int
    """Down to the cohorts and up again, so far."""
    seconds: float
    """Sum of the rounds' seconds so far."""


def first_reached(records: Iterable[RoundRecord], metric: str, target: float) -> Reached | None:
    """Where held-out `metric` first was at least `target`, or None.

    Args:
        records: of one run, in order.
        metric: key of `RoundRecord.heldout`.
        target: to reach.
    """
    sent_bytes, seconds = 0.0, 0.0
    for record in records:
        sent_bytes += record.train.get("bytes", 0.0)
        seconds += record.seconds
        if record.heldout is not UNSET and record.heldout.get(metric, float("-inf")) >= target:
            return Reached(record.round, int(sent_bytes), seconds)
    return None
