"""`dlq` on a real broker: what it lists and exports, and a replay that is killed in the middle."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.dead_letters.letter import REPLAYS_HEADER
from worker.dead_letters.progress import Checkpoint
from worker.errors import DecodeError, FencedError, RecordError, ValidationError
from worker.messages import ERROR_HEADER_PREFIX, DeadLetter, Headers, Position
from worker.ports import Output, Record
from worker.settings import Settings
from worker.stream.outputs import point_to
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader
from worker.transport.kafka_python.replay import ReplaySink

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90
PARTITIONS = 3


class Place:
    """An input topic of three partitions and a dead-letter topic of two, named in the environment."""

    def __init__(self, servers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.servers = servers
        self.group = f"dlq-{uuid.uuid4().hex[:8]}"
        self.input, self.letters = f"{self.group}.in", f"{self.group}.dlq"
        self._capsys = capsys
        create_topics(servers, {self.input: PARTITIONS, self.letters: 2})
        monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", servers)
        monkeypatch.setenv("LIMELIGHT_GROUP_ID", self.group)
        monkeypatch.setenv("LIMELIGHT_INPUT_TOPIC", self.input)
        monkeypatch.setenv("LIMELIGHT_DEAD_LETTER_TOPIC", self.letters)
        self.client = client_properties(Settings())

    def refuse(self, count: int, *, error: RecordError | None = None, own: Headers | None = None) -> None:
        """Adds letters whose value is their number, and whose source partition is the number mod 6."""
        with closing(KafkaProducer(bootstrap_servers=self.servers, linger_ms=20)) as producer:
            for number in range(count):
                source = Position(self.input, number % 6, number)
                letter = DeadLetter.of(source, error or DecodeError("bad"), self.group)
                headers = [*(own or []), *letter.to_headers()]
                where = {"partition": number % 2, "timestamp_ms": 1000 + number}
                producer.send(self.letters, str(number).encode(), key=b"\xff", headers=headers, **where)
            producer.flush()

    def refuse_large(self, value: bytes) -> None:
        """Adds the record to the input, and a letter that only points to it."""
        with closing(KafkaProducer(bootstrap_servers=self.servers)) as producer:
            where = producer.send(self.input, value, key=b"large", headers=[("own", b"1")], partition=2).get(10)
        record = Record(self.input, 2, where.offset, 1, b"large", value, [])
        reason = DeadLetter.of(record.position, DecodeError("bad"), self.group).to_headers()
        letter = Output(self.letters, 0, None, None, [*reason, *point_to(record)], 2000)
        with closing(self.open_sink("refuse")) as sink:
            sink.commit([letter], {0: Checkpoint(0, "")})

    def open_sink(self, identifier: str) -> ReplaySink:
        return ReplaySink(
            self.client,
            group_id=f"{self.group}.replay.{identifier}",
            topic=self.letters,
            transaction_timeout_seconds=10,
            deadline_seconds=8,
        )

    def run(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """Exit status, lines on stdout, lines on stderr."""
        status = main(["dlq", *arguments])
        printed = self._capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    @contextmanager
    def start_replay(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """A replay in a process of its own, in so small slices that there is time to disturb it."""
        command = [sys.executable, "-m", "worker", "dlq", "replay", *options]
        environment = {**os.environ, "LIMELIGHT_SLICE_RECORDS": "2"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as replay:
            try:
                yield replay
            finally:
                replay.kill()

    def sent(self) -> list[Record]:
        """Committed records of the input topic."""
        with closing(KafkaReader(self.client, topic=self.input, begin="beginning")) as reader:
            return [record for records in reader.read_until(reader.ends()) for record in records]

    def await_sent(self, at_least: int, replay: subprocess.Popen[str]) -> None:
        """Returns as soon as so many records are committed."""
        deadline, count = Deadline(PATIENCE_SECONDS), 0
        with closing(KafkaReader(self.client, topic=self.input, begin="beginning")) as reader:
            while count < at_least:
                assert deadline.remaining_seconds() > 0, count
                assert replay.poll() is None, "it ended before anything could happen to it"
                count += len(reader.poll())

    def ends(self, isolation_level: str) -> dict[TopicPartition, int]:
        """Ends of the input topic."""
        options: dict[str, Any] = {"bootstrap_servers": self.servers, "isolation_level": isolation_level}
        with closing(KafkaConsumer(**options)) as consumer:
            ends: dict[TopicPartition, int] = consumer.end_offsets(
                [TopicPartition(self.input, number) for number in range(PARTITIONS)]
            )
        return ends


@pytest.fixture
def place(broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(broker, monkeypatch, capsys)


def numbers(records: list[Record]) -> list[int]:
    return [int(record.value or b"") for record in records]


def test_inspect_lists_what_was_refused(place: Place) -> None:
    place.refuse(3)
    place.refuse(1, error=ValidationError("no text"))

    status, lines, errors = place.run("inspect")
    assert status == 0
    assert len(lines) == 4
    assert (
        sum(f"{place.input}-0-0  validate ValidationError: no text (group {place.group}" in line for line in lines) == 1
    )
    assert errors == ["4 of 4 dead letters listed (decode 3, validate 1)"]

    status, lines, errors = place.run("inspect", "--stage", "decode", "--count", "2", "--json", "--show-value")
    assert [msgspec.json.decode(line)["value"] for line in lines] == ["1", "2"]
    assert errors == ["2 of 4 dead letters listed (decode 3, validate 1)"]

    assert place.run("inspect", "--error", "Nonsense")[1:] == (
        [],
        ["0 of 4 dead letters listed (decode 3, validate 1)"],
    )


def test_only_letters_since_a_time(place: Place, tmp_path: Path) -> None:
    place.refuse(4)
    since = ["--from", datetime.fromtimestamp(1.002, tz=UTC).isoformat()]

    listed = sorted(line.partition("  ")[0] for line in place.run("inspect", *since)[1])
    assert listed == [f"{place.input}-2-2", f"{place.input}-3-3"]
    assert place.run("export", "--output", str(tmp_path / "letters.jsonl"), *since)[2] == ["2 dead letters written"]
    assert place.run("replay", "--id", "x", *since)[1] == [f"replay x to {place.input}: 2 sent"]
    assert sorted(numbers(place.sent())) == [2, 3]


def test_export_writes_a_whole_file(place: Place, tmp_path: Path) -> None:
    place.refuse(4)
    file = tmp_path / "letters.jsonl"

    status, _, errors = place.run("export", "--output", str(file))

    assert (status, errors) == (0, ["4 dead letters written"])
    exported = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert sorted(letter["value"] for letter in exported) == ["0", "1", "2", "3"]
    assert {letter["key_base64"] for letter in exported} == {"/w=="}

    status, _, errors = place.run("export", "--output", str(tmp_path / "missing" / "letters.jsonl"))
    assert status == 1
    assert "letters.jsonl cannot be written" in errors[-1]


def test_a_replay_restores_the_records_and_their_partitions(place: Place) -> None:
    own: Headers = [("traceparent", b"00-1"), (REPLAYS_HEADER, b"1")]
    place.refuse(12, own=own)

    status, lines, _ = place.run("replay", "--id", "monday")

    assert status == 0
    assert lines == [f"replay monday to {place.input}: 12 sent"]
    sent = place.sent()
    assert sorted(numbers(sent)) == list(range(12))
    for record in sent:
        assert record.partition == int(record.value or b"") % 6 % PARTITIONS
        assert record.key == b"\xff"
        assert record.headers == [("traceparent", b"00-1"), (REPLAYS_HEADER, b"2")]
        assert not any(name.startswith(ERROR_HEADER_PREFIX) for name, _ in record.headers)

    place.refuse(1)
    status, lines, _ = place.run("replay", "--id", "monday")
    assert lines == [f"replay monday to {place.input}: 0 sent, 12 sent earlier"]
    assert len(place.sent()) == 12


def test_filters_and_loops(place: Place) -> None:
    place.refuse(2, error=ValidationError("no text"))
    place.refuse(3, own=[(REPLAYS_HEADER, b"5")])
    place.refuse(4)
    options = ["replay", "--id", "x", "--stage", "decode", "--max-replays", "5"]

    status, lines, _ = place.run(*options, "--dry-run")
    assert lines == [f"replay x to {place.input}: 4 would be sent, 2 not meant, 3 stay: replayed too often"]
    assert place.sent() == []

    status, lines, errors = place.run(*options)
    assert status == 0
    assert lines == [f"replay x to {place.input}: 4 sent, 2 not meant, 3 stay: replayed too often"]
    assert len([line for line in errors if line.endswith("stays: replayed too often")]) == 3
    assert sorted(numbers(place.sent())) == [0, 1, 2, 3]

    status, _, errors = place.run("replay", "--id", "x")
    assert status == 1
    assert len(errors) == 1
    options_then = f"--to-topic {place.input} --max-replays 5 --stage decode --from beginning"
    assert errors[0].startswith(f"error: this id belongs to a replay that began with other options, {options_then}.")


def test_a_dry_run_leaves_no_trace(place: Place) -> None:
    place.refuse(1)
    place.run("replay", "--id", "x", "--dry-run")
    with KafkaAdminClient(bootstrap_servers=place.servers) as admin:
        assert admin.list_group_offsets(f"{place.group}.replay.x")[f"{place.group}.replay.x"] == {}


def test_what_outgrew_its_topic_stays(place: Place) -> None:
    small = f"{place.group}.small"
    create_topics(place.servers, {small: 1}, configs={small: {"max.message.bytes": "200"}})
    place.refuse(1, own=[("padding", b"x" * 200)])
    place.refuse(2)

    status, lines, errors = place.run("replay", "--id", "x", "--to-topic", small)
    reason = "too large with the count of its replays"

    assert status == 0
    assert lines == [f"replay x to {small}: 2 sent, 1 stay: {reason}"]
    assert [line.partition(" stays: ")[2] for line in errors] == [reason]


def test_a_pointer_is_shown_and_its_record_replayed_as_long_as_it_is_there(place: Place) -> None:
    values = [b"x" * 500_000, b"y" * 500_000]
    for value in values:
        place.refuse_large(value)

    listed, [summary] = place.run("inspect", "--show-value")[1:]
    assert all(", pointer to the record and its 500000 bytes, " in line for line in listed)
    assert summary == "2 of 2 dead letters listed (decode 2)"

    with KafkaAdminClient(bootstrap_servers=place.servers) as admin:
        admin.delete_records({TopicPartition(place.input, 2): 1})
    status, lines, errors = place.run("replay", "--id", "x")

    reason = "its record, to which it is a pointer, is gone"
    assert (status, lines) == (0, [f"replay x to {place.input}: 1 sent, 1 stay: {reason}"])
    assert errors == [f"{place.letters}-0-0 stays: {reason}"]
    *_, again = place.sent()
    assert (again.partition, again.offset, again.key, again.value) == (2, 2, b"large", values[1])
    assert again.headers == [("own", b"1"), (REPLAYS_HEADER, b"1")]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--to-topic", "no-such-topic"], "topic 'no-such-topic' does not exist"),
        (["--to-topic", "LETTERS"], "is the dead-letter topic itself"),
    ],
)
def test_a_place_that_cannot_take_them_is_one_line(place: Place, options: list[str], reason: str) -> None:
    options = [place.letters if option == "LETTERS" else option for option in options]
    status, _, errors = place.run("replay", "--id", "x", *options)
    assert status == 1
    assert len(errors) == 1
    assert reason in errors[0]


@pytest.mark.parametrize("options", [[], ["--id", "a b"], ["--id", "x", "--max-replays", "0"]])
def test_wrong_options_are_wrong_usage(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dlq", "replay", *options])
    assert ended.value.code == 2


def test_killed_in_the_middle_it_goes_on_without_loss_and_without_doubles(place: Place) -> None:
    total = 900
    place.refuse(total)
    landed = [0]
    for _ in range(3):
        with place.start_replay("--id", "x") as replay:
            place.await_sent(landed[-1] + 50, replay)
            replay.send_signal(signal.SIGKILL)
            assert replay.wait(timeout=PATIENCE_SECONDS) == -signal.SIGKILL
        landed.append(len(place.sent()))
    # Letters that come while a replay is interrupted are not its business.
    place.refuse(1)

    with place.start_replay("--id", "x") as replay:
        summary, _ = replay.communicate(timeout=PATIENCE_SECONDS)

    assert 0 < landed[1] < landed[2] < landed[3] < total, landed
    assert replay.returncode == 0
    sent = place.sent()
    assert sorted(numbers(sent)) == list(range(total))
    for partition in range(6):
        in_order = [number for number in numbers(sent) if number % 6 == partition]
        assert in_order == sorted(in_order)
    now = int(summary.split()[4])
    assert summary == f"replay x to {place.input}: {now} sent, {total - now} sent earlier\n"
    assert now < total


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_leaves_no_transaction_open(place: Place, number: signal.Signals) -> None:
    place.refuse(600)
    with place.start_replay("--id", "x") as replay:
        place.await_sent(20, replay)
        replay.send_signal(number)
        summary, _ = replay.communicate(timeout=PATIENCE_SECONDS)

    assert replay.returncode == 130
    assert summary.endswith("sent, stopped before the end: the same command goes on from here\n")

    # A commit is confirmed a moment before readers see its end. An open transaction would last its timeout of 10 s.
    deadline = Deadline(5)
    while place.ends("read_committed") != place.ends("read_uncommitted"):
        assert deadline.remaining_seconds() > 0
    assert 20 <= len(place.sent()) < 600


def test_the_later_of_two_replays_goes_on(place: Place) -> None:
    output = Output(place.input, 0, None, b"1", [], 1)
    with closing(place.open_sink("x")) as first, closing(place.open_sink("x")) as second:
        second.commit([output], {0: Checkpoint(1, "note")})
        with pytest.raises(FencedError, match="another process began to replay"):
            first.commit([output], {0: Checkpoint(2, "other")})
        assert second.load() == {0: Checkpoint(1, "note")}
    assert len(place.sent()) == 1
