"""A record that the model cannot score does not take its neighbours along; a model that cannot score blames nobody."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from assembled import build_answerer
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer, Answerer, Skipped
from worker.answers.batching import bisect, caps_for
from worker.answers.golden import check_golden_records
from worker.answers.tuning import Tuner
from worker.bundle import Bundle, load_bundle, write_bundle
from worker.errors import DecodeError, EncodeError, FeatureError, ScoringError, UnscorableError
from worker.ports import Record
from worker.scorer import OnnxScorer

pytestmark = pytest.mark.fast

POISON = "broken"
"""Its row of the model's table is not a number; no golden record holds it."""


@pytest.fixture(scope="module")
def poisoned_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, make_parts: Any) -> Bundle:
    table = tiny_model.table.copy()
    table[tiny_model.vocabulary.index(POISON)] = np.nan
    parts = make_parts()
    parts["contents"]["model.onnx"] = tiny_model.build_model(table).SerializeToString()
    return load_bundle(write_bundle(tmp_path_factory.mktemp("poisoned"), **parts))


def build(bundle: Bundle, *, scorer: Any = None, skip_tombstones: bool = False) -> Answerer:
    scorer = scorer or OnnxScorer(bundle)
    prove = partial(check_golden_records, bundle, scorer)
    return build_answerer(bundle, scorer, prove=prove, skip_tombstones=skip_tombstones, tuner=Tuner(caps_for(8)))


def ask(answerer: Answerer, texts: list[str]) -> list[Answer]:
    values = [msgspec.json.encode({"text": text}) for text in texts]
    return answerer.answer([Record("events", 0, offset, 0, None, value, []) for offset, value in enumerate(values)])


@given(st.lists(st.sampled_from(["late", "thanks box", f"{POISON} box", POISON]), max_size=40))
def test_the_guilty_are_refused_and_the_others_answered(poisoned_bundle: Bundle, texts: list[str]) -> None:
    answers = ask(build(poisoned_bundle), texts)

    assert [isinstance(answer, UnscorableError) for answer in answers] == [POISON in text for text in texts]
    offsets = [msgspec.json.decode(answer)["source"]["offset"] for answer in answers if isinstance(answer, bytes)]
    assert offsets == [offset for offset, text in enumerate(texts) if POISON not in text]


def test_the_refusal_says_what_the_model_did(poisoned_bundle: Bundle) -> None:
    [error] = ask(build(poisoned_bundle), [POISON])

    assert isinstance(error, UnscorableError)
    assert error.stage == "score"
    assert "not finite" in str(error)
    assert "golden records" in str(error)


def test_a_model_that_fails_on_its_golden_records_is_guilty(tiny_bundle: Bundle) -> None:
    class Broken:
        def score(self, token_ids: Any) -> Any:
            raise ScoringError(f"shape {token_ids.shape}")

    answerer = build(tiny_bundle, scorer=Broken())

    with pytest.raises(ScoringError, match="golden records, too"):
        ask(answerer, ["late", "thanks"])


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_bisecting_isolates_exactly_the_guilty(guilty: set[int], count: int) -> None:
    calls = 0

    def score(rows: Any) -> Any:
        nonlocal calls
        calls += 1
        return ScoringError("poison") if guilty & set(rows) else list(rows)

    found = list(bisect(range(count), score))

    assert [row for rows, _ in found for row in rows] == list(range(count))
    blamed = {rows[0] for rows, result in found if isinstance(result, ScoringError)}
    assert blamed == guilty & set(range(count))
    assert all(list(rows) == result for rows, result in found if not isinstance(result, ScoringError))
    assert calls <= 1 + 2 * len(blamed) * count.bit_length()


@pytest.mark.parametrize(
    ("part", "holds_guilty", "kind"),
    [
        ("_reader.read", lambda place, _: place == 1, DecodeError),
        ("_encoder.encode", lambda texts: "guilty" in texts, FeatureError),
        ("_writer.write", lambda events, _, __, rows, ___: "guilty" in [events[r].text for r in rows], EncodeError),
    ],
)
def test_a_fault_of_ours_costs_one_record(
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    holds_guilty: Callable[..., bool],
    kind: type[Exception],
) -> None:
    answerer = build(tiny_bundle)
    owner, method = part.split(".")
    whole = getattr(getattr(answerer, owner), method)

    def fail(*arguments: Any, **options: Any) -> Any:
        if holds_guilty(*arguments):
            raise ZeroDivisionError("oops")
        return whole(*arguments, **options)

    monkeypatch.setattr(getattr(answerer, owner), method, fail)

    first, second, third = ask(answerer, ["late", "guilty", "late"])

    assert type(second) is kind
    assert "unexpected ZeroDivisionError: oops" in str(second)
    assert isinstance(first, bytes)
    assert isinstance(third, bytes)


@pytest.mark.parametrize("skip", [True, False])
def test_a_tombstone_is_skipped_or_refused_as_the_settings_say(tiny_bundle: Bundle, *, skip: bool) -> None:
    records = [Record("events", 0, 0, 0, b"key", None, []), Record("events", 0, 1, 0, b"key", b'{"text":"late"}', [])]

    tombstone, answer = build(tiny_bundle, skip_tombstones=skip).answer(records)

    assert isinstance(tombstone, Skipped if skip else DecodeError)
    assert isinstance(answer, bytes)
