"""What was measured while the cases ran: printed as a table at the end, and written as JSON."""

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


class Figure(NamedTuple):
    """Anything else that was measured."""

    case: str
    what: str
    value: float
    bar: float | None
    """What is promised on a machine that does nothing else."""


class Report:
    """Collects."""

    def __init__(self) -> None:
        self._waits: list[Wait] = []
        self._figures: list[Figure] = []
        self._verdicts: dict[str, Verdict] = {}

    def add_waits(self, case: str, what: str, seconds: list[float], *, bar_seconds: float) -> None:
        """Notes the waits of a case; `bar_seconds` is what is promised on a machine that does nothing else."""
        self._waits.append(Wait(case, what, seconds, bar_seconds))

    def add_figure(self, case: str, what: str, value: float, *, bar: float | None) -> None:
        """Notes a figure of a case."""
        self._figures.append(Figure(case, what, value, bar))

    def add_verdict(self, case: str, verdict: Verdict) -> None:
        """Notes how a case ended."""
        self._verdicts[case] = verdict

    def table(self) -> str:
        """The waits, one line for a case, then the sums of all verdicts; empty if nothing ran."""
        if not self._verdicts:
            return ""
        lines = [
            f"{'longest wait of a reader of one partition':64} {'strikes':>7} {'median':>8} {'longest':>8} {'bar':>6}"
        ]
        for case, what, seconds, bar in self._waits:
            ordered = sorted(seconds)
            median, longest = ordered[len(ordered) // 2], ordered[-1]
            lines.append(f"{f'{case}: {what}':64} {len(ordered):7} {median:6.2f} s {longest:6.2f} s {bar:4.0f} s")
        for case, what, value, most in self._figures:
            lines.append(f"{f'{case}: {what}':90} {value:8.2f}" + (f" {most:6.4g}" if most is not None else ""))
        sums = {name: sum(map(len, found)) for name, found in self._findings().items()}
        sent = sum(verdict.sent for verdict in self._verdicts.values())
        found = ", ".join(f"{count} {name}" for name, count in sums.items())
        return "\n".join([*lines, f"{len(self._verdicts)} cases, {sent} records: {found}"])

    def write(self, path: Path) -> None:
        """Writes everything as JSON."""
        verdicts = {
            case: {name: len(found) if isinstance(found, list) else found for name, found in verdict._asdict().items()}
            for case, verdict in self._verdicts.items()
        }
        content = {
            "waits": [wait._asdict() for wait in self._waits],
            "figures": [figure._asdict() for figure in self._figures],
            "verdicts": verdicts,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")

    def _findings(self) -> dict[str, list[list[object]]]:
        names = [name for name in Verdict._fields if name not in ("sent", "answered")]
        return {name: [getattr(verdict, name) for verdict in self._verdicts.values()] for name in names}
