"""Takes the times: interleaved, so that what else the machine does falls on all contestants alike."""

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from federated.bench.contestants import RunRound, open_contestant
from federated.bench.shapes import SHAPES

LEADER = "xla"
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Result(Struct, frozen=True):
    """One contestant on one shape."""

    shape: str
    contestant: str
    first_seconds: float
    """The first round, with everything that is traced and compiled in it."""
    seconds: list[float]
    """Of the other rounds."""
    median_seconds: float
    times_slower: float
    """Median over the pairs of how many times as long as `LEADER` it took; 1 for `LEADER` itself."""
    peak_mib: float
    """The most memory that this process had during the rounds after the first, with all that earlier contestants and
    shapes have left in it: to learn what one needs, measure it alone."""
    loss: float
    """After the last round: the same for all, or they do not do the same."""


def measure(shape: str, contestants: Sequence[str], *, pairs: int, report: Callable[[Result], None]) -> list[Result]:
    """Runs each contestant for one round and then for `pairs` rounds, each beside a round of `LEADER`.

    Args:
        shape: a key of `SHAPES`.
        contestants: names; `LEADER` need not be among them, it always runs.
        pairs: how many.
        report: told about each result as soon as it is there.
    """
    with open_contestant(LEADER, SHAPES[shape]) as leader:
        leader_first, _ = _time(leader, 1)
        results = [_measure_alone(shape, leader, leader_first, pairs)]
        report(results[0])
        number = pairs + 1
        for name in contestants:
            if name == LEADER:
                continue
            with open_contestant(name, SHAPES[shape]) as other:
                results.append(_measure_pairs(shape, name, leader, other, first=number + 1, pairs=pairs))
                number += pairs
            report(results[-1])
    return results


def _measure_alone(shape: str, leader: RunRound, first_seconds: float, pairs: int) -> Result:
    _reset_peak()
    rounds = [_time(leader, 2 + number) for number in range(pairs)]
    return _summarize(shape, LEADER, first_seconds, rounds, [1.0])


def _measure_pairs(shape: str, name: str, leader: RunRound, other: RunRound, *, first: int, pairs: int) -> Result:
    first_seconds, _ = _time(other, 1)
    _reset_peak()
    rounds, ratios = [], []
    for number in range(pairs):
        beside, _ = _time(leader, first + number)
        rounds.append(_time(other, 2 + number))
        ratios.append(rounds[-1][0] / beside)
    return _summarize(shape, name, first_seconds, rounds, ratios)


def _summarize(
    shape: str, name: str, first_seconds: float, rounds: list[tuple[float, float]], ratios: list[float]
) -> Result:
    seconds = [taken for taken, _ in rounds]
    return Result(
        shape=shape,
        contestant=name,
        first_seconds=round(first_seconds, 4),
        seconds=[round(one, 5) for one in seconds],
        median_seconds=round(statistics.median(seconds), 5),
        times_slower=round(statistics.median(ratios), 2),
        peak_mib=round(_peak_mib(), 1),
        loss=round(rounds[-1][1], 5),
    )


def _time(run_round: RunRound, number: int) -> tuple[float, float]:
    started = time.perf_counter()
    loss = run_round(number)
    return time.perf_counter() - started, loss


def _reset_peak() -> None:
    # Not everywhere may a process do so; the peak is then that since its start.
    with contextlib.suppress(OSError):
        _RESET.write_text("5")


def _peak_mib() -> float:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
