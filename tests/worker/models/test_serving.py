import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.building import build_model
from worker.bundle import load_bundle
from worker.errors import BundleError, ScoringError, UnscorableError
from worker.messages import Prediction
from worker.models.deployment import SLOTS
from worker.models.serving import LoadedModel, Models, Plan, Serving, slot_of
from worker.ports import Record
from worker.settings import Settings

pytestmark = pytest.mark.fast

KEYS = 3000
DEVIATIONS = 5
"""A binomial count further from its mean than so many standard deviations: once in a million."""


def keyed(key: bytes | None, *, partition: int = 0, offset: int = 0) -> Record:
    return Record("events", partition, offset, 0, key, b'{"text": "the box late"}', [])


@pytest.fixture(scope="session")
def loaded(versions: list[Path]) -> list[LoadedModel]:
    return [build_model(Settings(), lambda _: nullcontext(), load_bundle(path)) for path in versions[:3]]


def predictions(models: Models, records: list[Record]) -> list[Prediction]:
    return [msgspec.json.decode(answer, type=Prediction) for answer in models.answer(records)]


@given(name=st.text(min_size=1), slots=st.integers(0, SLOTS), prefix=st.binary(max_size=8))
def test_the_share_of_a_canary_is_what_was_asked_for(name: str, slots: int, prefix: bytes) -> None:
    share = slots / SLOTS
    count = sum(slot_of(name, keyed(prefix + b"%d" % number)) < slots for number in range(KEYS))

    assert abs(count - KEYS * share) <= DEVIATIONS * math.sqrt(KEYS * share * (1 - share)) + 1


@given(key=st.binary(), first=st.integers(0), second=st.integers(0))
def test_a_key_has_one_slot_wherever_it_stands(key: bytes, first: int, second: int) -> None:
    assert slot_of("m", keyed(key, offset=first)) == slot_of("m", keyed(key, partition=3, offset=second))


def test_without_a_key_the_position_counts() -> None:
    slots = {slot_of("m", keyed(None, partition=p, offset=o)) for p in range(4) for o in range(100)}

    assert len(slots) > 300
    assert slot_of("m", keyed(b"")) == slot_of("m", keyed(b"", offset=7))


def test_slots_are_part_of_the_contract() -> None:
    """Another way of counting would hand keys from one version to another in the middle of a deployment."""
    assert [slot_of("tiny", keyed(key)) for key in (b"a", b"b", None)] == [3461, 6580, 1422]


@given(slots=st.integers(0, SLOTS), keys=st.lists(st.none() | st.binary(max_size=3), max_size=40))
def test_every_record_is_answered_once_in_order_by_its_own_version(
    loaded: list[LoadedModel], slots: int, keys: list[bytes | None]
) -> None:
    current, canary = loaded[:2]
    records = [keyed(key, offset=offset) for offset, key in enumerate(keys)]

    found = predictions(Models(Serving(4, current, canary, slots)), records)

    assert [p.source for p in found] == [r.position for r in records]
    expected = [canary if slot_of("tiny", r) < slots else current for r in records]
    assert [p.model.version for p in found] == [model.path.name for model in expected]
    assert {p.model.generation for p in found} <= {4}


class Spy:
    """Lets a scorer through and keeps the shapes of its batches."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer
        self.rows = 0

    def score(self, token_ids: np.ndarray) -> Any:
        self.rows += len(token_ids)
        return self._scorer.score(token_ids)


class Failing:
    def score(self, token_ids: np.ndarray) -> Any:
        raise ScoringError("the model failed")


def with_scorer(model: LoadedModel, scorer: Any, prove: Callable[[], None] | None = None) -> LoadedModel:
    answerer = model.answerer.under(0)
    answerer._scorer = scorer
    answerer._prove = prove or model.prove
    return model._replace(answerer=answerer, prove=answerer._prove)


def test_a_micro_batch_holds_one_version(loaded: list[LoadedModel]) -> None:
    spies = [Spy(model.answerer._scorer) for model in loaded[:2]]
    current, canary = (with_scorer(model, spy) for model, spy in zip(loaded, spies, strict=False))
    records = [keyed(b"%d" % number, offset=number) for number in range(200)]

    found = predictions(Models(Serving(1, current, canary, 4000)), records)

    counts = [sum(p.model.version == model.path.name for p in found) for model in (current, canary)]
    assert [spy.rows for spy in spies] == counts
    assert min(counts) > 0


def fail_to_prove() -> None:
    raise BundleError("the golden records are answered otherwise")


def test_a_canary_that_fails_ends_and_the_current_version_answers(loaded: list[LoadedModel]) -> None:
    current, healthy = loaded[:2]
    models = Models(Serving(3, current, with_scorer(healthy, Failing(), fail_to_prove), SLOTS))
    records = [keyed(b"%d" % number, offset=number) for number in range(10)]

    with capture_logs() as logs:
        found = predictions(models, records) + predictions(models, records)

    assert {(p.model.version, p.model.generation) for p in found} == {(current.path.name, 3)}
    assert [line["log_level"] for line in logs] == ["error"]
    assert "the canary failed, and the current version answers for it" in models.problem
    assert models.canary is None
    models.swap(Serving(4, current, healthy, SLOTS))
    assert models.problem == ""
    assert predictions(models, records)[0].model.version == healthy.path.name


class Picky:
    """Lets a scorer through, but fails on texts of one token."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer

    def score(self, token_ids: np.ndarray) -> Any:
        if (np.count_nonzero(token_ids, axis=1) == 1).any():
            raise ScoringError("the model failed on a short text")
        return self._scorer.score(token_ids)


def test_records_that_only_the_canary_cannot_score_are_answered_by_the_current_version(
    loaded: list[LoadedModel],
) -> None:
    current, canary = loaded[0], with_scorer(loaded[1], Picky(loaded[1].answerer._scorer))
    returned: list[int] = []
    models = Models(Serving(3, current, canary, SLOTS), returned=returned.append)
    records = [keyed(b"%d" % offset, offset=offset) for offset in range(10)]
    for offset in (3, 4, 8):
        records[offset] = records[offset]._replace(value=b'{"text": "box"}')

    found = predictions(models, records)

    assert [p.source for p in found] == [r.position for r in records]
    versions = [current if offset in (3, 4, 8) else canary for offset in range(10)]
    assert [p.model.version for p in found] == [model.path.name for model in versions]
    assert returned == [3]
    assert models.canary is not None, "it answers its golden records"


def test_a_record_that_neither_can_score_is_a_dead_letter(loaded: list[LoadedModel]) -> None:
    current, canary = (with_scorer(model, Picky(model.answerer._scorer)) for model in loaded[:2])

    [answer] = Models(Serving(3, current, canary, SLOTS)).answer([keyed(b"k")._replace(value=b'{"text": "box"}')])

    assert isinstance(answer, UnscorableError)


def test_a_current_version_that_fails_is_no_canary(loaded: list[LoadedModel]) -> None:
    failing = with_scorer(loaded[0], Failing(), fail_to_prove)
    models = Models(Serving(1, failing, loaded[1], 1))

    with pytest.raises(ScoringError):
        models.answer([keyed(b"%d" % number, offset=number) for number in range(10)])
    with pytest.raises(BundleError):
        models.prove()
    models.swap(Serving(2, loaded[2]))
    models.prove()


def test_a_plan_says_what_is_served(loaded: list[LoadedModel]) -> None:
    current, canary = loaded[:2]
    models = Models(Serving(3, current, canary, 40))

    assert models.plan == Plan(3, current.path, canary.path, 40)
    assert (models.current.version, models.current.generation) == (current.path.name, 3)
    assert models.canary is not None
    assert models.canary.version == canary.path.name
    models.swap(Serving(4, canary))
    assert models.plan == Plan(4, canary.path)
    assert models.canary is None
