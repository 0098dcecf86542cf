"""What a dead letter says, how it is shown, and that a file of them gives every byte back."""

import base64
import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dead_letters.export import encode_letter
from worker.dead_letters.letter import REPLAYS_HEADER, Letter, Selection, read_letter
from worker.dead_letters.listing import MAX_VALUE_CHARACTERS, describe, escape, line
from worker.errors import DecodeError, ValidationError
from worker.messages import DeadLetter, Headers, Position
from worker.ports import Record
from worker.stream.outputs import point_to
from worker.transport.kafka_python.header_names import HeaderName

pytestmark = pytest.mark.fast

SOURCE = Position("events", 2, 17)
ERRORS = DeadLetter.of(SOURCE, DecodeError("the value is not JSON"), "limelight").to_headers()

texts = st.text(st.characters(exclude_categories=["Cs"]))
binaries = st.none() | st.binary() | texts.map(str.encode)
names = texts | st.binary().map(lambda name: HeaderName(name.decode(errors="surrogateescape")))
headers = st.lists(st.tuples(names, binaries))


def letter_record(value: bytes | None = b"{", own: Headers | None = None, errors: Headers = ERRORS) -> Record:
    return Record("events.dlq", 0, 5, 1000, b"key", value, [*(own or []), *errors])


def test_the_refusal_is_read_from_the_headers() -> None:
    letter = read_letter(letter_record())
    assert letter.refusal == DeadLetter(
        source=SOURCE, stage="decode", error="DecodeError", message="the value is not JSON", group_id="limelight"
    )
    assert letter.replays == 0


@given(headers)
def test_restored_headers_are_the_original_ones(own: Headers) -> None:
    own = [(name, value) for name, value in own if not name.startswith("__connect.errors.") and name != REPLAYS_HEADER]
    assert read_letter(letter_record(own=own)).original_headers() == own
    replayed: Headers = [*own, (REPLAYS_HEADER, b"1")]
    assert read_letter(letter_record(own=replayed)).original_headers() == own


@pytest.mark.parametrize(
    ("counts", "replays"),
    [
        ([], 0),
        ([b"2"], 2),
        ([b"1", b"3", b"2"], 3),
        ([None], 0),
        ([b""], 0),
        ([b"-1"], 0),
        ([b"many"], 0),
        ([b"9" * 5000], 0),
        (["\u0663".encode()], 0),
    ],
)
def test_replays_are_counted_and_what_is_no_count_counts_nothing(counts: list[bytes | None], replays: int) -> None:
    assert read_letter(letter_record(own=[(REPLAYS_HEADER, count) for count in counts])).replays == replays


@pytest.mark.parametrize(
    "errors",
    [
        [],
        ERRORS[1:],
        [(name, b"x" if name.endswith("offset") else value) for name, value in ERRORS],
        [(name, b"\xff" if name.endswith("stage") else value) for name, value in ERRORS],
        [(name, b"no/topic" if name.endswith("topic") else value) for name, value in ERRORS],
        [(name, b"-1" if name.endswith("partition") else value) for name, value in ERRORS],
        [(name, b"9" * 30 if name.endswith("offset") else value) for name, value in ERRORS],
    ],
)
def test_what_no_worker_wrote_is_a_letter_without_a_refusal(errors: Headers) -> None:
    letter = read_letter(letter_record(errors=errors))
    assert letter.refusal is None
    assert Selection().takes(letter)
    assert not Selection(stage="decode").takes(letter)
    assert "was not written by a worker" in line(letter, show_value=False)
    assert msgspec.json.decode(encode_letter(letter))["refusal"] is None


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(stage="decode"), True),
        (Selection(stage="validate"), False),
        (Selection(error="DecodeError"), True),
        (Selection(error="ValidationError"), False),
        (Selection("decode", "DecodeError"), True),
        (Selection("decode", "ValidationError"), False),
    ],
)
def test_a_selection_takes_by_stage_and_error(selection: Selection, taken: bool) -> None:
    assert selection.takes(read_letter(letter_record())) == taken


def pointer_record(errors: Headers = ERRORS) -> Record:
    refused = Record("events", 2, 17, 900, b"key", b"x" * 5000, [("own", b"header")])
    return Record("events.dlq", 0, 5, 1000, None, None, [*errors, *point_to(refused)])


def test_a_pointer_is_read_and_shown_as_one() -> None:
    letter = read_letter(pointer_record())
    assert letter.pointer is not None
    assert letter.pointer.value_bytes == 5000
    assert letter.pointer.fits(b"x" * 5000)
    assert not letter.pointer.fits(b"x" * 4999)
    assert "(group limelight, pointer to the record and its 5000 bytes, " in line(letter, show_value=True)
    shown = {"value_bytes": 5000, "value_sha256": hashlib.sha256(b"x" * 5000).hexdigest()}
    assert describe(letter, show_value=True)["pointer"] == shown
    assert msgspec.json.decode(encode_letter(letter))["pointer"] == shown


def test_a_tombstone_with_headers_of_a_pointer_is_none() -> None:
    # They stand in front of the reason, as all headers that the record brought along.
    own = point_to(Record("events", 2, 17, 900, None, b"x", []))
    letter = read_letter(letter_record(None, own)._replace(key=None))
    assert letter.pointer is None
    assert describe(letter, show_value=False)["pointer"] is None
    assert letter.original_headers() == own


@pytest.mark.parametrize("size", [b"", b"many", b"-1", b"9" * 5000, None])
def test_headers_that_are_no_pointers_make_no_pointer(size: bytes | None) -> None:
    record = pointer_record()
    headers = [(name, size if name.endswith("bytes") else value) for name, value in record.headers]
    assert read_letter(record._replace(headers=headers)).pointer is None
    assert read_letter(pointer_record(errors=[])).pointer is None


def test_attempts_are_shown_where_there_were_several() -> None:
    errors = DeadLetter.of(SOURCE, DecodeError("x"), "limelight", attempts=3).to_headers()
    letter = read_letter(letter_record(errors=errors))
    assert "(group limelight, attempts: 3, " in line(letter, show_value=False)
    assert describe(letter, show_value=False)["attempts"] == 3


def test_a_line_says_where_from_why_and_how_large() -> None:
    own: Headers = [(REPLAYS_HEADER, b"2")]
    letter = read_letter(letter_record(b"{" * 10, own))
    assert line(letter, show_value=False) == (
        "events-2-17  decode DecodeError: the value is not JSON "
        f"(group limelight, replays: 2, {letter.size_bytes()} bytes, letter events.dlq-0-5)"
    )
    sizes = [len(name) + len(value or b"") for name, value in letter.record.headers]
    assert letter.size_bytes() == len(b"key") + 10 + sum(sizes)


def test_the_value_is_shown_only_when_asked_for_and_cut() -> None:
    letter = read_letter(letter_record(b"secret" + b"\xff" + "é".encode() * 1000))
    assert "secret" not in line(letter, show_value=False)
    assert "value" not in describe(letter, show_value=False)

    shown = line(letter, show_value=True).partition("  value: ")[2]
    assert shown.startswith("secret\\xffé")
    assert len(shown) == MAX_VALUE_CHARACTERS + 1
    assert describe(letter, show_value=True)["value"] == shown
    assert line(read_letter(letter_record(None)), show_value=True).endswith("  value: None")


@given(texts, st.binary())
def test_nothing_in_a_letter_breaks_its_line(message: str, value: bytes) -> None:
    errors = DeadLetter.of(SOURCE, ValidationError(message), "limelight").to_headers()
    assert line(read_letter(letter_record(value, errors=errors)), show_value=True).isprintable()


def test_escapes_are_readable() -> None:
    assert escape("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"


def test_json_has_every_fact() -> None:
    letter = read_letter(letter_record())
    assert describe(letter, show_value=False) == {
        "letter": {"topic": "events.dlq", "partition": 0, "offset": 5},
        "source": {"topic": "events", "partition": 2, "offset": 17},
        "stage": "decode",
        "error": "DecodeError",
        "message": "the value is not JSON",
        "group_id": "limelight",
        "attempts": 1,
        "replays": 0,
        "pointer": None,
        "size_bytes": letter.size_bytes(),
        "timestamp_ms": 1000,
    }


def rebuild(exported: dict[str, Any]) -> Record:
    """What a reader of the file does, written from its description alone."""

    def data(fields: dict[str, Any], name: str) -> Any:
        if f"{name}_base64" in fields:
            return base64.b64decode(fields[f"{name}_base64"], validate=True)
        return None if fields[name] is None else fields[name].encode()

    letter = exported["letter"]
    own = [(data(h, "name").decode(errors="surrogateescape"), data(h, "value")) for h in exported["headers"]]
    where = (letter["topic"], letter["partition"], letter["offset"])
    return Record(*where, exported["timestamp_ms"], data(exported, "key"), data(exported, "value"), own)


@given(binaries, binaries, headers)
def test_an_exported_letter_gives_every_byte_back(key: bytes | None, value: bytes | None, own: Headers) -> None:
    record = Record("events.dlq", 3, 9, 1234, key, value, [*own, *ERRORS])
    exported = encode_letter(read_letter(record))

    assert b"\n" not in exported
    assert rebuild(msgspec.json.decode(exported)) == record


def test_an_exported_letter_says_why_it_was_refused() -> None:
    letter: Letter = read_letter(letter_record())
    exported = msgspec.json.decode(encode_letter(letter))
    assert msgspec.convert(exported["refusal"], DeadLetter) == letter.refusal
    assert exported["value"] == "{"
