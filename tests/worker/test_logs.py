import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from worker import logs
from worker.logs import REMEMBERED, WITHHELD, configure
from worker.messages import Event, ModelRef, Position
from worker.ports import Output, Record

pytestmark = pytest.mark.fast

SECRET = "my landlord"
RECORD = Record("events", 0, 7, 1, SECRET.encode(), SECRET.encode(), [("h", SECRET.encode())])
OUTPUT = Output("predictions", 0, SECRET.encode(), SECRET.encode(), [], 1)


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Logging is the process's own: what a test sets up must not reach the next one."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_is_one_event_with_its_facts_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    structlog.get_logger().info("slice_committed", records=3, partition=1)

    (line,) = read_lines(capsys)
    assert list(line) == ["timestamp", "level", "event", "records", "partition"]
    assert (line["level"], line["event"], line["records"]) == ("info", "slice_committed", 3)


def test_times_are_rfc_3339_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    before = datetime.now(UTC)
    structlog.get_logger().info("x")

    (line,) = read_lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert before <= datetime.fromisoformat(line["timestamp"]) <= datetime.now(UTC)


@pytest.mark.parametrize("name", ["key", "value", "text", "headers", "record"])
def test_a_records_content_is_withheld_by_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure("json", "info")
    structlog.get_logger().info("x", **{name: SECRET})

    assert read_lines(capsys)[0][name] == WITHHELD


@pytest.mark.parametrize(
    "value",
    [SECRET.encode(), RECORD, OUTPUT, [RECORD], {"a": (OUTPUT,)}, {SECRET.encode()}, {"text": SECRET}, Event(SECRET)],
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_records_content_is_withheld_by_type(
    capsys: pytest.CaptureFixture[str], value: object, log_format: str
) -> None:
    configure(log_format, "info")
    structlog.get_logger().info("x", found=value)

    written = capsys.readouterr().err
    assert WITHHELD in written
    assert SECRET not in written


def test_what_is_no_content_may_be_structured(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    structlog.get_logger().info("x", source=Position("events", 0, 7), model=ModelRef("tiny", "1", 2), port=(1, 2))

    (line,) = read_lines(capsys)
    assert line["source"] == {"topic": "events", "partition": 0, "offset": 7}
    assert line["model"] == {"name": "tiny", "version": "1", "round": 2, "generation": 0}
    assert line["port"] == [1, 2]


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "warning")
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")

    assert [line["event"] for line in read_lines(capsys)] == ["c", "d"]


def test_a_line_below_the_level_formats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    formatted: list[str] = []

    class Told:
        def __str__(self) -> str:
            formatted.append("told")
            return "told"

    configure("json", "info")
    structlog.get_logger().debug("x", found=Told())
    logging.getLogger("library").debug("%s", Told())
    assert formatted == []

    logging.getLogger("library").warning("%s", Told())
    assert formatted != []
    assert [line["message"] for line in read_lines(capsys)] == ["told"]


def test_an_exception_keeps_its_traceback_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    try:
        raise ValueError("no such model")
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = read_lines(capsys)
    assert line["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert line["exception"].endswith("ValueError: no such model")


@pytest.mark.parametrize(("level", "name"), [(30, "warning"), (35, "warning"), (50, "critical"), (99, "critical")])
def test_what_libraries_log_takes_the_same_form(capsys: pytest.CaptureFixture[str], level: int, name: str) -> None:
    configure("json", "info")
    logging.getLogger("kafka.conn").log(level, "closed by %s", "broker")

    (line,) = read_lines(capsys)
    assert {**line, "timestamp": ""} == {
        "timestamp": "",
        "level": name,
        "event": "library_message",
        "library": "kafka.conn",
        "message": "closed by broker",
    }


@pytest.mark.parametrize("level", ["debug", "info"])
def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str], level: str) -> None:
    configure("json", level)
    logging.getLogger("kafka.conn").info("connected")

    assert read_lines(capsys) == []


def test_a_malformed_library_message_does_not_stop_its_caller(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logging.getLogger("kafka.conn").warning("%d", "not a number")

    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize(("is_terminal", "is_json"), [(False, True), (True, False)])
def test_auto_is_for_people_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool, is_json: bool
) -> None:
    monkeypatch.setattr(logs.sys.stderr, "isatty", lambda: is_terminal)
    configure("auto", "info")
    structlog.get_logger().info("started", port=1)

    written = capsys.readouterr().err
    assert "started" in written
    assert written.startswith("{") == is_json


def test_the_console_form_has_no_colour_codes_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    structlog.get_logger().info("started", port=1)

    written = capsys.readouterr().err
    assert "\x1b" not in written
    assert "port=1" in written


def test_configuring_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    configure("json", "info")
    structlog.get_logger().warning("own")
    logging.getLogger("library").warning("foreign")

    assert len(read_lines(capsys)) == 2


def test_a_library_that_repeats_itself_is_heard_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("json", "info")
    library = logging.getLogger("some.library")
    for number in [1, 1, 2, 1]:
        library.warning("node %d is gone", number)
    monkeypatch.setattr("worker.logs.REPEAT_SECONDS", 0)
    library.warning("node %d is gone", 1)

    messages = [line["message"] for line in read_lines(capsys)]
    assert messages == ["node 1 is gone", "node 2 is gone", "node 1 is gone"]


def test_what_was_said_is_not_remembered_for_ever() -> None:
    configure("json", "info")
    [handler] = logging.getLogger().handlers
    for number in range(3 * REMEMBERED):
        assert not handler._was_said("library", str(number))
    assert len(handler._said) == REMEMBERED
