"""One body of tests for the delivery of a stream: on the in-memory broker, and on a real one with each client."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from typing import Any, Protocol

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaTimeoutError

from deploy.local.kafka.topics import create_topics
from worker.answers.answering import Answer, Answerer
from worker.answers.batching import caps_for
from worker.answers.shortening import STRONGEST
from worker.answers.tuning import Tuner
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.errors import DeadLetterRefusedError, LimelightError
from worker.messages import DeadLetter, Headers, Position, Prediction
from worker.ports import Output, Partition, Record, Sink, Source
from worker.scorer import OnnxScorer
from worker.settings import Settings
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.delivery import SliceDelivery, next_offsets
from worker.stream.outputs import encoded_bytes
from worker.stream.ownership import Ownership
from worker.stream.pipeline import Pipeline
from worker.transport.connections import Connections
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions as kafka_transactions
from worker.transport.kafka_python.appending import append
from worker.transport.kafka_python.header_names import HeaderName
from worker.transport.librdkafka import transactions as librdkafka_transactions
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

PARTITIONS = 3
OUTPUT_PARTITIONS = 2
EVENTS, PREDICTIONS, DEAD_LETTERS = "events", "predictions", "dead"
FAILURES = ["send", "offsets", "commit", "answer"]
"""Where a transaction is made to fail; ``answer``: it was committed, but nobody told us."""


class Stream(Protocol):
    """What a test needs of a broker."""

    def append(
        self, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> Position: ...

    def open(self, ownership: Ownership) -> tuple[Source, Sink]: ...

    def fail(self, steps: list[str]) -> None:
        """Makes the next transactions fail at these steps."""

    def limit(self, topic: str, max_bytes: int) -> None:
        """Sets the topic's max.message.bytes."""

    def compact(self, topic: str) -> None:
        """From now on the topic takes no record without a key."""

    def read(self, topic: str) -> list[Record]:
        """What a read_committed reader sees, in order per partition."""


class MemoryStream:
    def __init__(self) -> None:
        self._broker = MemoryBroker({EVENTS: PARTITIONS, PREDICTIONS: OUTPUT_PARTITIONS, DEAD_LETTERS: 1})

    def append(self, partition: int, value: bytes | None, **fields: Any) -> Position:
        return self._broker.append(EVENTS, partition, value, **fields).position

    def open(self, ownership: Ownership) -> tuple[Source, Sink]:
        return MemorySource(self._broker, EVENTS, ownership), MemorySink(self._broker)

    def fail(self, steps: list[str]) -> None:
        self._broker.failures += steps

    def limit(self, topic: str, max_bytes: int) -> None:
        self._broker.limits[topic] = max_bytes

    def compact(self, topic: str) -> None:
        self._broker.compacted.add(topic)

    def read(self, topic: str) -> list[Record]:
        return [r for p in range(self._broker.topics[topic]) for r in self._broker.logs[topic, p]]

    def close(self) -> None:
        pass


class KafkaStream:
    """Topics of its own on a real broker; fails where the client's module of transactions names a step."""

    def __init__(self, servers: str, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._suffix = uuid.uuid4().hex[:8]
        self._client = {"bootstrap_servers": servers.split(",")}
        self._connections = Connections(
            Settings(
                bootstrap_servers=servers,
                transport=transport,
                input_topic=self.name(EVENTS),
                group_id=self._suffix,
            )
        )
        topics = {EVENTS: PARTITIONS, PREDICTIONS: OUTPUT_PARTITIONS, DEAD_LETTERS: 1}
        create_topics(servers, {self.name(topic): count for topic, count in topics.items()})
        self._producer = KafkaProducer(**self._client)
        self._failures: list[str] = []
        self._opened = ExitStack()
        module, error = CLIENTS[transport]
        for step in ("send_all", "send_offsets", "commit"):
            monkeypatch.setattr(module, step, self._failing(step, getattr(module, step), error))

    @property
    def transport(self) -> str:
        return self._connections._settings.transport

    def name(self, topic: str) -> str:
        return f"{topic}.{self._suffix}"

    def append(
        self, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> Position:
        topic = self.name(EVENTS)
        self._producer.partitions_for(topic)
        future = append(self._producer, Output(topic, partition, key, value, headers or [], 1_700_000_000_000))
        self._producer.flush()
        return Position(topic, partition, future.get().offset)

    def open(self, ownership: Ownership) -> tuple[Source, Sink]:
        self._opened.close()
        source = self._connections.open_source(instance="only", ownership=ownership)
        self._opened.callback(source.close)
        sink = self._connections.open_sink(transactional_id=self._suffix, source=source)
        self._opened.callback(sink.close)
        return source, sink

    def fail(self, steps: list[str]) -> None:
        self._failures += steps

    def limit(self, topic: str, max_bytes: int) -> None:
        self._configure(topic, {"max.message.bytes": str(max_bytes)})

    def compact(self, topic: str) -> None:
        self._configure(topic, {"cleanup.policy": "compact"})

    def _configure(self, topic: str, configs: dict[str, str]) -> None:
        with KafkaAdminClient(**self._client) as admin:
            admin.alter_configs([ConfigResource("TOPIC", self.name(topic), configs=configs)])

    def read(self, topic: str) -> list[Record]:
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(**self._client, **options)) as consumer:
            partitions = [TopicPartition(self.name(topic), p) for p in consumer.partitions_for_topic(self.name(topic))]
            consumer.assign(partitions)
            # Not the read_committed end: a commit is confirmed before its marks are written.
            with closing(KafkaConsumer(**self._client)) as everything:
                ends = everything.end_offsets(partitions)
            found: list[Record] = []
            while any(consumer.position(p) < ends[p] for p in partitions):
                for records in consumer.poll(timeout_ms=100).values():
                    found += [
                        Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records
                    ]
        return sorted(found, key=lambda r: (r.partition, r.offset))

    def close(self) -> None:
        self._opened.close()
        self._producer.close()

    def _failing(self, step: str, real: Any, error: Callable[[str], Exception]) -> Any:
        names = {"send_all": ["send"], "send_offsets": ["offsets"], "commit": ["commit", "answer"]}[step]

        def call(*arguments: Any) -> None:
            due = self._failures[0] if self._failures and self._failures[0] in names else None
            if due is not None:
                self._failures.pop(0)
            if due in ("send", "offsets", "commit"):
                raise error(f"injected at {due}")
            real(*arguments)
            if due == "answer":
                raise error("injected after the commit")

        return call


def time_out(text: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, text))


CLIENTS = {"kafka-python": (kafka_transactions, KafkaTimeoutError), "librdkafka": (librdkafka_transactions, time_out)}


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.fast),
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("librdkafka", marks=pytest.mark.kafka),
    ]
)
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: Any
    if request.param == "memory":
        opened = MemoryStream()
    else:
        opened = KafkaStream(request.getfixturevalue("broker"), request.param, monkeypatch)
    with closing(opened):
        yield opened


class Run:
    """A worker on a stream, in this process."""

    def __init__(
        self,
        stream: Any,
        bundle: Bundle,
        *,
        slice_records: int = 500,
        slice_bytes: int = 1 << 20,
        skip_tombstones: bool = False,
    ) -> None:
        self._stream = stream
        name = getattr(stream, "name", str)
        self._ownership = Ownership()
        source, sink = stream.open(self._ownership)
        answerer = Answerer(
            bundle.manifest,
            bundle.vocabulary(bundle.manifest.fields[0]),
            OnnxScorer(bundle),
            prove=lambda: None,
            record_field="text",
            id_field="id",
            skip_tombstones=skip_tombstones,
            tuner=Tuner(caps_for(4)),
            clock=SystemClock(),
            timer=lambda _: nullcontext(),
        )
        self.slices: list[int] = []
        self.offsets: dict[Partition, int] = {}
        self.failures: list[LimelightError] = []
        delivery = SliceDelivery(
            sink,
            self._ownership,
            output_topic=name(PREDICTIONS),
            dead_letter_topic=name(DEAD_LETTERS),
            group_id="test-group",
            clock=SystemClock(),
            committed=self._note,
        )
        self._pipeline = Pipeline(
            source,
            lambda records, *, suspect: answerer.answer(records),  # noqa: PLW0108 - nobody dies here
            delivery,
            self._ownership,
            attempts=Attempts(source, reach_records=slice_records),
            breaker=CircuitBreaker(lambda: None, changed=lambda _: None),
            slice_records=slice_records,
            slice_bytes=slice_bytes,
            timer=lambda _: nullcontext(),
            aborted=self._note_failure,
        )
        self._source = source

    def _note(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        self.slices.append(len(records))
        self.offsets |= next_offsets(records)

    def _note_failure(self, error: LimelightError) -> None:
        self.failures.append(error)
        self.offsets.clear()

    def until_committed(self, records: int) -> None:
        deadline = Deadline(60)
        while sum(self.slices) < records:
            assert deadline.remaining_seconds() > 0, f"{sum(self.slices)} of {records} committed; {self.failures}"
            self.turn()

    def turn(self) -> bool:
        """One turn of every stage, on this thread. Returns whether anything moved."""
        moved = self._pipeline.read(timeout_seconds=0.1) > 0
        while self._pipeline.score(timeout_seconds=0) | self._pipeline.deliver(timeout_seconds=0):
            moved = True
        return moved

    def until_idle(self, *, expect_records: bool = True) -> None:
        """Steps until nothing is left to read, whoever counted it."""
        deadline = Deadline(60)
        # Before the first record the lag may be unknown, which counts as none.
        while (
            self.turn()
            or (expect_records and not self.slices and not self.failures)
            or self._ownership.suspended
            or self._source.lag(self.offsets)
        ):
            assert deadline.remaining_seconds() > 0, f"not idle; {self.failures}"


def event(text: str) -> bytes:
    return msgspec.json.encode({"text": text})


def sources(stream: Any) -> list[Position]:
    """Positions that were answered, in output order."""
    answered = [msgspec.json.decode(r.value, type=Prediction).source for r in stream.read(PREDICTIONS)]
    return answered + [DeadLetter.from_headers(r.headers).source for r in stream.read(DEAD_LETTERS)]


def test_every_record_is_answered_once_and_in_order(stream: Any, tiny_bundle: Bundle) -> None:
    values = [event(f"box {'late ' * (n % 5)}") if n % 7 else b"{" for n in range(60)]
    appended = [stream.append(n % PARTITIONS, value) for n, value in enumerate(values)]

    Run(stream, tiny_bundle).until_committed(len(values))

    assert Counter(sources(stream)) == Counter(appended)
    for topic in (PREDICTIONS, DEAD_LETTERS):
        read = stream.read(topic)
        for partition in range(PARTITIONS):
            offsets = [
                position.offset
                for position in (
                    msgspec.json.decode(r.value, type=Prediction).source
                    if topic == PREDICTIONS
                    else DeadLetter.from_headers(r.headers).source
                    for r in read
                )
                if position.partition == partition
            ]
            assert offsets == sorted(offsets)


def test_outputs_keep_key_headers_and_partition(stream: Any, tiny_bundle: Bundle) -> None:
    trace: Headers = [("traceparent", b"00-ab-cd-01"), ("empty", None), ("traceparent", b"again")]
    for partition in range(PARTITIONS):
        stream.append(partition, event("thanks"), key=f"key-{partition}".encode(), headers=trace)

    Run(stream, tiny_bundle).until_committed(PARTITIONS)

    outputs = stream.read(PREDICTIONS)
    assert {(r.key, r.partition) for r in outputs} == {
        (f"key-{p}".encode(), p % OUTPUT_PARTITIONS) for p in range(PARTITIONS)
    }
    assert all(r.headers == trace for r in outputs)


def test_a_dead_letter_is_the_record_untouched(stream: Any, tiny_bundle: Bundle) -> None:
    refused = [
        (b"\xff\xfe", b"\x00key", [("h", b"\xff"), ("h", None)]),
        (None, b"tombstone", []),
        (None, None, [("only", b"header")]),
        (b'{"x":' + b"[" * 10_000, None, []),
        (b'{"text":"' + b"a" * 900_000, b"large", []),
    ]
    positions = [stream.append(1, value, key=key, headers=headers) for value, key, headers in refused]

    Run(stream, tiny_bundle).until_committed(len(refused))

    letters = stream.read(DEAD_LETTERS)
    assert [(r.value, r.key, r.headers[: len(h)]) for r, (_, _, h) in zip(letters, refused, strict=True)] == refused
    accounts = [DeadLetter.from_headers(r.headers) for r in letters]
    assert [account.source for account in accounts] == positions
    assert {account.stage for account in accounts} == {"decode"}
    assert all(account.message and account.group_id == "test-group" for account in accounts)


def test_a_header_whose_name_is_no_text_does_not_stop_the_stream(stream: Any, tiny_bundle: Bundle) -> None:
    headers: Headers = [("before", b"1"), (HeaderName("\udcff\udcfe"), b"2"), ("after", None)]
    values = [event("thanks"), b"{"]
    positions = [stream.append(0, value, key=b"key", headers=headers) for value in values]
    neighbour = stream.append(0, event("thanks"), headers=[("h", b"")])

    Run(stream, tiny_bundle).until_committed(3)

    letters = stream.read(DEAD_LETTERS)
    *answered, last = stream.read(PREDICTIONS)
    assert msgspec.json.decode(last.value, type=Prediction).source == neighbour
    if getattr(stream, "transport", None) == "librdkafka":  # its binding can neither read nor write such a name
        assert not answered
        assert [DeadLetter.from_headers(r.headers).source for r in letters] == positions
        digests = [hashlib.sha256(value).hexdigest().encode() for value in values]
        assert [(r.key, r.value, dict(r.headers)["limelight.value.sha256"]) for r in letters] == [
            (None, None, digest) for digest in digests
        ]
        assert "kafka-python" in DeadLetter.from_headers(letters[0].headers).message
    else:
        assert [r.headers for r in answered] == [headers]
        assert [(r.key, r.value, r.headers[: len(headers)]) for r in letters] == [(b"key", values[1], headers)]


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


def test_a_slice_is_closed_by_its_bytes(stream: Any, tiny_bundle: Bundle) -> None:
    for _ in range(6):
        stream.append(0, event("box " * 100))
    run = Run(stream, tiny_bundle, slice_bytes=900)

    run.until_committed(6)

    assert max(run.slices) <= 3


@pytest.mark.parametrize("large", ["answer", "letter"])
def test_what_is_too_large_for_its_topic_does_not_stop_the_stream(stream: Any, tiny_bundle: Bundle, large: str) -> None:
    stream.limit(PREDICTIONS, 2000)
    stream.limit(DEAD_LETTERS, 4000)
    text = "late" if large == "answer" else ""
    value = msgspec.json.encode({"text": text, "passthrough": "x" * (1500 if large == "answer" else 4000)})
    position = stream.append(0, value, key=b"large")
    neighbour = stream.append(0, event("thanks"))

    Run(stream, tiny_bundle).until_committed(2)

    [letter] = stream.read(DEAD_LETTERS)
    account = DeadLetter.from_headers(letter.headers)
    assert account.source == position
    if large == "answer":
        assert (account.stage, letter.value, letter.key) == ("encode", value, b"large")
    else:
        pointer = dict(letter.headers)
        assert (account.stage, letter.value, letter.key) == ("validate", None, None)
        assert pointer["limelight.value.sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert [msgspec.json.decode(r.value, type=Prediction).source for r in stream.read(PREDICTIONS)] == [neighbour]


def refusal_of_keyless(stream: Any) -> str:
    """What is told of a record without a key for a topic that compacts. librdkafka keeps the broker's words back."""
    return "failed to validate record" if getattr(stream, "transport", None) == "librdkafka" else "key"


def test_an_answer_that_its_topic_refuses_becomes_a_dead_letter_and_its_neighbours_are_answered(
    stream: Any, tiny_bundle: Bundle
) -> None:
    stream.compact(PREDICTIONS)
    guilty = {7, 8, 21}
    keys = [None if n in guilty else b"key" for n in range(30)]
    appended = [stream.append(n % PARTITIONS, event("late"), key=key) for n, key in enumerate(keys)]

    run = Run(stream, tiny_bundle)
    run.until_committed(len(keys))

    assert Counter(sources(stream)) == Counter(appended)
    letters = stream.read(DEAD_LETTERS)
    accounts = [DeadLetter.from_headers(letter.headers) for letter in letters]
    assert {account.source for account in accounts} == {appended[n] for n in guilty}
    assert {(account.stage, account.error) for account in accounts} == {("deliver", "UndeliverableError")}
    assert all(refusal_of_keyless(stream) in account.message for account in accounts)
    assert {letter.value for letter in letters} == {event("late")}
    assert run.failures == []


def test_a_topic_whose_limit_is_lowered_while_we_run_stops_nobody(stream: Any, tiny_bundle: Bundle) -> None:
    run = Run(stream, tiny_bundle)
    values = [event("box late thanks the box broken box late thanks the box late")] * 20
    for value in values:
        stream.append(0, value)
    run.until_committed(20)
    [whole, *_] = stream.read(PREDICTIONS)
    # By more than `encoded_bytes` says too much: clients that split their batches try each answer alone.
    stream.limit(PREDICTIONS, encoded_bytes(Output("", 0, whole.key, whole.value, whole.headers, 0)) - 60)

    for value in values:
        stream.append(0, value)
    run.until_committed(40)

    weights = [msgspec.json.decode(r.value, type=Prediction).attention[0].weights for r in stream.read(PREDICTIONS)]
    assert [len(each) for each in weights] == [12] * 20 + [STRONGEST] * 20
    assert run.failures == []


def test_a_record_that_can_neither_be_answered_nor_refused_stops_the_worker(stream: Any, tiny_bundle: Bundle) -> None:
    """Nothing before it is lost, nothing behind it is skipped."""
    stream.compact(PREDICTIONS)
    stream.compact(DEAD_LETTERS)
    appended = [stream.append(0, event("late"), key=None if n == 5 else b"key") for n in range(9)]

    with pytest.raises(
        DeadLetterRefusedError,
        match=rf"^{appended[5]} can neither be answered nor refused: .*{refusal_of_keyless(stream)}",
    ):
        Run(stream, tiny_bundle).until_committed(9)

    assert sources(stream) in ([], appended[:5])


def test_a_tombstone_that_is_skipped_is_passed_in_silence(stream: Any, tiny_bundle: Bundle) -> None:
    before = stream.append(0, event("thanks"))
    tombstone = stream.append(0, None, key=b"key")
    run = Run(stream, tiny_bundle, skip_tombstones=True)

    run.until_committed(2)

    assert sources(stream) == [before]
    assert list(run.offsets.values()) == [tombstone.offset + 1]


def test_an_answer_that_is_too_large_keeps_its_strongest_weights(stream: Any, tiny_bundle: Bundle) -> None:
    value = event("box late thanks the box broken box late thanks the")
    stream.append(0, value)
    Run(stream, tiny_bundle).until_committed(1)
    [whole] = stream.read(PREDICTIONS)
    stream.limit(PREDICTIONS, encoded_bytes(Output("", 0, whole.key, whole.value, whole.headers, 0)) - 1)

    stream.append(0, value)
    Run(stream, tiny_bundle).until_committed(1)

    weights = [msgspec.json.decode(r.value, type=Prediction).attention[0].weights for r in stream.read(PREDICTIONS)]
    assert [len(each) for each in weights] == [10, STRONGEST]
    assert sorted(weights[1]) == sorted(weights[0])[-STRONGEST:]


def test_a_topic_of_small_records_takes_a_large_slice(stream: Any, tiny_bundle: Bundle) -> None:
    # Smaller than the client's batches would be: librdkafka splits none.
    stream.limit(PREDICTIONS, 20_000)
    for number in range(300):
        stream.append(0, event(f"box {number}"))
    run = Run(stream, tiny_bundle)

    run.until_committed(300)

    assert run.failures == []
    assert len(stream.read(PREDICTIONS)) == 300


steps = st.lists(st.sampled_from([*FAILURES, ""]), max_size=12)


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
