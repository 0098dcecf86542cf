"""Every record is answered once and in order, with what it came with; or refused, untouched."""

import hashlib
from collections import Counter
from typing import Any

import msgspec
from streaming.running import Run, event, sources
from streaming.streams import DEAD_LETTERS, OUTPUT_PARTITIONS, PARTITIONS, PREDICTIONS

from worker.bundle import Bundle
from worker.messages import DeadLetter, Headers, Prediction
from worker.transport.kafka_python.header_names import HeaderName


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


def test_a_slice_is_closed_by_its_bytes(stream: Any, tiny_bundle: Bundle) -> None:
    for _ in range(6):
        stream.append(0, event("box " * 100))
    run = Run(stream, tiny_bundle, slice_bytes=900)

    run.until_committed(6)

    assert max(run.slices) <= 3


def test_a_tombstone_that_is_skipped_is_passed_in_silence(stream: Any, tiny_bundle: Bundle) -> None:
    before = stream.append(0, event("thanks"))
    tombstone = stream.append(0, None, key=b"key")
    run = Run(stream, tiny_bundle, skip_tombstones=True)

    run.until_committed(2)

    assert sources(stream) == [before]
    assert list(run.offsets.values()) == [tombstone.offset + 1]
