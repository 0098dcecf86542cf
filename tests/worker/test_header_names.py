"""Headers whose names are no text: read, and written back as the same bytes."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords, MemoryRecordsBuilder
from kafka.record.default_records import DefaultRecordBatch

from worker.transport.kafka_python.header_names import HeaderName, _read_next, accept_any_name

pytestmark = pytest.mark.fast

CODECS = {"none": 0, "gzip": 1, "zstd": 4}
RawHeaders = Sequence[tuple[bytes, bytes | None]]


@pytest.fixture(autouse=True, scope="module")
def _any_name() -> None:
    accept_any_name()


def write(records: Sequence[RawHeaders], *, codec: str = "none") -> bytes:
    builder = MemoryRecordsBuilder(2, CODECS[codec], batch_size=1 << 20)
    for headers in records:
        builder.append(1, b"key", b"value", [(HeaderName(n.decode(errors="surrogateescape")), v) for n, v in headers])
    builder.close()
    return bytes(builder.buffer())


def read(batches: bytes) -> list[list[tuple[str, bytes | None]]]:
    found = []
    for batch in MemoryRecords(batches):
        for record in batch:
            assert (record.key, record.value) == (b"key", b"value")
            found.append(record.headers)
    return found


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=30)
@given(records=st.lists(st.lists(st.tuples(st.binary(), st.none() | st.binary()), max_size=4), min_size=1, max_size=6))
def test_every_name_is_read_and_written_back_byte_for_byte(records: Sequence[RawHeaders], codec: str) -> None:
    found = read(write(records, codec=codec))

    # As the client itself encodes them: strictly, if they let it.
    assert [[(name.encode("utf-8"), value) for name, value in headers] for headers in found] == records
    again = MemoryRecordsBuilder(2, CODECS[codec], batch_size=1 << 20)
    for headers in found:
        again.append(1, b"key", b"value", headers)
    again.close()
    assert read(bytes(again.buffer())) == found
    if codec == "none":  # gzip writes the time into its own header
        assert bytes(again.buffer()) == write(records)


def test_without_the_precaution_the_client_calls_the_batch_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DefaultRecordBatch, "__next__", _read_next)
    with pytest.raises(CorruptRecordError, match="UnicodeDecodeError"):
        read(write([[(b"\xff", b"")]]))


def test_a_batch_that_is_corrupt_stays_corrupt() -> None:
    batch = bytearray(write([[(b"name", b"v")]]))
    batch[-2] ^= 0x40  # the length of the header's value
    with pytest.raises(CorruptRecordError):
        read(bytes(batch))


def test_a_name_that_is_text_is_an_ordinary_string() -> None:
    [[(good, _), (bad, _)]] = read(write([[("gr\u00f6\u00dfe".encode(), None), (b"\xffx", None)]]))

    assert (type(good), good) == (str, "gr\u00f6\u00dfe")
    assert (type(bad), bad) == (HeaderName, "\udcffx")
