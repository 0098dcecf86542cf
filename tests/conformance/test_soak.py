"""What a soak counts, and what it calls growth."""

import pytest
from harness.ledger import Answer, Sent, Source
from harness.soak import MEMORY_NOISE_BYTES, Outcome, Sample, slope
from harness.tally import Counts, Tally

pytestmark = pytest.mark.fast

MEGABYTE = 1 << 20


def sent(offset: int) -> Sent:
    return Sent(Source(0, offset), str(offset), "prediction", 1.0, None, b"", [])


def answer(offset: int, identity: object = "source", at: float = 1.5) -> Answer:
    named = Source(0, offset) if identity == "source" else identity
    return Answer(named, "prediction", "out", 0, at, 0, None)


def test_a_tally_counts_like_a_ledger() -> None:
    tally = Tally(partitions=1)
    tally.note_answers([answer(0)])
    tally.note_sent([sent(n) for n in range(4)])
    tally.note_answers([answer(1), answer(1), answer(1), answer(9), answer(0, identity=None)])

    assert tally.count() == Counts(sent=4, answered=6, lost=2, duplicated=2, stray=2)


def test_latency_is_from_confirmation_to_arrival() -> None:
    tally = Tally(partitions=1)
    tally.note_sent([sent(0), sent(1)])
    tally.note_answers([answer(1, at=3.0), answer(0, at=1.25)])

    assert tally.take_latencies() == [0.25, 2.0]
    assert tally.take_latencies() == []


def outcome(*, rss: list[int], latency: list[float], **counts: int) -> Outcome:
    samples = [Sample(10.0 * n, r, 100.0, p, p) for n, (r, p) in enumerate(zip(rss, latency, strict=True))]
    return Outcome(
        1000.0, 800.0, samples, Counts(**{"sent": 9, "answered": 9, "lost": 0, "duplicated": 0, "stray": 0} | counts)
    )


def test_a_flat_run_has_no_findings() -> None:
    rss = [90 * MEGABYTE] * 4 + [120 * MEGABYTE, 121 * MEGABYTE] * 8

    assert outcome(rss=rss, latency=[0.05] * 20).findings() == []


def test_growth_is_found() -> None:
    leaking = outcome(rss=[(100 + 2 * n) * MEGABYTE for n in range(20)], latency=[0.05] * 20)
    slowing = outcome(rss=[MEGABYTE] * 20, latency=[0.05] * 10 + [0.3] * 10)
    losing = outcome(rss=[MEGABYTE] * 20, latency=[0.05] * 20, lost=2)

    assert leaking.findings() == ["memory grew by 38.0 MiB, 8.0 MiB are allowed"]
    assert slowing.findings() == ["the median latency grew from 50 to 300 ms"]
    assert losing.findings() == ["2 records lost"]
    assert leaking.memory_growth_bytes() > MEMORY_NOISE_BYTES


def test_the_slope_is_that_of_least_squares() -> None:
    assert slope([0, 1, 2, 3], [1, 3, 5, 7]) == 2
    assert slope([5], [3]) == 0
