"""Records as CSV: one line for each round, one column for each figure."""

import csv
import io
from collections.abc import Sequence

from msgspec import UNSET

from worker.messages import RoundRecord

_FIXED = ("run", "round", "timestamp_ms", "seconds", "clients", "examples")


def to_csv(records: Sequence[RoundRecord]) -> bytes:
    """Writes all figures that any of the records has; where one has not, the cell is empty."""
    rows = [_row(record) for record in records]
    found = dict.fromkeys(name for row in rows for name in row if name not in _FIXED)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [*_FIXED, *sorted(found)])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _row(record: RoundRecord) -> dict[str, object]:
    heldout = {} if record.heldout is UNSET else record.heldout
    return {
        "run": record.run,
        "round": record.round,
        "timestamp_ms": record.timestamp_ms,
        "seconds": record.seconds,
        # How many: who they were is of no use in a table.
        "clients": len(record.clients),
        "examples": record.examples,
        **{f"train.{name}": value for name, value in record.train.items()},
        **{f"heldout.{name}": value for name, value in heldout.items()},
    }
