"""Which model answers which record, where topics have models of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer
from worker.answers.routing import Answering, TopicRouter
from worker.errors import ScoringError, SettingsError
from worker.ports import Record
from worker.settings import Settings

pytestmark = pytest.mark.fast

records = st.lists(st.sampled_from(["events", "a", "b"])).map(
    lambda topics: [Record(topic, 0, offset, 0, None, b"", []) for offset, topic in enumerate(topics)]
)


@given(records)
def test_each_record_is_answered_by_its_topics_model_in_its_place(given: list[Record]) -> None:
    asked: list[tuple[str, set[str]]] = []

    def model(name: str) -> Answering:
        def answer(records: object) -> list[Answer]:
            assert isinstance(records, list)
            asked.append((name, {record.topic for record in records}))
            return [f"{name} {record.offset}".encode() for record in records]

        return answer

    router = TopicRouter(model("others"), {"a": model("of a"), "b": model("of b")}, proofs=[])

    names = {"events": "others", "a": "of a", "b": "of b"}
    assert router.answer(given) == [f"{names[each.topic]} {each.offset}".encode() for each in given]
    # One call for each model: what it batches is of one topic.
    assert sorted(asked) == sorted((names[topic], {topic}) for topic in {each.topic for each in given})


def test_every_model_has_to_prove_itself() -> None:
    def fail() -> None:
        raise ScoringError("b is broken")

    proved: list[str] = []
    router = TopicRouter(lambda _: [], {}, proofs=[lambda: proved.append("a"), fail])

    with pytest.raises(ScoringError, match="b is broken"):
        router.prove()
    assert proved == ["a"]


@pytest.mark.parametrize("routes", ["limelight.predictions=x", "limelight.events=x"])
def test_a_route_may_not_begin_at_a_topic_that_has_another_use(routes: str) -> None:
    with pytest.raises(SettingsError, match="LIMELIGHT_ROUTES both name limelight"):
        Settings.from_environment(routes=routes)


@pytest.mark.parametrize("routes", ["reviews", "reviews=a,reviews=b", "no such/topic=x"])
def test_routes_that_cannot_be_read_are_refused(routes: str) -> None:
    with pytest.raises(SettingsError, match="LIMELIGHT_ROUTES"):
        Settings.from_environment(routes=routes)
