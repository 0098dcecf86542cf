"""How slices are cut, joined and taken on their way from the poll to the commit."""

import threading
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ports import Partition, Record
from worker.stream.slices import Slice, SliceQueue, cut, join, size_of

pytestmark = pytest.mark.fast

LONG_SECONDS = 60
"""Nobody waits so long: the test would be seen to hang."""


def part(
    *offsets: int, partition: int = 0, epoch: int = 1, suspect: bool = False, since_seconds: float = 0, size: int = 1
) -> Slice:
    records = [Record("t", partition, offset, 0, None, b"x" * size, []) for offset in offsets]
    return Slice(records, {("t", partition): epoch}, size_of(records), since_seconds, suspect)


def offsets(slices: Iterable[Slice]) -> list[list[int]]:
    return [[record.offset for record in each.records] for each in slices]


def taken(*parts: Slice, max_records: int = 100, max_bytes: int = 1 << 20) -> list[list[list[int]]]:
    """What one take after the other brings, until nothing is left."""
    queue, found = SliceQueue(), []
    for each in parts:
        queue.put(each)
    while each := queue.take(timeout_seconds=0, max_records=max_records, max_bytes=max_bytes):
        found.append(offsets(each))
    return found


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_cut_keeps_every_record_in_order(sizes: list[int], max_bytes: int) -> None:
    records = [Record("t", 0, n, 0, None, b"x" * size, []) for n, size in enumerate(sizes)]

    parts = list(cut(records, max_bytes=max_bytes))

    assert [r for part in parts for r in part] == records
    assert all(sum(sizes[r.offset] for r in part[:-1]) < max_bytes for part in parts)


def test_what_waits_is_taken_together() -> None:
    assert taken(part(0, 1), part(2), part(3)) == [[[0, 1], [2], [3]]]


def test_a_slice_is_closed_by_its_records() -> None:
    assert taken(part(0, 1), part(2), part(3), part(4, 5, 6), max_records=3) == [[[0, 1], [2]], [[3]], [[4, 5, 6]]]


def test_a_slice_is_closed_by_its_bytes() -> None:
    assert taken(part(0, size=5), part(1, size=5), part(2, size=1), max_bytes=10) == [[[0], [1]], [[2]]]


def test_suspects_are_taken_apart() -> None:
    assert taken(part(0), part(1, suspect=True), part(2, suspect=True), part(3)) == [[[0]], [[1], [2]], [[3]]]


def test_a_slice_is_closed_by_time() -> None:
    queue = SliceQueue()
    queue.put(part(0, since_seconds=time.monotonic()))

    begin_seconds = time.monotonic()
    found = queue.take(timeout_seconds=0, max_records=9, max_bytes=9, linger_seconds=0.05)

    assert offsets(found) == [[0]]
    assert time.monotonic() - begin_seconds >= 0.04


def test_the_wait_counts_from_the_oldest_record() -> None:
    queue = SliceQueue()
    queue.put(part(0, since_seconds=time.monotonic() - LONG_SECONDS))

    assert offsets(queue.take(timeout_seconds=0, max_records=9, max_bytes=9, linger_seconds=LONG_SECONDS)) == [[0]]


def test_who_waits_for_more_goes_on_when_the_slice_is_full() -> None:
    queue = SliceQueue()
    queue.put(part(0, since_seconds=time.monotonic()))
    later = threading.Thread(target=lambda: [queue.put(part(1)), queue.put(part(2, 3))])
    later.start()

    found = queue.take(timeout_seconds=0, max_records=3, max_bytes=1 << 20, linger_seconds=LONG_SECONDS)
    later.join()

    assert offsets(found) == [[0], [1]]


def test_nothing_is_taken_from_an_empty_queue() -> None:
    assert taken() == []


parts = st.lists(
    st.builds(
        lambda count, partition, epoch: part(*range(count), partition=partition, epoch=epoch),
        st.integers(1, 4),
        st.integers(0, 2),
        st.integers(1, 3),
    ),
    min_size=1,
)


@given(parts, st.dictionaries(st.tuples(st.just("t"), st.integers(0, 2)), st.integers(1, 3)))
def test_join_keeps_the_records_of_the_current_epochs_in_order(
    parts: list[Slice], current: dict[Partition, int]
) -> None:
    stamped = [each._replace(answers=[b"%d" % r.offset for r in each.records]) for each in parts]

    joined = join(stamped, lambda homes: {home: current[home] for home in homes if home in current})

    expected = [r for each in parts for r in each.records if each.epochs[r.home] == current.get(r.home)]
    assert joined.records == expected
    assert joined.answers == [b"%d" % record.offset for record in expected]
    assert joined.epochs == {home: current[home] for home in {record.home for record in expected}}
    assert joined.size_bytes == len(expected)
