"""What was measured while the cases ran: printed as a table at the end, and written as JSON.

A bar is what is promised on a machine that does nothing else. Where nothing is promised, a guide stands in brackets in
its place: it only keeps a case from waiting for ever.
"""

import json
from pathlib import Path
from typing import NamedTuple

from harness.ledger import Verdict


class Wait(NamedTuple):
    """Longest waits of the reader of one partition, in seconds."""

    case: str
    what: str
    seconds: list[float]
    bar_seconds: float
    is_promised: bool

    @property
    def overshoots(self) -> list[float]:
        """The waits that broke the promise."""
        return [each for each in self.seconds if self.is_promised and each > self.bar_seconds]

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        median, longest = ordered[len(ordered) // 2], ordered[-1]
        bar = f"{self.bar_seconds:.0f} s" if self.is_promised else f"({self.bar_seconds:.0f} s)"
        line = f"{f'{self.case}: {self.what}':84} {len(ordered):7} {median:6.2f} s {longest:6.2f} s {bar:>7}"
        over = self.overshoots
        return f"{line}  MISSED by {len(over)}: {' '.join(f'{each:.2f}' for each in over)}" if over else line


class Figure(NamedTuple):
    """Anything else that was measured."""

    case: str
    what: str
    value: float
    bar: float | None

    @property
    def is_missed(self) -> bool:
        """True if the promise is broken."""
        return self.bar is not None and self.value > self.bar

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"{self.bar:.4g}"
        line = f"{f'{self.case}: {self.what}':101} {self.value:8.2f} {bar:>7}"
        return f"{line}  MISSED" if self.is_missed else line.rstrip()


class Report:
    """Collects."""

    def __init__(self) -> None:
        self._waits: list[Wait] = []
        self._figures: list[Figure] = []
        self._verdicts: dict[str, Verdict] = {}

    def add_waits(self, case: str, what: str, seconds: list[float], *, bar_seconds: float, is_promised: bool) -> None:
        """Notes the waits of a case beside their bar, or their guide."""
        self._waits.append(Wait(case, what, seconds, bar_seconds, is_promised))

    def add_figure(self, case: str, what: str, value: float, *, bar: float | None) -> None:
        """Notes a figure of a case."""
        self._figures.append(Figure(case, what, value, bar))

    def add_verdict(self, case: str, verdict: Verdict) -> None:
        """Notes how a case ended."""
        self._verdicts[case] = verdict

    @property
    def missed(self) -> int:
        """How many waits and figures broke a promise."""
        return sum(len(wait.overshoots) for wait in self._waits) + sum(each.is_missed for each in self._figures)

    def table(self) -> str:
        """The waits, one line for a case, then the sums of all verdicts; empty if nothing ran."""
        if not (self._waits or self._figures or self._verdicts):
            return ""
        what = "longest wait of a reader of one partition"
        head = f"{what:84} {'strikes':>7} {'median':>8} {'longest':>8} {'bar':>7}"
        sums = {name: sum(map(len, found)) for name, found in self._findings().items()}
        sent = sum(verdict.sent for verdict in self._verdicts.values())
        found = ", ".join(f"{count} {name}" for name, count in sums.items())
        last = f"{len(self._verdicts)} cases, {sent} records: {found}; bars missed: {self.missed}"
        return "\n".join([head, *map(str, self._waits), *map(str, self._figures), last])

    def write(self, path: Path) -> None:
        """Writes everything as JSON."""
        verdicts = {
            case: {name: len(found) if isinstance(found, list) else found for name, found in verdict._asdict().items()}
            for case, verdict in self._verdicts.items()
        }
        content = {
            "waits": [wait._asdict() for wait in self._waits],
            "figures": [figure._asdict() for figure in self._figures],
            "missed": self.missed,
            "verdicts": verdicts,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")

    def _findings(self) -> dict[str, list[list[object]]]:
        names = [name for name in Verdict._fields if name not in ("sent", "answered")]
        return {name: [getattr(verdict, name) for verdict in self._verdicts.values()] for name in names}
