"""Transactions that fail at any step, in any order: nothing is lost, nothing is doubled."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming.running import Run, event, sources
from streaming.streams import FAILURES, PARTITIONS, MemoryStream

from worker.bundle import Bundle


@pytest.mark.parametrize("step", FAILURES)
def test_a_failed_transaction_loses_and_doubles_nothing(stream: Any, tiny_bundle: Bundle, step: str) -> None:
    appended = [stream.append(n % PARTITIONS, event("late" if n % 4 else "")) for n in range(30)]
    run = Run(stream, tiny_bundle, slice_records=10)
    stream.fail([step])

    run.until_idle()

    assert len(run.failures) == 1
    assert Counter(sources(stream)) == Counter(appended)


def test_a_successor_goes_on_where_the_last_commit_was(stream: Any, tiny_bundle: Bundle) -> None:
    appended = [stream.append(0, event(f"box {n}")) for n in range(12)]
    Run(stream, tiny_bundle, slice_records=5).until_committed(5)

    appended += [stream.append(0, event("box again")) for _ in range(3)]
    Run(stream, tiny_bundle).until_idle()

    assert sources(stream) == appended


steps = st.lists(st.sampled_from([*FAILURES, "late", ""]), max_size=12)


@pytest.mark.fast
@given(steps, st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.booleans()), max_size=25), st.integers(1, 9))
def test_any_sequence_of_failures_is_survived(
    tiny_bundle: Bundle, failures: list[str], records: list[tuple[int, bool]], slice_records: int
) -> None:
    stream = MemoryStream()
    appended = [stream.append(partition, event("thanks") if good else b"") for partition, good in records]
    stream.fail(failures)

    Run(stream, tiny_bundle, slice_records=slice_records).until_idle(expect_records=bool(records))

    assert Counter(sources(stream)) == Counter(appended)
