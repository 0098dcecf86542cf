"""The replay's loop, on letters in memory and a store that dies on purpose."""

import sys
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_bench import NOW_MS, Bench, MemoryLog

from worker.dead_letters.errors import ReplayError
from worker.dead_letters.letter import REPLAYS_HEADER, Selection
from worker.dead_letters.progress import Checkpoint, Outcome, Plan, from_note
from worker.dead_letters.replay import Result, Target, size_bound
from worker.errors import DecodeError, DeliveryError, ValidationError
from worker.messages import Headers, Position
from worker.ports import Output, Record

pytestmark = pytest.mark.fast


def test_a_letter_becomes_the_record_that_it_was() -> None:
    bench = Bench()
    own: Headers = [("traceparent", b"00-1"), ("x", None), ("x", b"\xff")]
    bench.letters.add(b"\xffvalue", source=Position("events", 6, 9), own=own)

    result = bench.run()

    expected = Output("events", 2, b"key", b"\xffvalue", [*own, (REPLAYS_HEADER, b"1")], NOW_MS)
    assert bench.store.sent == [expected]
    assert result == Result(Counter(replayed=1), Counter(replayed=1), 0)


def test_a_pointer_becomes_the_record_that_it_points_to() -> None:
    bench = Bench()
    own: Headers = [("traceparent", b"00-1"), ("x", None), ("limelight.value.sha256", b"own")]
    for number in range(3):
        record = bench.events.append(b"key", b"large %d" % number, own, partition=6)
    bench.letters.add_pointer(record)

    result = bench.run()

    expected = Output("events", 2, b"key", b"large 2", [*own, (REPLAYS_HEADER, b"1")], NOW_MS)
    assert bench.store.sent == [expected]
    assert result.total == Counter(replayed=1)


def test_a_pointer_to_a_record_without_a_value_is_no_reason_to_leave_it() -> None:
    bench = Bench()
    bench.letters.add_pointer(bench.events.append(b"k" * 100, None, []))
    bench.run()
    assert [(output.key, output.value) for output in bench.store.sent] == [(b"k" * 100, None)]


@pytest.mark.parametrize("fate", ["expired", "truncated", "compacted", "made anew", "partition gone", "topic gone"])
def test_a_pointer_whose_record_is_gone_stays_and_is_told(fate: str) -> None:
    bench = Bench()
    record = bench.events.append(b"key", b"large", [], partition=6)
    bench.letters.add_pointer(record)
    bench.letters.add(b"small")
    match fate:
        case "expired":
            bench.events.append(b"key", b"later", [], partition=6)
            bench.events.oldest[6] = 1
        case "truncated":
            bench.events.logs[6].clear()
        case "compacted":
            bench.events.logs[6][0] = record._replace(offset=1)
        case "made anew":
            bench.events.logs[6][0] = record._replace(value=b"other")
        case "partition gone":
            bench.events = MemoryLog("events", 2)
        case "topic gone":
            bench.events.topic = "other"

    result = bench.run()

    assert bench.values() == [b"small"], "never a null in its place"
    assert bench.left == [(0, Outcome.GONE)]
    assert result.total == Counter(replayed=1, gone=1)


def test_the_replays_of_a_pointer_are_counted_by_its_record() -> None:
    bench = Bench()
    for count in (b"2", b"3"):
        bench.letters.add_pointer(bench.events.append(b"key", b"large", [(REPLAYS_HEADER, count)]))

    result = bench.run()

    assert [output.headers for output in bench.store.sent] == [[(REPLAYS_HEADER, b"3")]]
    assert bench.left == [(1, Outcome.EXHAUSTED)]
    assert result.total == Counter(replayed=1, exhausted=1)


def test_a_transaction_is_bounded_by_the_records_and_not_by_the_letters() -> None:
    bench = Bench()
    for _ in range(5):
        bench.letters.add_pointer(bench.events.append(b"key", b"x" * 1000, []))
    bench.run(slice_records=5, slice_bytes=2000)
    assert bench.store.slices == [0, 2, 2, 1]
    assert bench.run().now == Counter()


def test_what_comes_after_the_beginning_is_another_replays_business() -> None:
    bench = Bench()
    bench.letters.add(b"first")
    bench.store.deaths = ["", "before"]
    with pytest.raises(DeliveryError):
        bench.run()
    bench.letters.add(b"second")

    bench.run()
    again = bench.run()

    assert bench.values() == [b"first"]
    assert again == Result(Counter(), Counter(replayed=1), 0)


def test_it_can_be_stopped_behind_a_slice_and_goes_on_later() -> None:
    bench = Bench()
    for value in (b"0", b"1", b"2", b"3", b"4"):
        bench.letters.add(value)
    bench.enough = 3

    assert bench.run().now == Counter(replayed=4)
    bench.enough = sys.maxsize
    assert bench.run().now == Counter(replayed=1)
    assert bench.values() == [b"0", b"1", b"2", b"3", b"4"]


def test_a_new_replay_begins_where_the_reader_stands_and_an_old_one_where_it_stopped() -> None:
    bench = Bench()
    for value in (b"0", b"1", b"2", b"3"):
        bench.letters.add(value)
    bench.letters.seek(0, 1)
    bench.enough = 1

    bench.run(slice_records=1)
    bench.letters.seek(0, 0)
    bench.enough = sys.maxsize
    bench.run()

    assert bench.values() == [b"1", b"2", b"3"]


def test_an_empty_topic_is_done_at_once_and_stays_so() -> None:
    bench = Bench()
    assert bench.run().total == Counter()
    bench.letters.add(b"later")
    assert bench.run().total == Counter()


def test_filters_leave_the_others_without_a_word() -> None:
    bench = Bench()
    bench.letters.add(b"1", error=DecodeError("x"))
    bench.letters.add(b"2", error=ValidationError("x"))

    result = bench.run(Plan("events", 3, Selection(stage="validate")))

    assert bench.values() == [b"2"]
    assert result.total == Counter(replayed=1, filtered=1)
    assert bench.left == []


def test_counts_go_up_and_loops_are_refused_and_told() -> None:
    bench = Bench()
    for count in (b"1", b"2", b"3", b"4"):
        bench.letters.add(count, own=[(REPLAYS_HEADER, count)])

    result = bench.run()

    assert [output.headers for output in bench.store.sent] == [[(REPLAYS_HEADER, b"2")], [(REPLAYS_HEADER, b"3")]]
    assert bench.left == [(2, Outcome.EXHAUSTED), (3, Outcome.EXHAUSTED)]
    assert result.total == Counter(replayed=2, exhausted=2)


def test_what_no_worker_wrote_stays_and_is_told() -> None:
    bench = Bench()
    bench.letters.logs[0].append(Record("events.dlq", 0, 0, 1, None, b"x", []))
    assert bench.run().total == Counter(foreign=1)
    assert bench.left == [(0, Outcome.FOREIGN)]
    assert bench.store.sent == []


def test_a_record_that_outgrew_its_topic_stays_and_does_not_stop_the_others() -> None:
    bench = Bench()
    bench.letters.add(b"x" * 100)
    bench.letters.add(b"y")
    limit = size_bound(Output("events", 0, b"key", b"x" * 99, [(REPLAYS_HEADER, b"1")], NOW_MS))

    result = bench.run(targets={"events": Target(4, limit)})

    assert bench.values() == [b"y"]
    assert result.total == Counter(replayed=1, too_large=1)


def test_without_a_topic_everything_goes_back_to_where_it_came_from() -> None:
    bench = Bench()
    for number, topic in enumerate(["events", "reviews", "elsewhere"]):
        bench.letters.add(b"%d" % number, source=Position(topic, 5, 9))

    result = bench.run(Plan(None, 3), targets={"events": Target(4, None), "reviews": Target(3, None)})

    assert [output[:2] for output in bench.store.sent] == [("events", 5 % 4), ("reviews", 5 % 3)]
    assert result.total == Counter(replayed=2, homeless=1)
    assert bench.left == [(2, Outcome.HOMELESS)]


@pytest.mark.parametrize(
    "changed", [Plan(None, 3), Plan("other", 3), Plan("events", 4), Plan("events", 3, Selection("decode"))]
)
def test_an_id_keeps_its_plan(changed: Plan) -> None:
    bench = Bench()
    bench.letters.add(b"1")
    bench.run()
    with pytest.raises(ReplayError, match="began with other options, --to-topic events --max-replays 3"):
        bench.run(changed)


def test_an_id_keeps_its_beginning() -> None:
    bench = Bench()
    bench.letters.add(b"1")
    bench.run(Plan("events", 3, begin="2h"))

    with pytest.raises(ReplayError, match="--max-replays 3 --from 2h"):
        bench.run(Plan("events", 3, begin="3h"))
    assert bench.run(Plan("events", 3, begin="2h")).total == Counter(replayed=1)


def test_an_id_from_before_beginnings_were_kept_goes_on() -> None:
    bench = Bench()
    bench.letters.add(b"1")
    bench.store.checkpoints = {0: Checkpoint(0, '{"end":1,"plan":{"to_topic":"events","max_replays":3}}')}

    assert bench.run(Plan("events", 3, begin="3h")).total == Counter(replayed=1)


def test_offsets_that_somebody_else_committed_are_refused() -> None:
    bench = Bench()
    bench.store.checkpoints = {0: Checkpoint(0, "")}
    with pytest.raises(ReplayError, match="choose another --id"):
        bench.run()


def test_what_retention_removed_meanwhile_is_counted() -> None:
    bench = Bench()
    for value in (b"0", b"1", b"2", b"3", b"4", b"5"):
        bench.letters.add(value)
    bench.store.deaths = ["", "", "before"]
    with pytest.raises(DeliveryError):
        bench.run()
    bench.letters.oldest[0] = 5

    result = bench.run()

    assert bench.values() == [b"0", b"1", b"5"]
    assert result.removed == 3


def test_the_whole_topic_can_be_gone() -> None:
    bench = Bench()
    bench.letters.add(b"0")
    bench.store.deaths = ["", "before"]
    with pytest.raises(DeliveryError):
        bench.run()
    bench.letters.oldest[0] = 100
    assert bench.run().removed == 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30),
    st.lists(st.sampled_from(["", "before", "after"]), max_size=30),
    st.integers(1, 7),
)
def test_whenever_it_dies_each_letter_is_sent_once_and_in_order(
    placed: list[tuple[int, int]], deaths: list[str], slice_records: int
) -> None:
    bench = Bench(partitions=3)
    for number, (letters_partition, source_partition) in enumerate(placed):
        source = Position("events", source_partition * 3 + letters_partition, number)
        bench.letters.add(str(number).encode(), source=source, partition=letters_partition)
    bench.store.deaths = list(deaths)
    while True:
        try:
            result = bench.run(slice_records=slice_records)
        except DeliveryError:
            continue
        break

    assert sorted(bench.values()) == sorted(str(number).encode() for number in range(len(placed)))
    sent: dict[int, list[int]] = defaultdict(list)
    for output in bench.store.sent:
        assert output.value is not None
        partition, source = placed[int(output.value)]
        assert output.partition == (source * 3 + partition) % 4
        sent[source * 3 + partition].append(int(output.value))
    assert all(numbers == sorted(numbers) for numbers in sent.values())
    assert result.total == +Counter(replayed=len(placed))
    assert all(checkpoint.offset == from_note(checkpoint.note).end for checkpoint in bench.store.checkpoints.values())
