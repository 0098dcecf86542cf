"""Pages of Prometheus' text format from several processes as one.

================  =======================================================================================
counters,         summed. A process that was started again begins at 0: what its predecessor had counted
histograms        is kept, for a sum that falls would look to Prometheus like a counter that was reset
gauges            summed if they are parts of a whole (`SUMMED`); otherwise one series for each process,
                  with the label ``process``
================  =======================================================================================
"""

from collections.abc import Mapping
from typing import NamedTuple

SUMMED = frozenset(
    {
        "limelight_assigned_partitions",
        "limelight_lag_records",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
    }
)
_CUMULATIVE = frozenset({"counter", "histogram"})


class Family(NamedTuple):
    """A metric."""

    kind: str
    """counter, gauge or histogram."""
    help: str
    series: dict[str, float]
    """Name with labels, as they stand on the page -> value."""


Families = dict[str, Family]


class Life(NamedTuple):
    """What a process has said last."""

    number: int
    """Which life of the process: counted up with each start."""
    families: Families


class Exposition:
    """Merges the pages of processes that come and go."""

    def __init__(self) -> None:
        self._lives: dict[int, Life] = {}
        self._former: Families = {}
        """What earlier lives had counted."""

    def merge(self, pages: Mapping[int, tuple[int, bytes]]) -> bytes:
        """
        Args:
            pages: process -> which life of it, and its page. Who does not answer keeps what it had counted.
        """
        for process, (life, page) in pages.items():
            before = self._lives.get(process)
            if before is not None and before.number != life:
                _add(self._former, before.families, process, only_counts=True)
            self._lives[process] = Life(life, parse(page))
        merged: Families = {}
        for process, last in self._lives.items():
            _add(merged, last.families, process, only_counts=process not in pages)
        _add(merged, self._former, 0, only_counts=True)
        return render(merged)


def _add(total: Families, families: Families, process: int, *, only_counts: bool) -> None:
    for name, family in families.items():
        is_count = family.kind in _CUMULATIVE
        if only_counts and not is_count:
            continue
        _, _, summed = total.setdefault(name, Family(family.kind, family.help, {}))
        for series, value in family.series.items():
            key = series if is_count or name in SUMMED else _labelled(series, process)
            summed[key] = summed.get(key, 0.0) + value


def _labelled(series: str, process: int) -> str:
    label = f'process="{process}"'
    return f"{series[:-1]},{label}}}" if series.endswith("}") else f"{series}{{{label}}}"


def parse(page: bytes) -> Families:
    """Reads what ``prometheus_client.generate_latest`` wrote: each metric's HELP, TYPE and series, in this order."""
    families: Families = {}
    text, family = "", Family("", "", {})
    for line in page.decode().split("\n"):
        if line.startswith("# HELP "):
            text = line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            families[name] = family = Family(kind, text, {})
        elif line:
            series, _, value = line.rpartition(" ")
            family.series[series] = float(value)
    return families


def render(families: Families) -> bytes:
    """The same as text."""
    lines = []
    for name, family in families.items():
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        lines += [f"{series} {value}" for series, value in family.series.items()]
    return ("\n".join(lines) + "\n").encode()
