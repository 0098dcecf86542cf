"""Outputs that their topic refuses for what they are: too large, or without a key."""

import hashlib
from collections import Counter
from typing import Any

import msgspec
import pytest
from streaming.running import Run, event, sources
from streaming.streams import DEAD_LETTERS, PARTITIONS, PREDICTIONS

from worker.answers.shortening import STRONGEST
from worker.bundle import Bundle
from worker.errors import DeadLetterRefusedError
from worker.messages import DeadLetter, Prediction
from worker.ports import Output
from worker.stream.outputs import encoded_bytes


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
