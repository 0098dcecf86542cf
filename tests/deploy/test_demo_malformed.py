"""Every way in which a record can be malformed, and that the largest one fills the topic's limit to the last byte."""

from itertools import islice

import msgspec
import pytest
from kafka.record.memory_records import MemoryRecordsBuilder

from deploy.local.demo.malformed import KINDS, NESTING, kind_of, malformed_records
from deploy.local.demo.records import Outgoing
from deploy.local.demo.topics import MAX_EVENT_BYTES
from worker.messages import Event

pytestmark = pytest.mark.fast


def first_round(seed: int = 1) -> dict[str, Outgoing]:
    records = islice(malformed_records(seed=seed, max_batch_bytes=MAX_EVENT_BYTES), len(KINDS))
    return {kind_of(record.headers) or "": record for record in records}


def test_all_kinds_take_turns() -> None:
    records = islice(malformed_records(seed=1, max_batch_bytes=10_000), 2 * len(KINDS) + 1)
    assert [kind_of(record.headers) for record in records] == [*KINDS, *KINDS, KINDS[0]]


def test_the_same_seed_gives_the_same_records() -> None:
    assert first_round(7) == first_round(7)
    assert first_round(7) != first_round(8)


def read_text(value: bytes | None) -> str:
    """The text of an event, or nothing where there is none."""
    try:
        value = (value or b"").decode().encode()
        return msgspec.json.decode(value, type=Event).text.strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def test_no_kind_has_a_text_to_score() -> None:
    assert {kind: read_text(record.value) for kind, record in first_round().items()} == dict.fromkeys(KINDS, "")


def test_keys_and_values_are_there_or_not_as_the_kind_says() -> None:
    records = first_round()
    assert [kind for kind, record in records.items() if record.value is None] == ["no value", "neither key nor value"]
    assert [kind for kind, record in records.items() if record.key is None] == ["neither key nor value"]
    assert records["deep nesting"].value is not None
    assert b"[" * NESTING in records["deep nesting"].value


def test_headers_have_every_shape_that_kafka_allows() -> None:
    headers = first_round()["broken JSON"].headers
    names = [name for name, _ in headers]
    assert len(set(names)) < len(names)
    assert {type(value) for _, value in headers} == {bytes, type(None)}
    assert b"" in dict(headers).values()


def test_the_largest_value_fills_a_batch_of_its_own() -> None:
    record = first_round()["largest value"]
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=16_384)
    builder.append(timestamp=0, key=record.key, value=record.value, headers=record.headers)
    builder.close()
    assert builder.size_in_bytes() == MAX_EVENT_BYTES


def test_a_well_formed_record_has_no_kind() -> None:
    assert kind_of([]) is None
    assert kind_of([("trace", b"1")]) is None
