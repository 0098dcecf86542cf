import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import DecodeError, FeatureError, RecordError, ValidationError
from worker.messages import (
    ERROR_HEADER_PREFIX,
    MAX_REASON_CHARACTERS,
    MESSAGES,
    SCHEMA_VERSION,
    AttentionMap,
    Classification,
    DeadLetter,
    Event,
    ModelRef,
    Position,
    Prediction,
    RoundRecord,
    WorkerStatus,
    event_type,
)

pytestmark = pytest.mark.fast

text = st.text(st.characters(exclude_categories=["Cs"]))
count = st.integers(0, 2**63 - 1)
number = st.floats(allow_nan=False, allow_infinity=False)
positions = st.builds(Position, topic=text, partition=count, offset=count)
raw_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(text, values, max_size=3),
    max_leaves=8,
).map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
models = st.builds(ModelRef, name=text, version=text, round=count)
attention_maps = st.builds(
    AttentionMap,
    name=text,
    axes=st.lists(text, max_size=2),
    field=text,
    spans=st.lists(st.tuples(count, count), max_size=4),
    weights=st.lists(number, max_size=4),
    truncated=st.booleans(),
    items=st.just(msgspec.UNSET) | st.lists(text, max_size=4),
)
dead_letters = st.builds(
    DeadLetter,
    source=positions,
    stage=st.sampled_from(["decode", "validate", "features"]),
    error=text,
    message=text,
    group_id=text,
    attempts=count,
)
messages = st.one_of(
    st.builds(Event, text=text, id=st.none() | text | count, passthrough=st.just(msgspec.UNSET) | raw_json),
    st.builds(
        Prediction,
        id=text,
        source=positions,
        output=st.builds(
            Classification, label=text, score=number, probabilities=st.dictionaries(text, number, max_size=3)
        ),
        attention=st.lists(attention_maps, max_size=2),
        model=models,
        event_timestamp_ms=count,
        scored_timestamp_ms=count,
        passthrough=st.just(msgspec.UNSET) | raw_json,
    ),
    dead_letters,
    st.builds(
        WorkerStatus,
        instance=text,
        timestamp_ms=count,
        ready=st.booleans(),
        model=models,
        partitions=st.lists(text, max_size=3),
        predictions_total=count,
        dead_letters_total=count,
        aborted_transactions_total=count,
        lag_records=count,
        rss_bytes=count,
    ),
    st.builds(
        RoundRecord,
        run=text,
        round=count,
        rounds=count,
        timestamp_ms=count,
        seconds=number,
        clients=st.lists(count, max_size=3),
        examples=count,
        train=st.dictionaries(text, number, max_size=3),
        heldout=st.just(msgspec.UNSET) | st.dictionaries(text, number, max_size=3),
    ),
)
header_values = st.none() | st.binary(max_size=8)
header_names = text | st.sampled_from(
    [ERROR_HEADER_PREFIX + name for name in ("topic", "exception.message", "exception.stacktrace", "group")]
)
foreign_headers = st.lists(st.tuples(header_names, header_values), max_size=6)


def comparable(message: msgspec.Struct) -> Any:
    """Raw values compare by identity; builtins compare by value."""
    return msgspec.json.decode(msgspec.json.encode(message))


@given(message=messages)
def test_every_message_survives_its_own_encoding(message: msgspec.Struct) -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(message), type=type(message))

    assert comparable(decoded) == comparable(message)


def test_every_message_but_the_producers_own_carries_the_schema_version() -> None:
    versioned = {message for message in MESSAGES if "schema_version" in message.__struct_fields__}

    assert versioned == set(MESSAGES) - {Event}
    assert {message.__struct_defaults__[0] for message in versioned} <= {SCHEMA_VERSION}


@given(dead_letter=dead_letters, before=foreign_headers)
def test_error_headers_are_read_back_whatever_stands_before_them(
    dead_letter: DeadLetter, before: list[tuple[str, bytes | None]]
) -> None:
    assert DeadLetter.from_headers([*before, *dead_letter.to_headers()]) == dead_letter


@given(refusals=st.lists(dead_letters, min_size=1, max_size=3))
def test_of_several_refusals_the_latest_is_read(refusals: list[DeadLetter]) -> None:
    headers = [header for refusal in refusals for header in refusal.to_headers()]

    assert DeadLetter.from_headers(headers) == refusals[-1]


def test_headers_without_an_account_raise_a_key_error() -> None:
    with pytest.raises(KeyError):
        DeadLetter.from_headers([("trace", b"1"), (ERROR_HEADER_PREFIX + "topic", b"events")])


@pytest.mark.parametrize("kind", [DecodeError, ValidationError, FeatureError])
def test_a_dead_letter_says_who_refused_and_why(kind: type[RecordError]) -> None:
    account = DeadLetter.of(Position("events", 1, 2), kind("x" * 10_000), "readers", attempts=3)

    assert (account.stage, account.error, account.group_id) == (kind.stage, kind.__name__, "readers")
    assert account.message == "x" * MAX_REASON_CHARACTERS
    assert (ERROR_HEADER_PREFIX + "attempts", b"3") in account.to_headers()


def test_a_dead_letter_without_attempts_had_one() -> None:
    account = DeadLetter.of(Position("events", 1, 2), DecodeError("x"), "readers")
    earlier = [header for header in account.to_headers() if not header[0].endswith("attempts")]

    assert DeadLetter.from_headers(earlier) == account
    assert account.attempts == 1


@given(message=text.filter(bool))
def test_the_reason_of_any_error_fits_into_a_header(message: str) -> None:
    account = DeadLetter.of(Position("events", 1, 2), DecodeError(message + "\ud800"), "readers")

    assert DeadLetter.from_headers(account.to_headers()).message.startswith(message[:1])


field = st.text(string.ascii_letters + "_评é ", min_size=1)


@given(names=st.lists(field, min_size=3, max_size=3, unique=True).filter(lambda n: "passthrough" not in n), value=text)
def test_an_event_type_reads_the_fields_by_the_records_own_names(names: list[str], value: str) -> None:
    text_field, title_field, id_field = names
    decoder = msgspec.json.Decoder(event_type({"text": text_field, "title": title_field}, id_field))

    event: Any = decoder.decode(msgspec.json.encode({text_field: value, title_field: "t", id_field: 7}))

    assert (event.text, event.title, event.id, event.passthrough) == (value, "t", 7, msgspec.UNSET)


def test_unknown_fields_are_ignored() -> None:
    event = msgspec.json.decode(b'{"other": [1, {"text": 2}], "text": "good", "more": null}', type=Event)

    assert event == Event(text="good")


def test_a_passthrough_is_kept_byte_for_byte() -> None:
    event = msgspec.json.decode(b'{"text": "good", "passthrough": {"b": 1.0,  "a": [1e2]}}', type=Event)

    assert isinstance(event.passthrough, msgspec.Raw)
    assert bytes(event.passthrough) == b'{"b": 1.0,  "a": [1e2]}'


@pytest.mark.parametrize("value", [b'{"text": 1}', b'{"text": null}', b"{}", b"[]", b'{"text": "a", "id": 1.5}'])
def test_a_wrongly_typed_event_is_refused(value: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(value, type=Event)


def test_a_position_reads_as_topic_partition_offset_and_sorts_by_them() -> None:
    assert str(Position("events", 3, 42)) == "events-3-42"
    assert Position("events", 3, 9) < Position("events", 3, 42) < Position("events", 10, 0)
