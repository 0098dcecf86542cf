import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.commands.tail import choose_render
from worker.messages import AttentionMap, Classification, ModelRef, Position, Prediction
from worker.tinting import plain_line

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 60
ESCAPE = "\x1b["


def predict(text: str) -> bytes:
    attention = AttentionMap("tokens", ["token"], "text", [(0, len(text))], [1.0], False, [text])
    return msgspec.json.encode(
        Prediction(
            id=text,
            source=Position("events", 0, 0),
            output=Classification("late", 0.9, {"late": 0.9}),
            attention=[attention],
            model=ModelRef("tiny", "v", 1),
            event_timestamp_ms=1,
            scored_timestamp_ms=2,
        )
    )


class Place:
    """A topic of predictions, and the tails that follow it."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.topic = f"tail.{uuid.uuid4().hex[:8]}"
        self.environment = {
            **os.environ,
            "LIMELIGHT_BOOTSTRAP_SERVERS": servers,
            "LIMELIGHT_OUTPUT_TOPIC": self.topic,
            "TERM": "xterm",
            "COLORTERM": "truecolor",
        }
        create_topics(servers, {self.topic: 1})

    def fill(self, *values: bytes) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.servers)) as producer:
            for value in values:
                producer.send(self.topic, value)
            producer.flush()

    def tail(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "worker", "tail", *options]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    @contextmanager
    def follow(self, *options: str, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "worker", "tail", *options]
        with subprocess.Popen(command, env=self.environment, stdout=stdout, stderr=subprocess.PIPE) as tail:
            try:
                yield tail
            finally:
                tail.kill()


@pytest.fixture
def place(broker: str) -> Place:
    return Place(broker)


def test_it_prints_one_line_each_and_tells_what_is_no_prediction(place: Place) -> None:
    place.fill(predict("first"), b"junk", predict("second"), predict("third"))

    tail = place.tail("--from", "beginning", "--count", "2")

    assert tail.stdout.splitlines() == ["late 0.90  first(1.00)", "late 0.90  second(1.00)"]
    assert tail.stderr.splitlines() == [
        f"{place.topic}-0-1 is no prediction: JSON is malformed: invalid character (byte 0)"
    ]
    assert tail.returncode == 0


def test_a_prediction_whose_lists_differ_in_length_does_not_end_it(place: Place) -> None:
    broken = msgspec.json.decode(predict("first"))
    broken["attention"][0]["weights"] = [0.5, 0.5]
    place.fill(msgspec.json.encode(broken), predict("second"))

    tail = place.tail("--from", "beginning", "--count", "1")

    assert tail.stdout == "late 0.90  second(1.00)\n"
    assert f"{place.topic}-0-0 is no prediction" in tail.stderr


def test_color_goes_into_a_pipe_when_asked_for(place: Place) -> None:
    place.fill(predict("first"))
    tail = place.tail("--from", "1h", "--count", "1", "--color", "--topic", place.topic)
    assert "48;2;255;138;31m" in tail.stdout


def test_a_terminal_gets_colours_and_ctrl_c_ends_it_quietly(place: Place) -> None:
    place.fill(predict("first"))
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, place.follow("--from", "beginning", stdout=theirs) as tail:
        os.close(theirs)
        seen = screen.read(1024)
        tail.send_signal(signal.SIGINT)
        _, errors = tail.communicate(timeout=PATIENCE_SECONDS)

    assert b"48;2;255;138;31m" in seen
    assert (tail.returncode, errors) == (130, b"")


def test_it_follows_what_comes_later_without_a_group(place: Place) -> None:
    with KafkaAdminClient(bootstrap_servers=place.servers) as admin:
        groups = [group["group_id"] for group in admin.list_groups()]
        place.fill(predict("before"))
        with place.follow("--from", "beginning", "--plain", stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            assert tail.stdout.readline() == b"late 0.90  before(1.00)\n"
            place.fill(predict("after"))
            assert tail.stdout.readline() == b"late 0.90  after(1.00)\n"
            tail.send_signal(signal.SIGINT)
            assert tail.wait(timeout=PATIENCE_SECONDS) == 130
        assert [group["group_id"] for group in admin.list_groups()] == groups


def test_a_missing_topic_is_one_line(place: Place) -> None:
    tail = place.tail("--topic", "no-such-topic")
    assert (tail.returncode, tail.stdout) == (1, "")
    assert tail.stderr == ("error: topic 'no-such-topic' does not exist. Create it, or name another in the settings.\n")


@pytest.mark.parametrize("options", [["--count", "0"], ["--count", "x"], ["--from", "soon"], ["--plain", "--color"]])
def test_wrong_options_are_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tail", *options])
    assert ended.value.code == 2
    assert f"argument {options[-2] if options[-1] != '--color' else '--color'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "colours"),
    [({}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)],
)
def test_a_terminal_gets_colours_unless_it_asks_for_none(environment: dict[str, str], colours: bool) -> None:
    chosen = choose_render(environment, plain=False, color=False, is_terminal=True)
    assert (chosen is not plain_line) == colours
    assert choose_render(environment, plain=False, color=False, is_terminal=False) is plain_line
    assert choose_render(environment, plain=False, color=True, is_terminal=False) is not plain_line
